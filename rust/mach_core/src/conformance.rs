//! Bindings of `mach_conformance`: one call from the JSON of a file of blockchain tests to what came of each.

use mach_conformance::{CaseResult, Outcome, run_document};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::stateless::detached;

/// A blockchain test and what came of it.
#[pyclass(frozen, module = "mach._core")]
struct ConformanceCase(CaseResult);

#[pymethods]
impl ConformanceCase {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    const fn outcome(&self) -> &'static str {
        match self.0.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed(_) => "failed",
            Outcome::Skipped(_) => "skipped",
        }
    }

    #[getter]
    fn reason(&self) -> Option<&str> {
        match &self.0.outcome {
            Outcome::Passed => None,
            Outcome::Failed(reason) | Outcome::Skipped(reason) => Some(reason),
        }
    }

    #[getter]
    const fn blocks(&self) -> usize {
        self.0.blocks
    }

    #[getter]
    const fn gas_used(&self) -> u64 {
        self.0.gas_used
    }

    fn __repr__(&self) -> String {
        format!(
            "ConformanceCase(name={:?}, outcome='{}')",
            self.0.name,
            self.outcome()
        )
    }
}

/// Runs every blockchain test in a document.
#[pyfunction]
fn run_blockchain_tests(
    py: Python<'_>,
    path: &str,
    document: PyBackedBytes,
) -> PyResult<Vec<ConformanceCase>> {
    let run = || run_document(path, &document);
    let cases = detached(py, "run_blockchain_tests", run)?
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(cases.into_iter().map(ConformanceCase).collect())
}

/// The tests that are not run: the file, the network if only its tests are left out, and the reason.
#[pyfunction]
fn skipped_blockchain_tests() -> Vec<(&'static str, Option<&'static str>, &'static str)> {
    mach_conformance::SKIPPED
        .iter()
        .map(|skip| (skip.file, skip.network, skip.reason))
        .collect()
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ConformanceCase>()?;
    module.add_function(wrap_pyfunction!(run_blockchain_tests, module)?)?;
    module.add_function(wrap_pyfunction!(skipped_blockchain_tests, module)?)
}
