"""Reads why a call reverted: `require` texts, panics, and custom errors by the selectors of all contracts at hand."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple
from eth_utils.crypto import keccak

from mach.chain.artifacts import loaded_error_abis

if TYPE_CHECKING:
    from web3.exceptions import ContractLogicError

_ERROR_STRING = bytes.fromhex("08c379a0")
"""Selector of `Error(string)`, what `require` and `revert("…")` throw."""
_PANIC = bytes.fromhex("4e487b71")
"""Selector of `Panic(uint256)`; the codes stand in Solidity's documentation, "Panic via assert"."""

_PANIC_NAMES = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "value outside enum",
    0x32: "index out of bounds",
    0x41: "out of memory",
}


def decode_revert(data: bytes) -> str:
    """The reason in revert data: a `require` text, `Panic(…)`, or a custom error's name with its arguments.

    Unknown selectors come back as hex, empty data as "no reason given". Never raises.
    """
    if not data:
        return "no reason given"
    selector, body = data[:4], data[4:]
    try:
        if selector == _ERROR_STRING:
            return str(decode(["string"], body)[0])
        if selector == _PANIC:
            code = decode(["uint256"], body)[0]
            return f"Panic({code:#04x}: {_PANIC_NAMES.get(code, 'see the Solidity documentation')})"
        if selector in _custom_errors():
            name, types = _custom_errors()[selector]
            return f"{name}({', '.join(_show(value) for value in decode(types, body))})"
    except (DecodingError, UnicodeDecodeError):
        pass
    return f"0x{data.hex()}"


def reason_of(error: ContractLogicError) -> str:
    """The reason inside web3's exception, from its data where the node sent some, else from its message."""
    data = error.data
    if isinstance(data, dict):
        # Some nodes wrap the bytes once more: {"data": "0x…"}.
        data = data.get("data")
    if isinstance(data, str):
        try:
            return decode_revert(bytes.fromhex(data.removeprefix("Reverted ").removeprefix("0x")))
        except ValueError:
            pass
    message = error.message or ""
    return message.removeprefix("execution reverted").removeprefix(":").strip() or "no reason given"


@functools.cache
def _custom_errors() -> dict[bytes, tuple[str, list[str]]]:
    known = {}
    for entry in loaded_error_abis():
        types = [collapse_if_tuple(argument) for argument in entry.get("inputs", [])]
        known[keccak(text=f"{entry['name']}({','.join(types)})")[:4]] = (entry["name"], types)
    return known


def _show(value: Any) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
