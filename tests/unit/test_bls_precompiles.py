"""The arithmetic that EIP-196 (ecAdd, ecMul) and EIP-197 (pairing) define, case by case, with py-ecc as the oracle.

`mach.bls` has no call for a precompile as such: a sum of two points is ecAdd, the multiple that a secret key makes of a
point is ecMul, and a registration is a pairing equation of freely chosen points. Unlike the precompiles, which pad
short input with zeros and take scalars of any size, `mach.bls` refuses both.
"""

from __future__ import annotations

from typing import Any

import pytest
from py_ecc import optimized_bn128 as bn128

from mach import bls

P = bn128.field_modulus
R = bn128.curve_order
INFINITY = bytes(64)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def g1(scalar: int) -> bytes:
    scalar %= R
    if scalar == 0:
        return INFINITY
    x, y = bn128.normalize(bn128.multiply(bn128.G1, scalar))
    return word(x.n) + word(y.n)


def g2(scalar: int) -> bytes:
    """EIP-197 puts the imaginary part first."""
    x, y = bn128.normalize(bn128.multiply(bn128.G2, scalar % R))
    (x0, x1), (y0, y1) = x.coeffs, y.coeffs
    return b"".join(word(int(part)) for part in (x1, x0, y1, y0))


def negated(point: bytes) -> bytes:
    return point[:32] + word(P - int.from_bytes(point[32:], "big"))


