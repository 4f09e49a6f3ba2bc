//! Bindings of Keccak-256 and of the statements that operators sign. `mach.protocol` validates the arguments.

use mach_bls::statements;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// Keccak-256 (the Ethereum variant) of `data`: 32 bytes.
#[pyfunction]
fn keccak256(data: &[u8]) -> [u8; 32] {
    mach_bls::keccak256(data)
}

/// Keccak-256 of each of `messages`, several at once where the processor can: 32 bytes each, in their order.
#[pyfunction]
fn keccak256_many(py: Python<'_>, messages: Vec<PyBackedBytes>) -> Vec<[u8; 32]> {
    py.detach(|| mach_bls::keccak256_many(&messages))
}

/// keccak256(invalid_output_root ‖ expect_output_root ‖ minimal big-endian l2_block_number): 32 bytes.
#[pyfunction]
fn block_mismatch_hash(
    invalid_output_root: [u8; 32],
    expect_output_root: [u8; 32],
    l2_block_number: u64,
) -> [u8; 32] {
    statements::block_mismatch_hash(&invalid_output_root, &expect_output_root, l2_block_number)
}

/// keccak256(expect_output_root ‖ minimal big-endian invalid_output_index): 32 bytes.
#[pyfunction]
fn output_oracle_mismatch_hash(
    expect_output_root: [u8; 32],
    invalid_output_index: u64,
) -> [u8; 32] {
    statements::output_oracle_mismatch_hash(&expect_output_root, invalid_output_index)
}

/// keccak256(abi.encode(message_hash, uint32 reference block, uint256 rollup chain id)): 32 bytes.
///
/// `rollup_chain_id` is 32 big-endian bytes; None leaves it out, as the older contract does.
#[pyfunction]
#[pyo3(signature = (message_hash, reference_block_number, rollup_chain_id=None))]
fn sign_hash(
    message_hash: [u8; 32],
    reference_block_number: u32,
    rollup_chain_id: Option<[u8; 32]>,
) -> [u8; 32] {
    statements::sign_hash(
        &message_hash,
        reference_block_number,
        rollup_chain_id.as_ref(),
    )
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(keccak256, module)?)?;
    module.add_function(wrap_pyfunction!(keccak256_many, module)?)?;
    module.add_function(wrap_pyfunction!(block_mismatch_hash, module)?)?;
    module.add_function(wrap_pyfunction!(output_oracle_mismatch_hash, module)?)?;
    module.add_function(wrap_pyfunction!(sign_hash, module)?)
}
