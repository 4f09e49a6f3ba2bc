"""The alerts an operator is told of, as they stand in JSON: the original's forms, read by total functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mach.protocol.alerts import Alert, BlockHash, BlockMismatch, OutputOracleMismatch
from mach.storage.signing_journal import Claim
from mach.transport.aggregator_wire import fixed_bytes, unsigned
from mach.transport.jsonrpc import MISSING, InvalidParamsError, RpcError

if TYPE_CHECKING:
    from collections.abc import Callable


def _block_mismatch(fields: dict[str, Any]) -> Alert:
    return BlockMismatch(
        invalid_output_root=fixed_bytes(fields.get("invalid_output_root"), 32, "invalid_output_root"),
        expect_output_root=fixed_bytes(fields.get("expect_output_root"), 32, "expect_output_root"),
        l2_block_number=unsigned(fields.get("l2_block_number"), 64, "l2_block_number"),
    )


def _output_oracle_mismatch(fields: dict[str, Any]) -> Alert:
    return OutputOracleMismatch(
        expect_output_root=fixed_bytes(fields.get("expect_output_root"), 32, "expect_output_root"),
        invalid_output_index=unsigned(fields.get("invalid_output_index"), 64, "invalid_output_index"),
    )


def _block_hash(fields: dict[str, Any]) -> Alert:
    value = fixed_bytes(fields.get("hash"), 32, "hash")
    if value == bytes(32):
        raise InvalidParamsError("hash must not be zero")
    return BlockHash(value)


READERS: dict[str, Callable[[dict[str, Any]], Alert]] = {
    "alert_blockMismatch": _block_mismatch,
    "alert_blockOutputOracleMismatch": _output_oracle_mismatch,
    "alert_blockHash": _block_hash,
}


def sole_object(params: Any) -> dict[str, Any]:
    """The one object of a call: bare, as v0.2.1 sends it, or in an array of one, as later versions do."""
    if params is MISSING or params is None:
        raise RpcError(1, "missing params")
    if isinstance(params, list) and len(params) == 1:
        params = params[0]
    if not isinstance(params, dict):
        raise InvalidParamsError("params must be an object, or an array that holds one")
    return params


def read_alert(method: str, params: Any, avs_name: str) -> Alert:
    """The alert of a call; raises `InvalidParamsError` that names the field."""
    fields = sole_object(params)
    told = fields.get("avs_name", avs_name)
    if told not in (avs_name, ""):
        raise InvalidParamsError(f"avs_name {str(told)[:64]!r} is not served here, only {avs_name!r} is")
    return READERS[method](fields)


def statement(method: str, alert: Alert) -> str:
    """The alert as the JSON text that the outbox keeps."""
    match alert:
        case BlockMismatch():
            fields: dict[str, Any] = {
                "invalid_output_root": "0x" + alert.invalid_output_root.hex(),
                "expect_output_root": "0x" + alert.expect_output_root.hex(),
                "l2_block_number": alert.l2_block_number,
            }
        case OutputOracleMismatch():
            fields = {
                "expect_output_root": "0x" + alert.expect_output_root.hex(),
                "invalid_output_index": alert.invalid_output_index,
            }
        case BlockHash():
            fields = {"hash": "0x" + alert.hash.hex()}
    return json.dumps({"method": method, "params": fields}, sort_keys=True)


def claim_of(statement: str, block_number: int | None) -> Claim:
    """What an alert in the outbox claims about what, for the signing journal.

    `block_number` is the L2 block of the verdict. An output's index names no output for ever: what was deleted on L1 is
    proposed again under the same one, and two oracles count each for itself. Its block is the height that counts.
    """
    document = json.loads(statement)
    alert = READERS[document["method"]](document["params"])
    match alert:
        case BlockMismatch():
            return Claim(f"block {alert.l2_block_number}", alert.expect_output_root)
        case OutputOracleMismatch():
            output = f"output {alert.invalid_output_index}"
            subject = output if block_number is None else f"output root of block {block_number}"
            return Claim(subject, alert.expect_output_root)
        case BlockHash():
            return Claim(f"block 0x{alert.hash.hex()}", alert.hash)
