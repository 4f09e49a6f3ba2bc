"""Checks of many signatures at once, through Python, against single checks and against py-ecc."""

from __future__ import annotations

import array
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc import optimized_bn128 as bn128

from mach import bls
from mach._core import keccak256_many
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Collection

MESSAGE = keccak(b"a message")
KEYS = [bls.SecretKey.from_bytes(keccak(bytes([index]))[:31].rjust(32, b"\0")) for index in range(40)]
PUBLIC_KEYS = [key.public_key_g2.to_bytes() for key in KEYS]
IDENTITY_G1 = bytes(64)


def joined(parts: list[bytes]) -> bytes:
    return b"".join(parts)


def signatures_over(message: bytes, bad: Collection[int] = ()) -> list[bytes]:
    other = keccak(message)
    return [key.sign(other if index in bad else message).to_bytes() for index, key in enumerate(KEYS)]


def py_ecc_point(encoded: bytes) -> Any:
    x, y = (bn128.FQ(int.from_bytes(encoded[start : start + 32], "big")) for start in (0, 32))
    return x, y, bn128.FQ(1)


def encoded(point: Any) -> bytes:
    if bn128.is_inf(point):
        return IDENTITY_G1
    x, y = bn128.normalize(point)
    return x.n.to_bytes(32, "big") + y.n.to_bytes(32, "big")


@pytest.fixture(scope="module")
def signers() -> bls.SignerSet:
    return bls.SignerSet.from_bytes(joined(PUBLIC_KEYS))


@given(st.lists(st.integers(-3, 3), max_size=200), st.integers(1, bn128.curve_order - 1))
@settings(max_examples=20, deadline=None)
def test_a_sum_of_any_points_is_that_of_py_ecc(multiples: list[int], scalar: int) -> None:
    # Few different points: equal, opposite and identity ones meet.
    base = bn128.multiply(bn128.G1, scalar)
    points = {multiple: encoded(bn128.multiply(base, multiple % bn128.curve_order)) for multiple in range(-3, 4)}
    expected = encoded(bn128.multiply(base, sum(multiples) % bn128.curve_order))
    batch = joined([points[multiple] for multiple in multiples])
    assert bls.aggregate_signatures(batch) == expected
    assert bls.aggregate_public_keys_g1(bytearray(batch)) == expected


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
@settings(max_examples=30, deadline=None)
def test_many_messages_hash_as_each_does(messages: list[bytes]) -> None:
    assert bls.hash_to_g1_many(joined(messages)) == joined([bls.hash_to_g1(message) for message in messages])


