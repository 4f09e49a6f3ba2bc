"""Fast signing against eth_account, and nonces, fees and addresses as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eth_account import Account
from eth_utils.address import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from mach.chain.addresses import address_bytes, checksum_of
from mach.chain.nonces import NonceAllocator
from mach.chain.signing import TransactionSigner
from mach.chain.transaction import Call

if TYPE_CHECKING:
    import random


@settings(max_examples=40, deadline=None)
@given(
    key=st.integers(1, 2**255),
    nonce=st.integers(0, 2**64 - 2),
    fees=st.tuples(st.integers(0, 2**100), st.integers(0, 2**100)),
    gas=st.integers(0, 2**64 - 1),
    value=st.integers(0, 2**200),
    data=st.binary(max_size=300),
    to=st.one_of(st.none(), st.binary(min_size=20, max_size=20)),
    chain_id=st.integers(1, 2**60),
)
def test_the_bytes_are_eth_accounts(
    key: int,
    nonce: int,
    fees: tuple[int, int],
    gas: int,
    value: int,
    data: bytes,
    to: bytes | None,
    chain_id: int,
) -> None:
    account = Account.from_key(key.to_bytes(32))
    address = None if to is None else checksum_of(to)
    fields = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "maxFeePerGas": fees[0],
        "maxPriorityFeePerGas": fees[1],
        "gas": gas,
        "to": address or "",
        "value": value,
        "data": data,
    }
    expected = account.sign_transaction(fields)
    raw, transaction_hash = TransactionSigner(account, chain_id).sign(
        Call(address, data, "test", value), nonce, gas, fees[0], fees[1]
    )
    assert raw == bytes(expected.raw_transaction)
    assert transaction_hash == bytes(expected.hash)


@given(st.binary(min_size=20, max_size=20))
def test_checksums_are_eip_55(address: bytes) -> None:
    assert checksum_of(address) == to_checksum_address(address)
    assert address_bytes(checksum_of(address)) == address


def test_nonces_rise_and_released_ones_come_first() -> None:
    nonces = NonceAllocator()
    assert not nonces.known
    nonces.observe(5)
    assert nonces.known
    assert nonces.take(3) == [5, 6, 7]
    nonces.release(6)
    nonces.release(5)
    assert nonces.take(3) == [5, 6, 8]
    nonces.release(8)
    nonces.observe(9)
    assert nonces.take(1) == [9]


def test_what_was_never_taken_is_not_released() -> None:
    nonces = NonceAllocator()
    nonces.observe(5)
    nonces.release(17)
    assert nonces.take(2) == [5, 6]


def test_nonces_on_record_are_left_alone() -> None:
    nonces = NonceAllocator()
    nonces.observe(2)
    nonces.reserve_up_to(4)
    nonces.reserve_up_to(3)
    assert nonces.take(1) == [5]
    nonces.forget()
    assert not nonces.known
    nonces.observe(3)
    assert nonces.take(1) == [3]


def test_gaps_are_what_nothing_will_use() -> None:
    now = 0.0
    nonces = NonceAllocator(clock=lambda: now)
    nonces.observe(0)
    nonces.take(6)
    for sent in (0, 3, 5):
        nonces.sent(sent)
    nonces.release(1)
    in_flight = [3, 5]
    assert nonces.gaps(1, 5, in_flight, patience_s=10) == [1]
    now = 9.9
    assert nonces.gaps(0, 5, in_flight, patience_s=10) == [0, 1]
    now = 10.0
    assert nonces.gaps(1, 5, in_flight, patience_s=10) == [1, 2, 4]
    assert nonces.gaps(6, 5, in_flight, patience_s=10) == []


@given(st.lists(st.sampled_from(["take", "release", "sent"]), max_size=60), st.randoms())
def test_no_nonce_is_given_out_twice(steps: list[str], luck: random.Random) -> None:
    nonces = NonceAllocator()
    taken: set[int] = set()
    sent: set[int] = set()
    nonces.observe(0)
    for step in steps:
        if step == "take":
            (nonce,) = nonces.take(1)
            assert nonce not in taken | sent
            taken.add(nonce)
        elif taken:
            nonce = luck.choice(sorted(taken))
            taken.remove(nonce)
            if step == "sent":
                sent.add(nonce)
                nonces.sent(nonce)
            else:
                nonces.release(nonce)