SCALARS = [1, 2, 3, 9, 2**64 - 1, 2**128 + 1, (R - 1) // 2, (R + 1) // 2, R - 2, R - 1]


def test_the_generators_are_those_of_the_eips() -> None:
    one = bls.SecretKey.from_bytes(word(1))
    assert one.public_key_g1.to_bytes() == word(1) + word(2)
    assert one.public_key_g2.to_bytes() == b"".join(
        word(part)
        for part in (
            11559732032986387107991004021392285783925812861821192530917403151452391805634,
            10857046999023057135944570762232829481370756359578518086990519993285655852781,
            4082367875863433681332203403145435568316851327593401208105741076214120093531,
            8495653923123431417604973247489272438418190587263600148770280649306958101930,
        )
    )


@pytest.mark.parametrize("left", SCALARS)
@pytest.mark.parametrize("right", [1, 2, (R - 1) // 2, R - 1])
def test_ec_add(left: int, right: int) -> None:
    assert bls.aggregate_signatures(g1(left) + g1(right)) == g1(left + right)


@pytest.mark.parametrize("scalar", SCALARS)
def test_ec_add_of_infinity_of_itself_and_of_its_opposite(scalar: int) -> None:
    point = g1(scalar)
    assert bls.aggregate_signatures(point + INFINITY) == point
    assert bls.aggregate_signatures(INFINITY + point) == point
    assert bls.aggregate_signatures(point + point) == g1(2 * scalar)
    assert bls.aggregate_signatures(point + negated(point)) == INFINITY
    assert bls.aggregate_signatures(INFINITY + INFINITY) == INFINITY


@pytest.mark.parametrize(
    ("point", "error"),
    [
        (word(1) + word(1), bls.NotOnCurveError),
        (word(0) + word(1), bls.NotOnCurveError),
        (word(1) + word(0), bls.NotOnCurveError),
        (word(P) + word(0), bls.NonCanonicalCoordinateError),
        (word(0) + word(P), bls.NonCanonicalCoordinateError),
        (word(P + 1) + word(2), bls.NonCanonicalCoordinateError),
        (word(1) + word(P + 2), bls.NonCanonicalCoordinateError),
        (word(2**256 - 1) * 2, bls.NonCanonicalCoordinateError),
        (word(1) + word(2)[:31], bls.WrongLengthError),
    ],
)
def test_ec_add_of_no_point(point: bytes, error: type[bls.BlsError]) -> None:
    with pytest.raises(error):
        bls.aggregate_signatures(g1(1) + point)


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("base", [1, 2, 77, R - 1])
def test_ec_mul(base: int, scalar: int) -> None:
    assert bls.SecretKey.from_bytes(word(scalar)).sign_point(g1(base)) == g1(base * scalar)


@pytest.mark.parametrize("scalar", [0, R, R + 1, 2**256 - 1])
def test_ec_mul_by_no_key(scalar: int) -> None:
    with pytest.raises(bls.SecretKeyRangeError):
        bls.SecretKey.from_bytes(word(scalar))


@pytest.mark.parametrize("a", [1, 2, 77, R - 1])
@pytest.mark.parametrize("b", [1, 3, (R + 1) // 2, R - 1])
def test_pairing(a: int, b: int) -> None:
    """e(ab·G1, -G2) · e(a·G1, b·G2) = 1, and for no other multiple of G1 on the left."""
    key_g1, key_g2 = bls.PublicKeyG1.from_bytes(g1(b)), bls.PublicKeyG2.from_bytes(g2(b))
    for left in (a * b, a * b + 1, a * b - 1, -a * b, 2 * a * b):
        if left % R == 0:
            continue
        signature = bls.Signature.from_bytes(g1(left))
        assert bls.verify_registration(key_g1, key_g2, g1(a), signature) is (left % R == a * b % R)


def test_pairing_agrees_with_py_ecc_on_a_product_that_is_one() -> None:
    point: Any = bn128.multiply(bn128.G1, 6)
    product = bn128.pairing(bn128.neg(bn128.G2), point) * bn128.pairing(
        bn128.multiply(bn128.G2, 3), bn128.multiply(bn128.G1, 2)
    )
    assert product == bn128.FQ12.one()
    keys = bls.PublicKeyG1.from_bytes(g1(3)), bls.PublicKeyG2.from_bytes(g2(3))
    assert bls.verify_registration(*keys, g1(2), bls.Signature.from_bytes(g1(6)))


def test_a_pairing_wants_g2_points_of_the_subgroup_with_imaginary_parts_first() -> None:
    good = g2(5)
    assert bls.PublicKeyG2.from_bytes(good).to_bytes() == good
    real_first = b"".join(good[start : start + 32] for start in (32, 0, 96, 64))
    with pytest.raises(bls.NotOnCurveError):
        bls.PublicKeyG2.from_bytes(real_first)
    with pytest.raises(bls.IdentityError):
        bls.PublicKeyG2.from_bytes(bytes(128))
    for start in (0, 32, 64, 96):
        with pytest.raises(bls.NonCanonicalCoordinateError):
            bls.PublicKeyG2.from_bytes(good[:start] + word(P) + good[start + 32 :])
    outside = point_of_the_twist_outside_the_subgroup()
    with pytest.raises(bls.NotInSubgroupError):
        bls.PublicKeyG2.from_bytes(outside)
    with pytest.raises(bls.NotInSubgroupError, match="at index 1"):
        bls.aggregate_public_keys_g2(good + outside)


def point_of_the_twist_outside_the_subgroup() -> bytes:
    """The first point (k + u, y), which r does not take to infinity."""
    for k in range(1, 100):
        x = bn128.FQ2((k, 1))
        square = x * x * x + bn128.b2
        # Roots in Fp2 from roots of the norm, as p is 3 modulo 4.
        real, imaginary = (int(part) for part in square.coeffs)
        norm = pow(real * real + imaginary * imaginary, (P + 1) // 4, P)
        for sign in (norm, P - norm):
            half = (real + sign) * pow(2, -1, P) % P
            y0 = pow(half, (P + 1) // 4, P)
            if y0 == 0:
                continue
            y = bn128.FQ2((y0, imaginary * pow(2 * y0, -1, P) % P))
            if y * y == square:
                assert not bn128.is_inf(bn128.multiply((x, y, bn128.FQ2.one()), R))
                return word(1) + word(k) + word(int(y.coeffs[1])) + word(int(y.coeffs[0]))
    raise AssertionError("no point found")
