"""Addresses that people and files give us."""

from __future__ import annotations

import re
from typing import Any

from eth_utils.address import to_checksum_address

from mach.protocol.hashing import keccak256

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def checksum_address(value: Any) -> str:
    """`value` in checksum form (EIP-55). Raises ValueError for what is not 0x and 40 hex digits.

    Mixed case is a checksum and must be right: it is there to catch a mistyped digit.
    """
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise ValueError("not an address of 20 bytes in hex with 0x")
    checksummed = str(to_checksum_address(value))
    digits = value[2:]
    if digits not in {digits.lower(), digits.upper()} and value != checksummed:
        raise ValueError("the checksum in its upper and lower case is wrong, a digit may be mistyped")
    return checksummed


def address_bytes(address: str) -> bytes:
    """The 20 bytes of an address in hex with 0x, checked before."""
    return bytes.fromhex(address.removeprefix("0x"))


def checksum_of(address: bytes) -> str:
    """The checksum form (EIP-55) of 20 bytes: each hex letter in upper case where the hash of them has an 8 or more."""
    digits = address.hex()
    return "0x" + "".join(
        digit.upper() if nibble >= "8" else digit
        for digit, nibble in zip(digits, keccak256(digits.encode()).hex(), strict=False)
    )
