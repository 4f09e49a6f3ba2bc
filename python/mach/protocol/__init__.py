"""Alerts, statements and their hashes: pure values, no I/O."""

from __future__ import annotations

from mach.protocol.alerts import Alert, BlockHash, BlockMismatch, OutputOracleMismatch, sign_hash
from mach.protocol.fields import FieldError
from mach.protocol.hashing import keccak256

__all__ = [
    "Alert",
    "BlockHash",
    "BlockMismatch",
    "FieldError",
    "OutputOracleMismatch",
    "keccak256",
    "sign_hash",
]
