"""Revert data: what Solidity's specification says it looks like, and anything else."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from web3.exceptions import ContractCustomError, ContractLogicError

from mach.chain.errors import RevertedError
from mach.chain.revert import decode_revert, reason_of


def selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


def test_require_texts() -> None:
    assert decode_revert(selector("Error(string)") + encode(["string"], ["not the owner"])) == "not the owner"


def test_panics_are_explained() -> None:
    overflow = selector("Panic(uint256)") + encode(["uint256"], [0x11])
    assert decode_revert(overflow) == "Panic(0x11: arithmetic overflow)"


def test_custom_errors_of_our_contracts_have_their_names() -> None:
    assert decode_revert(selector("AlreadyAdded()")) == "AlreadyAdded()"
    # OpenZeppelin 5's, which our proxies throw.
    data = selector("OwnableUnauthorizedAccount(address)") + encode(["address"], ["0x" + "11" * 20])
    assert decode_revert(data) in {f"OwnableUnauthorizedAccount({'0x' + '11' * 20})", f"0x{data.hex()}"}


def test_unknown_and_broken_data_is_shown_as_it_is() -> None:
    assert decode_revert(b"") == "no reason given"
    assert decode_revert(b"\xde\xad\xbe\xef\x01") == "0xdeadbeef01"
    assert decode_revert(selector("Error(string)") + b"\x01") == "0x08c379a001"
    not_utf8 = selector("Error(string)") + encode(["bytes"], [b"\xff\xfe"])
    assert decode_revert(not_utf8) == f"0x{not_utf8.hex()}"


@given(st.binary(max_size=200), st.sampled_from(["Error(string)", "Panic(uint256)", "AlreadyAdded()", "x()"]))
def test_no_bytes_break_it(body: bytes, signature: str) -> None:
    assert decode_revert(body)
    assert decode_revert(selector(signature) + body)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ContractLogicError("execution reverted: too late", data=None), "too late"),
        (ContractLogicError("execution reverted", data=None), "no reason given"),
        (ContractLogicError("whatever", data={"data": "0x" + selector("AlreadyAdded()").hex()}), "AlreadyAdded()"),
        (ContractCustomError("0xf411c327", data="0xf411c327"), "AlreadyAdded()"),
        (ContractLogicError("execution reverted: kept", data="not hex"), "kept"),
    ],
)
def test_reasons_in_web3s_exceptions(error: ContractLogicError, reason: str) -> None:
    assert reason_of(error) == reason


def test_an_errors_name_stands_without_arguments() -> None:
    assert RevertedError("…", "AlreadyAdded()").error_name == "AlreadyAdded"
    assert RevertedError("…", "not the owner").error_name == "not the owner"
