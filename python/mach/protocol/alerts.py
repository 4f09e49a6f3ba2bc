"""The three alerts that operators sign, their message hashes, and the digest that is signed.

Hashes equal those of the original Mach and of its contracts: numbers are minimal big-endian, so zero is the empty
string. A chain without output roots puts block hashes in their place: the hash as served is the invalid one, the hash
of the block as re-executed the expected one.
"""

from __future__ import annotations

from dataclasses import dataclass

from mach import _core
from mach.protocol.fields import UINT32_MAX, UINT64_MAX, UINT256_MAX, check_bytes32, check_uint


@dataclass(frozen=True, slots=True)
class BlockMismatch:
    """Block `l2_block_number` was served with `invalid_output_root`; re-execution gives `expect_output_root`.

    Roots are 32 bytes, the number fits 64 bits. Raises FieldError.
    """

    invalid_output_root: bytes
    expect_output_root: bytes
    l2_block_number: int

    def __post_init__(self) -> None:
        check_bytes32("invalid_output_root", self.invalid_output_root)
        check_bytes32("expect_output_root", self.expect_output_root)
        check_uint("l2_block_number", self.l2_block_number, UINT64_MAX)

    def message_hash(self) -> bytes:
        """keccak256(invalid_output_root ‖ expect_output_root ‖ minimal big-endian l2_block_number), 32 bytes."""
        return _core.block_mismatch_hash(self.invalid_output_root, self.expect_output_root, self.l2_block_number)


@dataclass(frozen=True, slots=True)
class OutputOracleMismatch:
    """Entry `invalid_output_index` of the L1 output oracle is wrong; it should be `expect_output_root`.

    The root is 32 bytes, the index fits 64 bits. Raises FieldError.
    """

    expect_output_root: bytes
    invalid_output_index: int

    def __post_init__(self) -> None:
        check_bytes32("expect_output_root", self.expect_output_root)
        check_uint("invalid_output_index", self.invalid_output_index, UINT64_MAX)

    def message_hash(self) -> bytes:
        """keccak256(expect_output_root ‖ minimal big-endian invalid_output_index), 32 bytes."""
        return _core.output_oracle_mismatch_hash(self.expect_output_root, self.invalid_output_index)


@dataclass(frozen=True, slots=True)
class BlockHash:
    """The block of this hash (32 bytes) is wrong. Raises FieldError."""

    hash: bytes

    def __post_init__(self) -> None:
        check_bytes32("hash", self.hash)

    def message_hash(self) -> bytes:
        """The block hash itself, 32 bytes."""
        return self.hash


Alert = BlockMismatch | OutputOracleMismatch | BlockHash


def sign_hash(message_hash: bytes, reference_block_number: int, rollup_chain_id: int | None = None) -> bytes:
    """The 32-byte digest that operators sign over a message hash.

    keccak256(abi.encode(bytes32 message_hash, uint32 reference_block_number, uint256 rollup_chain_id)); without a
    chain id it is the digest of the older contract, which ends after the reference block (a block of the settlement
    chain). Raises FieldError.
    """
    check_bytes32("message_hash", message_hash)
    check_uint("reference_block_number", reference_block_number, UINT32_MAX)
    if rollup_chain_id is None:
        return _core.sign_hash(message_hash, reference_block_number)
    check_uint("rollup_chain_id", rollup_chain_id, UINT256_MAX)
    return _core.sign_hash(message_hash, reference_block_number, rollup_chain_id.to_bytes(32, "big"))
