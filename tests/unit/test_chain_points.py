"""Points between bytes and contract structs, against py-ecc."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_ecc.optimized_bn128.optimized_curve import G1, G2, curve_order, multiply, normalize

from mach.bls import SecretKey
from mach.chain.points import PointLengthError, g1_bytes, g1_struct, g2_bytes, g2_struct

scalars = st.integers(min_value=1, max_value=curve_order - 1)


@given(scalars)
def test_a_public_keys_structs_hold_the_coordinates_with_imaginary_first(scalar: int) -> None:
    key = SecretKey.from_bytes(scalar.to_bytes(32))
    x1, y1 = normalize(multiply(G1, scalar))
    x2, y2 = normalize(multiply(G2, scalar))
    assert g1_struct(key.public_key_g1.to_bytes()) == (int(x1), int(y1))
    real_imaginary = [[int(part) for part in coordinate.coeffs] for coordinate in (x2, y2)]
    assert g2_struct(key.public_key_g2.to_bytes()) == tuple((imaginary, real) for real, imaginary in real_imaginary)


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=128, max_size=128))
def test_structs_and_bytes_are_inverse(g1: bytes, g2: bytes) -> None:
    assert g1_bytes(g1_struct(g1)) == g1
    assert g2_bytes(g2_struct(g2)) == g2


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_another_length_is_refused(length: int) -> None:
    with pytest.raises(PointLengthError, match=f"{length} bytes"):
        g1_struct(bytes(length))
    with pytest.raises(PointLengthError):
        g2_struct(bytes(length + 1))
