"""Stored transactions: the bytes alone give everything back."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from mach.chain.transaction import MalformedTransactionError, SignedTransaction

ACCOUNT = Account.from_key((7).to_bytes(32))


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "type": 2,
        "chainId": 31337,
        "nonce": 0,
        "maxFeePerGas": 2,
        "maxPriorityFeePerGas": 1,
        "gas": 21000,
        "to": "0x" + "11" * 20,
        "value": 0,
        "data": b"",
    } | changes


@settings(max_examples=25)
@given(
    nonce=st.integers(0, 2**64 - 2),
    max_fee=st.integers(0, 2**100),
    priority=st.integers(0, 2**100),
    gas=st.integers(0, 2**64 - 1),
    value=st.integers(0, 2**200),
    data=st.binary(max_size=300),
    chain_id=st.integers(1, 2**60),
)
def test_a_transaction_survives_its_bytes(
    nonce: int, max_fee: int, priority: int, gas: int, value: int, data: bytes, chain_id: int
) -> None:
    raw = bytes(
        ACCOUNT.sign_transaction(
            fields(
                nonce=nonce,
                maxFeePerGas=max_fee,
                maxPriorityFeePerGas=priority,
                gas=gas,
                value=value,
                data=data,
                chainId=chain_id,
            )
        ).raw_transaction
    )
    assert SignedTransaction.from_raw(raw) == SignedTransaction(
        raw=raw,
        hash=keccak(raw),
        sender=ACCOUNT.address,
        chain_id=chain_id,
        nonce=nonce,
        max_fee_wei=max_fee,
        priority_fee_wei=priority,
        gas_limit=gas,
        to="0x" + "11" * 20,
        value_wei=value,
        data=data,
    )


def test_a_creation_has_no_receiver() -> None:
    raw = bytes(ACCOUNT.sign_transaction(fields(to="", data=b"\x60")).raw_transaction)
    assert SignedTransaction.from_raw(raw).to is None


def test_other_bytes_are_refused() -> None:
    legacy = {"nonce": 0, "gasPrice": 1, "gas": 21000, "to": "0x" + "11" * 20, "value": 0, "chainId": 1}
    good = bytes(ACCOUNT.sign_transaction(fields()).raw_transaction)
    for raw in (b"", b"\x02", bytes(ACCOUNT.sign_transaction(legacy).raw_transaction), good[:-1], good + b"\x00"):
        with pytest.raises(MalformedTransactionError, match="prepare it anew"):
            SignedTransaction.from_raw(raw)


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    with pytest.raises(MalformedTransactionError):
        SignedTransaction.from_raw(b"\x02" + body)
