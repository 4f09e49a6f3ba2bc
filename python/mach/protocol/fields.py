"""Checks of the values that alerts and statements are made of."""

from __future__ import annotations

from mach.errors import MachError

UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1
UINT256_MAX = 2**256 - 1


class FieldError(MachError):
    """A field of a protocol value has a wrong type, length or range; the message names it."""


def check_bytes32(name: str, value: object) -> None:
    """Raise FieldError unless `value` is 32 bytes."""
    if not isinstance(value, bytes):
        raise FieldError(f"{name} must be 32 bytes, got a value of type {type(value).__name__}")
    if len(value) != 32:
        raise FieldError(f"{name} must be 32 bytes, got {len(value)}")


def check_uint(name: str, value: object, maximum: int) -> None:
    """Raise FieldError unless `value` is an integer in 0..maximum. A bool is not an integer here."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise FieldError(f"{name} must be an integer, got a value of type {type(value).__name__}")
    if not 0 <= value <= maximum:
        raise FieldError(f"{name} must be from 0 to {maximum}, got {value}")
