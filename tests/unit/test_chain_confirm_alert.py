"""Calldata against the general ABI encoder, and what a revert reason means for the alert."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_abi_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st

from mach.chain.artifacts import load
from mach.chain.confirm_alert import encode_confirm_alert, fresh_signatures_help, gas_limit, stands_already
from mach.chain.points import PointLengthError
from mach.chain.service_manager import AlertHeader, CheckSignaturesIndices, NonSignerStakesAndSignature

TYPES = [
    "(bytes32,bytes,bytes,uint32,uint256)",
    "(uint32[],(uint256,uint256)[],(uint256,uint256)[],(uint256[2],uint256[2]),(uint256,uint256),"
    "uint32[],uint32[],uint32[][])",
]

uint32 = st.integers(0, 2**32 - 1)
uint32s = st.lists(uint32, max_size=4).map(tuple)
words = st.binary(min_size=32, max_size=32)
g1 = st.binary(min_size=64, max_size=64)
headers = st.builds(
    AlertHeader,
    message_hash=words,
    quorum_numbers=st.binary(max_size=40),
    quorum_threshold_percentages=st.binary(max_size=40),
    reference_block_number=uint32,
    rollup_chain_id=st.integers(0, 2**256 - 1),
)
proofs = st.builds(
    NonSignerStakesAndSignature,
    non_signer_public_keys=st.lists(g1, max_size=4).map(tuple),
    quorum_apks=st.lists(g1, max_size=3).map(tuple),
    apk_g2=st.binary(min_size=128, max_size=128),
    sigma=g1,
    indices=st.builds(
        CheckSignaturesIndices,
        non_signer_quorum_bitmap_indices=uint32s,
        quorum_apk_indices=uint32s,
        total_stake_indices=uint32s,
        non_signer_stake_indices=st.lists(uint32s, max_size=3).map(tuple),
    ),
)
HEADER = AlertHeader(b"\x01" * 32, b"\x00", b"\x42", 7, 901)
PROOF = NonSignerStakesAndSignature(
    (), (bytes(64),), bytes(128), bytes(64), CheckSignaturesIndices((), (1,), (2,), ((),))
)


@given(headers, proofs)
def test_calldata_is_what_the_abi_makes_of_it(header: AlertHeader, proof: NonSignerStakesAndSignature) -> None:
    entry = next(one for one in load("MachServiceManager").abi if one.get("name") == "confirmAlert")
    expected = encode(
        TYPES,
        [
            (
                header.message_hash,
                header.quorum_numbers,
                header.quorum_threshold_percentages,
                header.reference_block_number,
                header.rollup_chain_id,
            ),
            proof.to_struct(),
        ],
    )
    assert encode_confirm_alert(header, proof) == function_abi_to_4byte_selector(entry) + expected  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    assert encode_confirm_alert(HEADER, PROOF)
    for field, value in (("sigma", bytes(63)), ("apk_g2", bytes(64)), ("quorum_apks", (b"",))):
        broken = NonSignerStakesAndSignature(
            **{name: getattr(PROOF, name) for name in PROOF.__slots__} | {field: value}  # type: ignore[arg-type]
        )
        with pytest.raises(PointLengthError):
            encode_confirm_alert(HEADER, broken)
    for header in (
        AlertHeader(b"\x01" * 31, b"\x00", b"\x42", 7, 901),
        AlertHeader(b"\x01" * 32, b"\x00", b"\x42", 2**32, 901),
        AlertHeader(b"\x01" * 32, b"\x00", b"\x42", -1, 901),
        AlertHeader(b"\x01" * 32, b"\x00", b"\x42", 7, 2**256),
    ):
        with pytest.raises(OverflowError):
            encode_confirm_alert(header, PROOF)


@given(words, st.integers(0, 199), st.binary(min_size=1, max_size=8))
def test_more_non_signers_and_quorums_need_more_gas(message_hash: bytes, non_signers: int, quorums: bytes) -> None:
    header = AlertHeader(message_hash, quorums, quorums, 7, 901)
    more = AlertHeader(message_hash, quorums + b"\x09", quorums, 7, 901)
    limit = gas_limit(header, non_signers)
    assert limit < gas_limit(header, non_signers + 1)
    assert limit < gas_limit(more, non_signers)


def test_reasons_are_told_apart() -> None:
    assert stands_already("AlreadyAdded()")
    assert stands_already("ResolvedAlert()")
    assert not stands_already("InsufficientThreshold()")
    for reason in (
        "InvalidReferenceBlockNum()",
        "InsufficientThreshold()",
        "stakes are stale",
        "not the quorum's aggregate key",
    ):
        assert fresh_signatures_help(reason)
    for reason in (
        "AlreadyAdded()",
        "InsufficientThresholdPercentages()",
        "InvalidConfirmer()",
        "out of gas",
        "paused",
    ):
        assert not fresh_signatures_help(reason)
