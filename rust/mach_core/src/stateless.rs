//! Bindings of `mach_stateless`: one call from a block's inputs to a verdict.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mach_stateless::{BlockInput, ChainSpec, Place};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

/// A field of a block that is not what the rules or the re-execution make it.
#[pyclass(frozen, eq, module = "mach._core")]
#[derive(PartialEq)]
struct FieldMismatch(mach_stateless::FieldMismatch);

#[pymethods]
impl FieldMismatch {
    #[getter]
    fn field(&self) -> &str {
        &self.0.field
    }

    #[getter]
    fn served(&self) -> &str {
        &self.0.served
    }

    #[getter]
    fn computed(&self) -> &str {
        &self.0.computed
    }

    fn __repr__(&self) -> String {
        let mach_stateless::FieldMismatch {
            field,
            served,
            computed,
        } = &self.0;
        format!("FieldMismatch(field={field:?}, served={served:?}, computed={computed:?})")
    }
}

/// The result of re-executing a block.
#[pyclass(frozen, module = "mach._core")]
struct BlockVerification(mach_stateless::BlockVerification);

#[pymethods]
impl BlockVerification {
    #[getter]
    fn verdict(&self) -> &'static str {
        self.0.verdict.as_str()
    }

    #[getter]
    fn mismatches(&self) -> Vec<FieldMismatch> {
        self.0
            .mismatches
            .iter()
            .cloned()
            .map(FieldMismatch)
            .collect()
    }

    #[getter]
    fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    #[getter]
    fn missing(&self) -> Option<&[u8]> {
        self.0.missing.as_ref().map(|hash| hash.as_slice())
    }

    #[getter]
    fn missing_account(&self) -> Option<&[u8]> {
        match &self.0.missing_place {
            Some(Place::Account(address) | Place::Slot(address, _)) => Some(address.as_slice()),
            _ => None,
        }
    }

    #[getter]
    fn missing_slot(&self) -> Option<[u8; 32]> {
        match self.0.missing_place {
            Some(Place::Slot(_, slot)) => Some(slot.to_be_bytes()),
            _ => None,
        }
    }

    #[getter]
    fn number(&self) -> u64 {
        self.0.number
    }

    #[getter]
    fn gas_used(&self) -> u64 {
        self.0.gas_used
    }

    #[getter]
    fn transaction_count(&self) -> usize {
        self.0.transaction_count
    }

    #[getter]
    fn block_hash(&self) -> &[u8] {
        self.0.block_hash.as_slice()
    }

    #[getter]
    fn parent_hash(&self) -> &[u8] {
        self.0.parent_hash.as_slice()
    }

    #[getter]
    fn computed_block_hash(&self) -> Option<&[u8]> {
        self.0
            .computed_block_hash
            .as_ref()
            .map(|hash| hash.as_slice())
    }

    #[getter]
    fn computed_header<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0
            .computed_header
            .as_ref()
            .map(|header| PyBytes::new(py, header))
    }

    #[getter]
    fn output_root(&self) -> Option<&[u8]> {
        self.0.output_root.as_ref().map(|root| root.as_slice())
    }

    #[getter]
    fn computed_output_root(&self) -> Option<&[u8]> {
        self.0
            .computed_output_root
            .as_ref()
            .map(|root| root.as_slice())
    }

    #[getter]
    fn timings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let timings = PyDict::new(py);
        for (stage, seconds) in self.0.timings.stages() {
            timings.set_item(stage, seconds)?;
        }
        Ok(timings)
    }

    fn __repr__(&self) -> String {
        let mach_stateless::BlockVerification {
            verdict,
            number,
            block_hash,
            reason,
            ..
        } = &self.0;
        let reason = reason
            .as_ref()
            .map_or_else(|| "None".to_owned(), |reason| format!("{reason:?}"));
        format!(
            "BlockVerification(verdict='{verdict}', number={number}, block_hash={block_hash}, reason={reason})"
        )
    }
}

/// Re-executes a block on its parent's state and compares everything it says with what its inputs produce.
#[pyfunction]
#[pyo3(signature = (
    chain_config, parent_header, block, preimages, ancestors=Vec::new(), served_receipts=None, block_hash=None, *,
    threads=1
))]
#[allow(clippy::too_many_arguments)] // The inputs of a verification; Python names them.
fn verify_block(
    py: Python<'_>,
    chain_config: &str,
    parent_header: PyBackedBytes,
    block: PyBackedBytes,
    preimages: Vec<PyBackedBytes>,
    ancestors: Vec<PyBackedBytes>,
    served_receipts: Option<Vec<PyBackedBytes>>,
    block_hash: Option<[u8; 32]>,
    threads: usize,
) -> PyResult<BlockVerification> {
    let verify = match threads {
        1 => mach_stateless::verify_block,
        2 => mach_stateless::verify_block_on_two_threads,
        _ => {
            return Err(PyValueError::new_err(format!(
                "threads is {threads}; a block is verified on 1 or 2 threads"
            )));
        }
    };
    let chain_spec = ChainSpec::from_genesis_config(chain_config)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let preimages: Vec<&[u8]> = preimages.iter().map(AsRef::as_ref).collect();
    let ancestors: Vec<&[u8]> = ancestors.iter().map(AsRef::as_ref).collect();
    let receipts: Option<Vec<&[u8]>> = served_receipts
        .as_ref()
        .map(|receipts| receipts.iter().map(AsRef::as_ref).collect());
    let input = BlockInput {
        chain_spec: &chain_spec,
        parent_header: &parent_header,
        block: &block,
        preimages: &preimages,
        ancestors: &ancestors,
        served_receipts: receipts.as_deref(),
        block_hash: block_hash.map(Into::into),
    };
    detached(py, "verify_block", || verify(&input)).map(BlockVerification)
}

/// Runs `work` with the GIL released. A panic becomes a RuntimeError: pyo3 would make an exception of it that
/// `except Exception` does not catch.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    name: &str,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    py.detach(|| {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic).to_owned())
    })
    .map_err(|panic| PyRuntimeError::new_err(format!("{name} panicked: {panic}")))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FieldMismatch>()?;
    module.add_class::<BlockVerification>()?;
    module.add_function(wrap_pyfunction!(verify_block, module)?)
}
