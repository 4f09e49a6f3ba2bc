"""Thresholds as `confirmAlert` decides them, over sets of any stakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mach import bls
from mach.chain.registry import Member, OperatorSet

KEYS = [bls.SecretKey.from_bytes(number.to_bytes(32)) for number in range(1, 9)]


def operator_set(stakes: list[dict[int, int]], quorum_numbers: bytes = b"\x00") -> OperatorSet:
    members = {
        key.public_key_g1.operator_id: Member(
            key.public_key_g1.operator_id, "0x" + "11" * 20, key.public_key_g1, key.public_key_g2, by_quorum
        )
        for key, by_quorum in zip(KEYS, stakes, strict=False)
    }
    totals = {number: sum(by_quorum.get(number, 0) for by_quorum in stakes) for number in quorum_numbers}
    return OperatorSet(5, quorum_numbers, members, totals, ())


def identity(index: int) -> bytes:
    return KEYS[index].public_key_g1.operator_id


def test_two_of_three_equal_stakes_are_66_percent() -> None:
    three = operator_set([{0: 10**18}] * 3)
    assert three.threshold_met([identity(0), identity(1)], b"\x42")
    assert not three.threshold_met([identity(0), identity(1)], b"\x43")
    assert not three.threshold_met([identity(0)], b"\x42")
    assert not three.threshold_met([], b"\x01")


def test_a_signature_counts_once_and_a_strangers_never() -> None:
    three = operator_set([{0: 1}] * 3)
    assert three.signed_stake([identity(0), identity(0), b"\xff" * 32], 0) == 1


def test_every_quorum_must_be_met() -> None:
    two = operator_set([{0: 9, 1: 1}, {1: 9}], b"\x00\x01")
    assert not two.threshold_met([identity(0)], b"\x42\x42")
    assert two.threshold_met([identity(0)], b"\x42\x0a")
    assert two.threshold_met([identity(0), identity(1)], b"\x64\x64")


def test_a_quorum_without_stake_is_never_met() -> None:
    assert not operator_set([{0: 0}]).threshold_met([identity(0)], b"\x00")


def test_a_percentage_for_each_quorum_is_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        operator_set([{0: 1}]).threshold_met([identity(0)], b"")


@given(st.lists(st.integers(0, 2**96 - 1), min_size=1, max_size=8), st.integers(0, 255), st.integers(1, 100))
def test_the_threshold_is_the_contracts_comparison(stakes: list[int], chosen: int, percent: int) -> None:
    members = operator_set([{0: stake} for stake in stakes])
    signers = [identity(index) for index in range(len(stakes)) if chosen >> index & 1]
    signed = sum(stake for index, stake in enumerate(stakes) if chosen >> index & 1)
    expected = sum(stakes) > 0 and signed * 100 >= sum(stakes) * percent
    assert members.threshold_met(signers, bytes([percent])) == expected
    rest = members.non_signers(signers)
    assert [member.operator_id for member in rest] == sorted(set(members.members) - set(signers))
