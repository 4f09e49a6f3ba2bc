//! A value that is computed when it is first asked for; with the `parallel` feature by one of several threads.

#[cfg(not(feature = "parallel"))]
pub(crate) use core::cell::OnceCell as Once;
#[cfg(feature = "parallel")]
pub(crate) use std::sync::OnceLock as Once;