def test_many_messages_hash_to_the_points_of_their_definition() -> None:
    modulus = bn128.field_modulus
    messages = [keccak(bytes([index])) for index in range(64)]
    points = bls.hash_to_g1_many(joined(messages))
    for index, message in enumerate(messages):
        x = int.from_bytes(message, "big") % modulus
        while pow(x**3 + 3, (modulus - 1) // 2, modulus) != 1:
            x = (x + 1) % modulus
        y = pow(x**3 + 3, (modulus + 1) // 4, modulus)
        assert points[64 * index : 64 * index + 64] == x.to_bytes(32, "big") + y.to_bytes(32, "big")


@given(st.sets(st.integers(0, len(KEYS) - 1), max_size=8))
@settings(max_examples=25, deadline=None)
def test_exactly_the_bad_signatures_are_named(bad: set[int]) -> None:
    signers = bls.SignerSet.from_bytes(joined(PUBLIC_KEYS))
    signatures = joined(signatures_over(MESSAGE, bad))
    assert signers.verify_aggregate(MESSAGE, signatures) is (not bad)
    assert signers.find_invalid(MESSAGE, signatures) == sorted(bad)
    assert bls.find_invalid(joined(PUBLIC_KEYS), MESSAGE, signatures) == sorted(bad)
    assert bls.verify_each(joined(PUBLIC_KEYS), MESSAGE, signatures) is (not bad)
    messages = MESSAGE * len(KEYS)
    assert bls.verify_batch(joined(PUBLIC_KEYS), messages, signatures) is (not bad)


@given(st.sets(st.integers(0, len(KEYS) - 1), min_size=1), st.data())
@settings(max_examples=25, deadline=None)
def test_only_those_present_count(present: set[int], data: st.DataObject) -> None:
    signers = bls.SignerSet.from_bytes(joined(PUBLIC_KEYS))
    order = data.draw(st.permutations(sorted(present)))
    bad = data.draw(st.sampled_from(order))
    good = signatures_over(MESSAGE)
    signatures = [good[index] for index in order]
    assert signers.aggregate(order) == bls.aggregate_public_keys_g2(joined([PUBLIC_KEYS[index] for index in order]))
    assert signers.verify_aggregate(MESSAGE, joined(signatures), order)
    signatures[order.index(bad)] = KEYS[bad].sign(keccak(MESSAGE)).to_bytes()
    assert not signers.verify_aggregate(MESSAGE, joined(signatures), order)
    assert signers.find_invalid(MESSAGE, joined(signatures), order) == [order.index(bad)]


def test_a_set_knows_its_size_and_its_sum(signers: bls.SignerSet) -> None:
    assert len(signers) == len(KEYS)
    assert signers.aggregate() == bls.aggregate_public_keys_g2(joined(PUBLIC_KEYS))
    assert signers.aggregate([]) == bytes(128)
    assert len(bls.SignerSet.from_bytes(b"")) == 0


def test_signers_are_named_once_and_exist(signers: bls.SignerSet) -> None:
    signatures = joined(signatures_over(MESSAGE)[:2])
    for present, text in [([0, 40], "no signer 40 in a set of 40"), ([3, 3], "signer 3 is named twice")]:
        for check in (signers.verify_aggregate, signers.find_invalid):
            with pytest.raises(bls.SignerIndexError, match=text) as caught:
                check(MESSAGE, signatures, present)
            assert isinstance(caught.value, MachError)
        with pytest.raises(bls.SignerIndexError, match=text):
            signers.aggregate(present)
    with pytest.raises(bls.CountMismatchError, match="40 public keys but 2 signatures"):
        signers.verify_aggregate(MESSAGE, signatures)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30),
    st.data(),
)
@settings(max_examples=20, deadline=None)
def test_a_batch_over_many_messages_is_good_until_one_is_not(items: list[tuple[int, int]], data: st.DataObject) -> None:
    public_keys = joined([PUBLIC_KEYS[key] for key, _ in items])
    messages = [keccak(bytes([message])) for _, message in items]
    signatures = [KEYS[key].sign(message).to_bytes() for (key, _), message in zip(items, messages, strict=True)]
    assert bls.verify_batch(public_keys, joined(messages), joined(signatures))
    bad = data.draw(st.integers(0, len(items) - 1))
    signatures[bad] = KEYS[items[bad][0]].sign(MESSAGE).to_bytes()
    assert not bls.verify_batch(public_keys, joined(messages), joined(signatures))


def test_errors_that_cancel_out_pass_a_sum_but_no_check_of_each(signers: bls.SignerSet) -> None:
    signatures = signatures_over(MESSAGE)
    error = bn128.multiply(bn128.G1, 12345)
    signatures[2] = encoded(bn128.add(py_ecc_point(signatures[2]), error))
    signatures[9] = encoded(bn128.add(py_ecc_point(signatures[9]), bn128.neg(error)))
    assert signers.verify_aggregate(MESSAGE, joined(signatures))
    assert not bls.verify_each(joined(PUBLIC_KEYS), MESSAGE, joined(signatures))
    assert not bls.verify_batch(joined(PUBLIC_KEYS), MESSAGE * len(KEYS), joined(signatures))


def test_nothing_is_proved_by_nothing() -> None:
    assert not bls.verify_each(b"", MESSAGE, b"")
    assert not bls.verify_batch(b"", b"", b"")
    assert not bls.SignerSet.from_bytes(b"").verify_aggregate(MESSAGE, b"")
    assert bls.find_invalid(b"", MESSAGE, b"") == []
    assert bls.hash_to_g1_many(b"") == b""


