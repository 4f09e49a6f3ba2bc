//! Which of two implementations of the same functions runs.

use std::cell::Cell;
use std::sync::LazyLock;

use crate::avx512::Avx512;

static DETECTED: LazyLock<Option<Avx512>> = LazyLock::new(Avx512::detect);

thread_local! {
    static PORTABLE: Cell<bool> = const { Cell::new(false) };
}

/// The way to AVX-512, where the processor has it and this thread is not within [`portably`].
pub(crate) fn avx512() -> Option<Avx512> {
    DETECTED.filter(|_| !PORTABLE.get())
}

/// Whether this processor has the AVX-512 instructions that batches are computed with.
#[must_use]
pub fn has_avx512() -> bool {
    DETECTED.is_some()
}

/// Runs `work` without AVX-512 on this thread, so that tests and benchmarks can compare both ways of computing.
pub fn portably<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            PORTABLE.set(self.0);
        }
    }
    let _restore = Restore(PORTABLE.replace(true));
    work()
}
