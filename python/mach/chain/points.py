"""BN254 points between `mach.bls` bytes and the tuples that EigenLayer's contracts take.

G1: 64 bytes x‖y and the struct `(X, Y)`.
G2: 128 bytes x.c1‖x.c0‖y.c1‖y.c0 and the struct `([X.c1, X.c0], [Y.c1, Y.c0])`,
both with the imaginary part first, as the EVM's pairing precompile has it (EIP-197).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Sequence

G1_BYTES = 64
G2_BYTES = 128
FIELD_MODULUS = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""Of BN254's base field (EIP-196)."""
_COORDINATE_BYTES = 32

G1Struct: TypeAlias = tuple[int, int]
G2Struct: TypeAlias = tuple[tuple[int, int], tuple[int, int]]


class PointLengthError(MachError):
    """Bytes that should be a point have another length."""


def g1_struct(point: bytes) -> G1Struct:
    """The contract's struct of a 64-byte G1 point. Raises `PointLengthError`; curve membership is not checked."""
    x, y = _coordinates(point, G1_BYTES)
    return x, y


def g2_struct(point: bytes) -> G2Struct:
    """The contract's struct of a 128-byte G2 point. Raises `PointLengthError`; curve membership is not checked."""
    x_imaginary, x_real, y_imaginary, y_real = _coordinates(point, G2_BYTES)
    return (x_imaginary, x_real), (y_imaginary, y_real)


def g1_bytes(struct: Sequence[int]) -> bytes:
    """64 bytes x‖y of the contract's G1 struct."""
    return b"".join(value.to_bytes(_COORDINATE_BYTES) for value in struct)


def g2_bytes(struct: Sequence[Sequence[int]]) -> bytes:
    """128 bytes x.c1‖x.c0‖y.c1‖y.c0 of the contract's G2 struct."""
    return b"".join(value.to_bytes(_COORDINATE_BYTES) for coordinate in struct for value in coordinate)


def _coordinates(point: bytes, length: int) -> list[int]:
    if len(point) != length:
        raise PointLengthError(f"a point of {len(point)} bytes was given where {length} are needed")
    return [int.from_bytes(point[at : at + _COORDINATE_BYTES]) for at in range(0, length, _COORDINATE_BYTES)]
