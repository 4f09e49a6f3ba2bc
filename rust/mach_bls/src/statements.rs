//! Hashes of alerts and of what an operator signs, as the original Mach and its contracts compute them.

use mach_keccak::{keccak256, keccak256_concat};

/// Message hash of "block `l2_block_number` has `invalid_output_root`, where `expect_output_root` is right":
/// keccak256(invalid ‖ expected ‖ minimal big-endian number), in which zero is the empty string.
#[must_use]
pub fn block_mismatch_hash(
    invalid_output_root: &[u8; 32],
    expect_output_root: &[u8; 32],
    l2_block_number: u64,
) -> [u8; 32] {
    let number = l2_block_number.to_be_bytes();
    keccak256_concat(&[
        invalid_output_root,
        expect_output_root,
        without_leading_zeros(&number),
    ])
}

/// Message hash of "the output oracle's entry `invalid_output_index` should be `expect_output_root`":
/// keccak256(expected ‖ minimal big-endian index), in which zero is the empty string.
#[must_use]
pub fn output_oracle_mismatch_hash(
    expect_output_root: &[u8; 32],
    invalid_output_index: u64,
) -> [u8; 32] {
    let index = invalid_output_index.to_be_bytes();
    keccak256_concat(&[expect_output_root, without_leading_zeros(&index)])
}

/// The digest that operators sign: keccak256(abi.encode(message hash, uint32 reference block, uint256 rollup chain)),
/// or without the chain id for deployments of the older contract. `rollup_chain_id` is big-endian.
#[must_use]
pub fn sign_hash(
    message_hash: &[u8; 32],
    reference_block_number: u32,
    rollup_chain_id: Option<&[u8; 32]>,
) -> [u8; 32] {
    let mut encoded = [0_u8; 96];
    encoded[..32].copy_from_slice(message_hash);
    encoded[60..64].copy_from_slice(&reference_block_number.to_be_bytes());
    match rollup_chain_id {
        Some(chain_id) => {
            encoded[64..].copy_from_slice(chain_id);
            keccak256(&encoded)
        }
        None => keccak256(&encoded[..64]),
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_minimal_big_endian() {
        assert_eq!(without_leading_zeros(&0_u64.to_be_bytes()), b"");
        assert_eq!(without_leading_zeros(&255_u64.to_be_bytes()), [255]);
        assert_eq!(without_leading_zeros(&256_u64.to_be_bytes()), [1, 0]);
        assert_eq!(without_leading_zeros(&u64::MAX.to_be_bytes()), [255; 8]);
    }
}
