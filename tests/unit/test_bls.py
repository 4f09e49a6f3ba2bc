"""`mach.bls` against py-ecc, the original's Go code and the algebra of signatures."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc import optimized_bn128 as bn128

from mach import bls
from mach.errors import MachError

REPOSITORY = Path(__file__).parents[2]
VECTORS: dict[str, list[dict[str, Any]]] = json.loads((REPOSITORY / "tests/vectors/bls.json").read_text())
GO_VECTORS = Path(os.environ.get("MACH_TESTDATA") or REPOSITORY.parent / "shared/testdata") / "mach-go-vectors.json"

FAULTS = {
    "wrong_length": bls.WrongLengthError,
    "secret_key_range": bls.SecretKeyRangeError,
    "non_canonical_coordinate": bls.NonCanonicalCoordinateError,
    "not_on_curve": bls.NotOnCurveError,
    "not_in_subgroup": bls.NotInSubgroupError,
    "identity": bls.IdentityError,
}
IDENTITY_G1 = bytes(64)
IDENTITY_G2 = bytes(128)

messages = st.binary(min_size=32, max_size=32)
scalars = st.integers(min_value=1, max_value=bn128.curve_order - 1)
secret_keys = scalars.map(lambda scalar: bls.SecretKey.from_bytes(scalar.to_bytes(32, "big")))


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def py_ecc_g1(point: Any) -> bytes:
    if bn128.is_inf(point):
        return IDENTITY_G1
    x, y = bn128.normalize(point)
    return x.n.to_bytes(32, "big") + y.n.to_bytes(32, "big")


def py_ecc_point(encoded: bytes) -> Any:
    x, y = (bn128.FQ(int.from_bytes(encoded[start : start + 32], "big")) for start in (0, 32))
    return x, y, bn128.FQ(1)


@pytest.mark.parametrize("vector", VECTORS["keys"])
def test_keys_equal_those_of_py_ecc(vector: dict[str, Any]) -> None:
    key = bls.SecretKey.from_bytes(unhex(vector["secret_key"]))
    assert key.to_bytes() == unhex(vector["secret_key"])
    assert key.public_key_g1.to_bytes() == unhex(vector["public_key_g1"])
    assert key.public_key_g1.operator_id == unhex(vector["operator_id"])
    assert key.public_key_g2.to_bytes() == unhex(vector["public_key_g2"])
    assert bls.PublicKeyG1.from_bytes(unhex(vector["public_key_g1"])) == key.public_key_g1
    assert bls.PublicKeyG2.from_bytes(unhex(vector["public_key_g2"])) == key.public_key_g2


@pytest.mark.parametrize("vector", VECTORS["signatures"])
def test_signatures_equal_those_of_py_ecc(vector: dict[str, Any]) -> None:
    key = bls.SecretKey.from_bytes(unhex(vector["secret_key"]))
    message = unhex(vector["message"])
    signature = key.sign(message)
    assert bls.hash_to_g1(message) == unhex(vector["hash_to_g1"])
    assert signature.to_bytes() == unhex(vector["signature"])
    assert key.sign_point(unhex(vector["hash_to_g1"])) == unhex(vector["signature"])
    assert signature.verify(key.public_key_g2, message)


@pytest.mark.parametrize("vector", VECTORS["aggregates"], ids=lambda vector: vector["case"])
def test_sums_equal_those_of_py_ecc(vector: dict[str, Any]) -> None:
    keys_g1, keys_g2, signatures = (
        unhex("".join(vector[name])) for name in ("public_keys_g1", "public_keys_g2", "signatures")
    )
    assert bls.aggregate_public_keys_g1(keys_g1) == unhex(vector["aggregate_public_key_g1"])
    assert bls.aggregate_public_keys_g2(keys_g2) == unhex(vector["aggregate_public_key_g2"])
    assert bls.aggregate_signatures(signatures) == unhex(vector["aggregate_signature"])
    assert bls.verify_aggregate(keys_g2, unhex(vector["message"]), signatures) is vector["valid"]


@pytest.mark.parametrize("vector", VECTORS["rejected"])
def test_faulty_encodings_are_rejected_with_their_fault(vector: dict[str, Any]) -> None:
    readers = {
        "secret_key": [bls.SecretKey.from_bytes],
        "g1": [bls.PublicKeyG1.from_bytes, bls.Signature.from_bytes],
        "g2": [bls.PublicKeyG2.from_bytes],
    }
    for read in readers[vector["kind"]]:
        with pytest.raises(FAULTS[vector["fault"]]) as caught:
            read(unhex(vector["bytes"]))
        assert isinstance(caught.value, bls.BlsError)
        assert isinstance(caught.value, MachError)


@pytest.mark.skipif(not GO_VECTORS.exists(), reason=f"no {GO_VECTORS} (set MACH_TESTDATA)")
def test_keys_signatures_and_operator_ids_equal_those_of_the_original() -> None:
    vectors = json.loads(GO_VECTORS.read_text())["bls"]
    assert vectors
    for vector in vectors:
        key = bls.SecretKey.from_bytes(unhex(vector["secret_key"]))
        assert key.public_key_g1.to_bytes() == unhex(vector["public_key_g1"])
        assert key.public_key_g1.operator_id == unhex(vector["operator_id"])
        parts = vector["public_key_g2"]
        assert key.public_key_g2.to_bytes() == unhex(parts["x_c1"] + parts["x_c0"] + parts["y_c1"] + parts["y_c0"])
        signature = key.sign(unhex(vector["message"]))
        assert signature.to_bytes() == unhex(vector["signature"])
        assert signature.verify(key.public_key_g2, unhex(vector["message"]))


@given(scalars, messages)
@settings(max_examples=30, deadline=None)
def test_a_signature_is_the_scalar_times_the_hashed_point(scalar: int, message: bytes) -> None:
    key = bls.SecretKey.from_bytes(scalar.to_bytes(32, "big"))
    hashed = bls.hash_to_g1(message)
    assert key.sign(message).to_bytes() == py_ecc_g1(bn128.multiply(py_ecc_point(hashed), scalar))
    assert key.public_key_g1.to_bytes() == py_ecc_g1(bn128.multiply(bn128.G1, scalar))
    assert key.public_key_g1.operator_id == keccak(key.public_key_g1.to_bytes())


@given(messages)
@settings(deadline=None)
def test_a_message_hashes_to_the_first_point_from_its_number_on(message: bytes) -> None:
    modulus = bn128.field_modulus
    point = bls.hash_to_g1(message)
    x, y = int.from_bytes(point[:32], "big"), int.from_bytes(point[32:], "big")
    square = (x**3 + 3) % modulus
    assert y == pow(square, (modulus + 1) // 4, modulus)
    assert y * y % modulus == square
    passed_over = int.from_bytes(message, "big") % modulus
    while passed_over != x:
        assert pow(passed_over**3 + 3, (modulus - 1) // 2, modulus) == modulus - 1
        passed_over = (passed_over + 1) % modulus


@given(messages)
@settings(max_examples=3, deadline=None)
def test_py_ecc_accepts_our_signatures(message: bytes) -> None:
    key = bls.SecretKey.generate()
    signature = py_ecc_point(key.sign(message).to_bytes())
    encoded = key.public_key_g2.to_bytes()
    x_c1, x_c0, y_c1, y_c0 = (int.from_bytes(encoded[start : start + 32], "big") for start in range(0, 128, 32))
    public_key = (bn128.FQ2((x_c0, x_c1)), bn128.FQ2((y_c0, y_c1)), bn128.FQ2.one())
    hashed = py_ecc_point(bls.hash_to_g1(message))
    assert bn128.pairing(bn128.G2, signature) == bn128.pairing(public_key, hashed)


@given(secret_keys, secret_keys, messages, messages)
@settings(max_examples=30, deadline=None)
def test_a_signature_is_of_its_key_and_message_only(
    key: bls.SecretKey, other: bls.SecretKey, message: bytes, another: bytes
) -> None:
    signature = key.sign(message)
    assert signature.verify(key.public_key_g2, message)
    assert signature.verify(other.public_key_g2, message) is (key == other)
    same_point = bls.hash_to_g1(message) == bls.hash_to_g1(another)
    assert signature.verify(key.public_key_g2, another) is same_point


@given(st.lists(secret_keys, min_size=1, max_size=6), messages, messages, st.data())
@settings(max_examples=30, deadline=None)
def test_an_aggregate_is_valid_until_one_signature_is_over_something_else(
    keys: list[bls.SecretKey], message: bytes, another: bytes, data: st.DataObject
) -> None:
    public_keys = b"".join(key.public_key_g2.to_bytes() for key in keys)
    signatures = [key.sign(message).to_bytes() for key in keys]
    apk_g2 = bls.aggregate_public_keys_g2(public_keys)
    if apk_g2 == IDENTITY_G2:
        assert not bls.verify_aggregate(public_keys, message, b"".join(signatures))
        return
    assert bls.verify_aggregate(public_keys, message, b"".join(signatures))
    aggregate = bls.Signature.from_bytes(bls.aggregate_signatures(b"".join(signatures)))
    assert aggregate.verify(bls.PublicKeyG2.from_bytes(apk_g2), message)
    if bls.hash_to_g1(message) != bls.hash_to_g1(another):
        bad = data.draw(st.integers(0, len(keys) - 1))
        signatures[bad] = keys[bad].sign(another).to_bytes()
        assert not bls.verify_aggregate(public_keys, message, b"".join(signatures))


def test_any_point_and_infinity_can_be_summed() -> None:
    key = bls.SecretKey.generate()
    g1, g2 = key.public_key_g1.to_bytes(), key.public_key_g2.to_bytes()
    assert bls.aggregate_public_keys_g1(IDENTITY_G1 + g1 + IDENTITY_G1) == g1
    assert bls.aggregate_public_keys_g2(IDENTITY_G2 + g2) == g2
    assert bls.aggregate_signatures(b"") == IDENTITY_G1
    assert bls.aggregate_public_keys_g2(b"") == IDENTITY_G2


def test_nothing_is_proved_by_no_signatures_or_by_keys_that_cancel_out() -> None:
    scalar = 5
    keys = [bls.SecretKey.from_bytes(s.to_bytes(32, "big")) for s in (scalar, bn128.curve_order - scalar)]
    message = keccak(b"never signed")
    public_keys = b"".join(key.public_key_g2.to_bytes() for key in keys)
    signatures = b"".join(key.sign(keccak(b"something else")).to_bytes() for key in keys)
    assert not bls.verify_aggregate(public_keys, message, signatures)
    assert not bls.verify_aggregate(b"", message, b"")


def test_a_batch_error_names_the_position() -> None:
    good = bls.SecretKey.generate().sign(bytes(32)).to_bytes()
    with pytest.raises(bls.NotOnCurveError, match=r"^at index 1: signature "):
        bls.aggregate_signatures(good + good[32:] + good[:32] + good)
    with pytest.raises(bls.WrongLengthError, match="127 bytes"):
        bls.aggregate_signatures((good + good)[1:])


def test_an_aggregate_check_wants_as_many_keys_as_signatures_and_real_ones() -> None:
    key = bls.SecretKey.generate()
    public_key, signature = key.public_key_g2.to_bytes(), key.sign(bytes(32)).to_bytes()
    with pytest.raises(bls.CountMismatchError, match="2 public keys but 1 signatures"):
        bls.verify_aggregate(public_key * 2, bytes(32), signature)
    with pytest.raises(bls.IdentityError, match="at index 1"):
        bls.verify_aggregate(public_key * 2, bytes(32), signature + IDENTITY_G1)
    with pytest.raises(bls.IdentityError, match="at index 0"):
        bls.verify_aggregate(IDENTITY_G2, bytes(32), signature)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_message_is_32_bytes(length: int) -> None:
    key = bls.SecretKey.generate()
    signature = key.sign(bytes(32))
    wrong = bytes(length)
    expected = rf"^message must be 32 bytes, got {length}$"
    with pytest.raises(bls.WrongLengthError, match=expected):
        key.sign(wrong)
    with pytest.raises(bls.WrongLengthError, match=expected):
        bls.hash_to_g1(wrong)
    with pytest.raises(bls.WrongLengthError, match=expected):
        signature.verify(key.public_key_g2, wrong)
    with pytest.raises(bls.WrongLengthError, match=expected):
        bls.verify_aggregate(b"", wrong, b"")


def test_sign_point_refuses_what_is_no_point() -> None:
    key = bls.SecretKey.generate()
    with pytest.raises(bls.IdentityError):
        key.sign_point(IDENTITY_G1)
    with pytest.raises(bls.NotOnCurveError):
        key.sign_point(b"\x01" * 64)
    with pytest.raises(bls.WrongLengthError):
        key.sign_point(bytes(63))


def test_values_compare_and_hash_by_value() -> None:
    scalar = (7).to_bytes(32, "big")
    one, same, other = bls.SecretKey.from_bytes(scalar), bls.SecretKey.from_bytes(scalar), bls.SecretKey.generate()
    pairs: list[tuple[object, object, object]] = [
        (one, same, other),
        (one.public_key_g1, same.public_key_g1, other.public_key_g1),
        (one.public_key_g2, same.public_key_g2, other.public_key_g2),
        (one.sign(scalar), same.sign(scalar), other.sign(scalar)),
    ]
    for value, equal, different in pairs:
        assert value == equal
        assert hash(value) == hash(equal)
        assert value != different
        assert value != b"another type"
        assert {value: "found"}[equal] == "found"


def test_what_is_printed_is_public() -> None:
    key = bls.SecretKey.generate()
    for text in (repr(key), str(key)):
        assert key.to_bytes().hex() not in text
        assert str(int.from_bytes(key.to_bytes(), "big")) not in text
        assert key.public_key_g1.operator_id.hex() in text
    assert key.public_key_g1.to_bytes().hex() in repr(key.public_key_g1)
    assert key.public_key_g2.to_bytes().hex() in repr(key.public_key_g2)
    assert key.sign(bytes(32)).to_bytes().hex() in repr(key.sign(bytes(32)))


def test_new_keys_differ() -> None:
    assert len({bls.SecretKey.generate() for _ in range(16)}) == 16


def test_one_key_signs_in_many_threads() -> None:
    key = bls.SecretKey.generate()
    public_key = key.public_key_g2
    digests = [keccak(bytes([index])) for index in range(64)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        signatures = list(pool.map(key.sign, digests))
        verdicts = list(
            pool.map(lambda pair: pair[0].verify(public_key, pair[1]), zip(signatures, digests, strict=True))
        )
    assert all(verdicts)
    assert signatures == [key.sign(digest) for digest in digests]
