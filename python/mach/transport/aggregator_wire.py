"""The aggregator's messages as they stand in JSON: the original's forms, read by total functions.

Hashes and points are 0x-hex; byte lists (`quorum_numbers`, `quorum_threshold_percentages`, `tx_hash`) are base64 as Go
writes them, and are accepted as arrays of numbers too. Source: the original's wire protocol, docs/wire-protocol.md.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from mach.transport.jsonrpc import InvalidParamsError

MAX_QUORUMS: Final = 192
"""A quorum number is below 192 in EigenLayer's bitmaps."""


@dataclass(frozen=True, slots=True)
class AlertTaskInfo:
    """One task as the aggregator announces it: what operators sign over."""

    alert_hash: bytes
    quorum_numbers: bytes
    quorum_threshold_percentages: bytes
    task_index: int
    reference_block_number: int

    def to_json(self) -> dict[str, Any]:
        return {
            "alert_hash": "0x" + self.alert_hash.hex(),
            "quorum_numbers": base64.b64encode(self.quorum_numbers).decode(),
            "quorum_threshold_percentages": base64.b64encode(self.quorum_threshold_percentages).decode(),
            "task_index": self.task_index,
            "reference_block_number": self.reference_block_number,
        }

    @classmethod
    def from_json(cls, value: Any) -> AlertTaskInfo:
        """Raises `InvalidParamsError` that names the field."""
        if not isinstance(value, dict):
            raise InvalidParamsError("the task must be an object")
        return cls(
            alert_hash=fixed_bytes(value.get("alert_hash"), 32, "alert_hash"),
            quorum_numbers=byte_list(value.get("quorum_numbers"), "quorum_numbers"),
            quorum_threshold_percentages=byte_list(
                value.get("quorum_threshold_percentages"), "quorum_threshold_percentages"
            ),
            task_index=unsigned(value.get("task_index"), 32, "task_index"),
            reference_block_number=unsigned(value.get("reference_block_number"), 64, "reference_block_number"),
        )


@dataclass(frozen=True, slots=True)
class SignedTaskReply:
    """What a signature is answered with: whether the alert stands on L1, and by which transaction (32 bytes)."""

    reply: bool
    tx_hash: bytes

    def to_json(self) -> dict[str, Any]:
        return {"reply": self.reply, "tx_hash": base64.b64encode(self.tx_hash).decode()}

    @classmethod
    def from_json(cls, value: Any) -> SignedTaskReply:
        if not isinstance(value, dict) or not isinstance(value.get("reply"), bool):
            raise InvalidParamsError("the reply must be an object with `reply`")
        return cls(value["reply"], byte_list(value.get("tx_hash"), "tx_hash"))


def positional(params: Any, count: int) -> list[Any]:
    """Exactly `count` positional parameters."""
    if not isinstance(params, list):
        raise InvalidParamsError("non-array args")
    if len(params) < count:
        raise InvalidParamsError(f"missing value for required argument {len(params)}")
    if len(params) > count:
        raise InvalidParamsError(f"too many arguments, want at most {count}")
    return params


def fixed_bytes(value: Any, length: int, name: str) -> bytes:
    """Exactly `length` bytes from hex, with or without 0x."""
    if not isinstance(value, str):
        raise InvalidParamsError(f"{name} must be {length} bytes in hex")
    digits = value[2:] if value[:2] in ("0x", "0X") else value
    try:
        raw = binascii.unhexlify(digits)
    except (ValueError, binascii.Error):
        raise InvalidParamsError(f"{name} must be {length} bytes in hex") from None
    if len(raw) != length:
        raise InvalidParamsError(f"{name} must be {length} bytes, got {len(raw)}")
    return raw


def unsigned(value: Any, bits: int, name: str) -> int:
    """A JSON integer of 0 to 2^bits − 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise InvalidParamsError(f"{name} must be an integer of 0 to 2^{bits} - 1")
    return value


def byte_list(value: Any, name: str) -> bytes:
    """Bytes from base64 or from an array of numbers."""
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
        except (ValueError, binascii.Error):
            raise InvalidParamsError(f"{name} must be base64 or an array of bytes") from None
    elif isinstance(value, list) and len(value) <= MAX_QUORUMS:
        raw = bytes(unsigned(entry, 8, name) for entry in value)
    else:
        raise InvalidParamsError(f"{name} must be base64 or an array of bytes")
    if len(raw) > MAX_QUORUMS:
        raise InvalidParamsError(f"{name} holds {len(raw)} bytes, at most {MAX_QUORUMS} are possible")
    return raw
