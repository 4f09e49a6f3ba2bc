"""Alert hashes and signed digests against eth-abi, eth-hash and the original's Go code."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from mach.errors import MachError
from mach.protocol import FieldError, keccak256
from mach.protocol.alerts import BlockHash, BlockMismatch, OutputOracleMismatch, sign_hash

REPOSITORY = Path(__file__).parents[2]
VECTORS: list[dict[str, Any]] = json.loads((REPOSITORY / "tests/vectors/bls.json").read_text())["statements"]
GO_VECTORS = Path(os.environ.get("MACH_TESTDATA") or REPOSITORY.parent / "shared/testdata") / "mach-go-vectors.json"

ROOT = b"\x11" * 32
OTHER_ROOT = b"\x22" * 32

bytes32 = st.binary(min_size=32, max_size=32)
uint64 = st.integers(0, 2**64 - 1)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["number"]))
def test_hashes_equal_those_of_eth_abi(vector: dict[str, Any]) -> None:
    expected = unhex(vector["expect_output_root"])
    alert = BlockMismatch(unhex(vector["invalid_output_root"]), expected, vector["number"])
    assert alert.message_hash() == unhex(vector["block_mismatch_hash"])
    oracle_alert = OutputOracleMismatch(expected, vector["number"])
    assert oracle_alert.message_hash() == unhex(vector["output_oracle_mismatch_hash"])
    reference_block = vector["reference_block_number"]
    assert sign_hash(alert.message_hash(), reference_block) == unhex(vector["sign_hash_v1"])
    chain_id = int(vector["rollup_chain_id"], 16)
    assert sign_hash(alert.message_hash(), reference_block, chain_id) == unhex(vector["sign_hash_v2"])


@pytest.mark.skipif(not GO_VECTORS.exists(), reason=f"no {GO_VECTORS} (set MACH_TESTDATA)")
def test_hashes_equal_those_of_the_original() -> None:
    vectors = json.loads(GO_VECTORS.read_text())["alerts"]
    assert any(vector["block_mismatch_request"]["l2_block_number"] == 0 for vector in vectors)
    for vector in vectors:
        request = vector["block_mismatch_request"]
        alert = BlockMismatch(
            unhex(request["invalid_output_root"]), unhex(request["expect_output_root"]), request["l2_block_number"]
        )
        assert alert.message_hash() == unhex(vector["block_mismatch_hash"])
        assert sign_hash(alert.message_hash(), vector["reference_block_number"]) == unhex(vector["legacy_sign_hash"])
        request = vector["output_oracle_request"]
        oracle_alert = OutputOracleMismatch(unhex(request["expect_output_root"]), request["invalid_output_index"])
        assert oracle_alert.message_hash() == unhex(vector["output_oracle_hash"])


@given(bytes32, bytes32, uint64)
def test_numbers_are_minimal_big_endian(invalid: bytes, expected: bytes, number: int) -> None:
    minimal = number.to_bytes((number.bit_length() + 7) // 8, "big")
    assert BlockMismatch(invalid, expected, number).message_hash() == keccak(invalid + expected + minimal)
    assert OutputOracleMismatch(expected, number).message_hash() == keccak(expected + minimal)
    assert BlockHash(invalid).message_hash() == invalid


@given(bytes32, st.integers(0, 2**32 - 1), st.integers(0, 2**256 - 1))
def test_the_signed_digest_is_that_of_the_contract(message: bytes, reference_block: int, chain_id: int) -> None:
    assert sign_hash(message, reference_block) == keccak(encode(["bytes32", "uint32"], [message, reference_block]))
    encoded = encode(["bytes32", "uint32", "uint256"], [message, reference_block, chain_id])
    assert sign_hash(message, reference_block, chain_id) == keccak(encoded)


@given(st.binary(max_size=600))
def test_keccak_equals_that_of_eth_hash(data: bytes) -> None:
    assert keccak256(data) == keccak(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"invalid_output_root": b"\x11" * 31, "expect_output_root": ROOT, "l2_block_number": 1},
            "invalid_output_root must be 32 bytes, got 31",
        ),
        (
            {"invalid_output_root": ROOT, "expect_output_root": b"", "l2_block_number": 1},
            "expect_output_root must be 32 bytes, got 0",
        ),
        (
            {"invalid_output_root": ROOT, "expect_output_root": "0x" + "11" * 32, "l2_block_number": 1},
            "expect_output_root must be 32 bytes, got a value of type str",
        ),
        (
            {"invalid_output_root": ROOT, "expect_output_root": ROOT, "l2_block_number": -1},
            "l2_block_number must be from 0 to 18446744073709551615, got -1",
        ),
        (
            {"invalid_output_root": ROOT, "expect_output_root": ROOT, "l2_block_number": 2**64},
            "l2_block_number must be from 0 to 18446744073709551615, got 18446744073709551616",
        ),
        (
            {"invalid_output_root": ROOT, "expect_output_root": ROOT, "l2_block_number": True},
            "l2_block_number must be an integer, got a value of type bool",
        ),
        (
            {"invalid_output_root": ROOT, "expect_output_root": ROOT, "l2_block_number": "7"},
            "l2_block_number must be an integer, got a value of type str",
        ),
    ],
)
def test_a_block_mismatch_names_its_bad_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError) as caught:
        BlockMismatch(**fields)
    assert str(caught.value) == message
    assert isinstance(caught.value, MachError)


def test_the_other_alerts_name_their_bad_field() -> None:
    with pytest.raises(FieldError, match=r"^expect_output_root must be 32 bytes, got 33$"):
        OutputOracleMismatch(bytes(33), 1)
    with pytest.raises(FieldError, match=r"^invalid_output_index must be from 0 to 18446744073709551615, got -1$"):
        OutputOracleMismatch(ROOT, -1)
    with pytest.raises(FieldError, match=r"^hash must be 32 bytes, got 1$"):
        BlockHash(b"\x00")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((bytes(31), 1), "message_hash"),
        ((ROOT, 2**32), "reference_block_number"),
        ((ROOT, -1), "reference_block_number"),
        ((ROOT, 1, 2**256), "rollup_chain_id"),
        ((ROOT, 1, -1), "rollup_chain_id"),
    ],
)
def test_the_signed_digest_names_its_bad_argument(arguments: tuple[Any, ...], name: str) -> None:
    with pytest.raises(FieldError, match=f"^{name} must be "):
        sign_hash(*arguments)


def test_alerts_are_values() -> None:
    alert = BlockMismatch(ROOT, OTHER_ROOT, 7)
    assert alert == BlockMismatch(ROOT, OTHER_ROOT, 7)
    assert len({alert, BlockMismatch(ROOT, OTHER_ROOT, 7), BlockMismatch(OTHER_ROOT, ROOT, 7)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        alert.l2_block_number = 8  # type: ignore[misc]
