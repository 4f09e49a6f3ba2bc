use std::borrow::Cow;
use std::ops::Deref;

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

/// The bytes of any object with the buffer protocol whose items are bytes.
///
/// Those of a `bytes` object are used where they are. Others are copied, because another thread could write to them
/// while the GIL is released.
pub(super) struct Octets<'a>(Cow<'a, [u8]>);

impl Deref for Octets<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Octets<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.extract::<&[u8]>() {
            return Ok(Self(Cow::Borrowed(bytes)));
        }
        let buffer = PyBuffer::<u8>::get(&object)?;
        Ok(Self(Cow::Owned(buffer.to_vec(object.py())?)))
    }
}