def test_every_kind_of_buffer_is_read(signers: bls.SignerSet) -> None:
    signatures = joined(signatures_over(MESSAGE))
    apart = bytearray(2 * len(signatures))
    apart[::2] = signatures
    for buffer in (bytearray(signatures), memoryview(signatures), array.array("B", signatures), memoryview(apart)[::2]):
        assert signers.verify_aggregate(MESSAGE, buffer)
        assert bls.aggregate_signatures(buffer) == bls.aggregate_signatures(signatures)
    for wrong in ("text", 7, None, [1, 2], array.array("I", [1])):
        with pytest.raises((TypeError, BufferError)):
            bls.aggregate_signatures(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [0, 7, 8, 38])
def test_a_bad_point_of_a_batch_is_named_with_its_position(signers: bls.SignerSet, position: int) -> None:
    good = signatures_over(MESSAGE)
    faults: list[tuple[bytes, type[bls.BlsError]]] = [
        (good[position][32:] + good[position][:32], bls.NotOnCurveError),
        (bn128.field_modulus.to_bytes(32, "big") + good[position][32:], bls.NonCanonicalCoordinateError),
        (IDENTITY_G1, bls.IdentityError),
    ]
    for fault, error in faults:
        signatures = joined([*good[:position], fault, *good[position + 1 :]])
        with pytest.raises(error, match=rf"^at index {position}: signature "):
            signers.verify_aggregate(MESSAGE, signatures)
        with pytest.raises(error, match=rf"^at index {position}: signature "):
            bls.verify_each(joined(PUBLIC_KEYS), MESSAGE, signatures)


@pytest.mark.parametrize("length", [1, 31, 33])
def test_a_batch_of_messages_is_whole(length: int) -> None:
    with pytest.raises(bls.WrongLengthError, match=f"32-byte encodings, got {length} bytes"):
        bls.hash_to_g1_many(bytes(length))
    with pytest.raises(bls.WrongLengthError, match=f"got {length} bytes"):
        bls.verify_batch(PUBLIC_KEYS[0], bytes(length), signatures_over(MESSAGE)[0])


def test_a_batch_wants_one_key_message_and_signature_each() -> None:
    signature = signatures_over(MESSAGE)[0]
    for public_keys, messages in [(b"", MESSAGE), (PUBLIC_KEYS[0], b""), (PUBLIC_KEYS[0] * 2, MESSAGE)]:
        with pytest.raises(bls.CountMismatchError):
            bls.verify_batch(public_keys, messages, signature)


def test_a_proof_of_possession_is_of_both_keys_of_one_secret() -> None:
    one, other = KEYS[:2]
    proof = one.prove_possession()
    assert bls.verify_possession(one.public_key_g1, one.public_key_g2, proof)
    assert not bls.verify_possession(other.public_key_g1, one.public_key_g2, proof)
    assert not bls.verify_possession(one.public_key_g1, other.public_key_g2, proof)
    assert not bls.verify_possession(one.public_key_g1, one.public_key_g2, other.prove_possession())
    domain = b"MACH_BLS_BN254_PROOF_OF_POSSESSION_V1"
    assert proof == one.sign(keccak(domain + one.public_key_g1.to_bytes() + one.public_key_g2.to_bytes()))


def test_a_registration_is_accepted_as_the_contract_would() -> None:
    one, other = KEYS[:2]
    point = bls.hash_to_g1(keccak(b"what the registry hashed"))
    signature = bls.Signature.from_bytes(one.sign_point(point))
    assert bls.verify_registration(one.public_key_g1, one.public_key_g2, point, signature)
    assert not bls.verify_registration(one.public_key_g1, other.public_key_g2, point, signature)
    assert not bls.verify_registration(one.public_key_g1, one.public_key_g2, bls.hash_to_g1(bytes(32)), signature)
    with pytest.raises(bls.NotOnCurveError):
        bls.verify_registration(one.public_key_g1, one.public_key_g2, b"\1" * 64, signature)


def test_many_threads_share_a_set(signers: bls.SignerSet) -> None:
    batches = [joined(signatures_over(MESSAGE, {index})) for index in range(16)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(lambda batch: signers.find_invalid(MESSAGE, batch), batches))
    assert found == [[index] for index in range(16)]


@given(st.lists(st.binary(max_size=600), max_size=40))
@settings(deadline=None)
def test_many_messages_have_the_digests_of_each(messages: list[bytes]) -> None:
    assert keccak256_many(messages) == [keccak(message) for message in messages]
