//! The extension module `mach._core`: thin bindings of the pure crates, one file a topic, no logic.

mod bls;
mod conformance;
mod hashing;
mod intake;
mod stateless;

use pyo3::prelude::*;

/// Native core of Mach; use the typed façades `mach.bls`, `mach.rollup` and `mach.transport.intake` instead of this module.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    bls::register(module)?;
    conformance::register(module)?;
    hashing::register(module)?;
    intake::register(module)?;
    stateless::register(module)?;
    // pyo3 lists what it adds; the stub would have to repeat that list.
    module.delattr("__all__")
}
