"""One block from anywhere to a report on it: from a file, or from a node whose witness is repaired where it lacks."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from mach import _core
from mach.errors import ConfigurationError
from mach.protocol.hashing import keccak256
from mach.rollup.witness_files import BlockInputs, chain_config_of_rollup
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from mach._core import BlockVerification
    from mach.rollup.node import RollupNode

MAX_REPAIRS: Final = 256
STAGES: Final = ("fetch", "decode", "witness", "senders", "execute", "state_root", "commitments")
"""What takes the time of a verification, in its order: `fetch` is reading a file, or asking a node."""

# What a file of payload attributes does not say; the block's hash commits to all of it.
_NOT_SAID: Final = frozenset(
    {
        "state_root",
        "receipts_root",
        "transactions_root",
        "withdrawals_root",
        "logs_bloom",
        "gas_used",
        "blob_gas_used",
        "base_fee_per_gas",
    }
)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A field that is not what the block's inputs make it; values as text."""

    field: str
    served: str
    computed: str


@dataclass(frozen=True, slots=True)
class BlockReport:
    """What was found about one block. `seconds` are by stage, `missing` is the hash that a verdict wants for."""

    source: str
    number: int
    block_hash: bytes
    transaction_count: int
    gas_used: int
    verdict: str
    mismatches: tuple[Mismatch, ...]
    reason: str | None
    missing: bytes | None
    seconds: dict[str, float]


def read_chain_config(path: Path) -> str:
    """JSON text of a chain's `config` object, from a file that holds it, a whole genesis, or op-node's rollup config.

    Raises ConfigurationError.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "l2_chain_id" in document:
            document = chain_config_of_rollup(document)
        elif isinstance(document, dict) and isinstance(document.get("config"), dict):
            document = document["config"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{path} is no readable chain configuration: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("chainId"), int):
        raise ConfigurationError(
            f"{path} has no chainId; give the `config` object of the chain's genesis, or op-node's rollup config"
        )
    return json.dumps(document)


def verify_inputs(source: str, inputs: BlockInputs, fetch_s: float = 0.0) -> BlockReport:
    """Verify one block from its inputs alone; takes the time of its execution. Raises ConfigurationError."""
    found = _verify(source, inputs)
    return _report(source, found, fetch_s) if inputs.sealed else _report_unsealed(source, inputs, found, fetch_s)


def _verify(source: str, inputs: BlockInputs) -> BlockVerification:
    try:
        return _core.verify_block(
            inputs.chain_config,
            inputs.parent_header,
            inputs.block,
            inputs.preimages,
            inputs.ancestors,
            inputs.receipts,
            inputs.block_hash if inputs.sealed else None,
        )
    except ValueError as error:
        raise ConfigurationError(f"{source}: {error}; correct the chain configuration") from None


def _report(source: str, found: BlockVerification, fetch_s: float) -> BlockReport:
    return BlockReport(
        source,
        found.number,
        found.block_hash,
        found.transaction_count,
        found.gas_used,
        found.verdict,
        tuple(Mismatch(mismatch.field, mismatch.served, mismatch.computed) for mismatch in found.mismatches),
        found.reason,
        found.missing,
        {"fetch": fetch_s, **found.timings},
    )


def _report_unsealed(source: str, inputs: BlockInputs, found: BlockVerification, fetch_s: float) -> BlockReport:
    """The report on a block whose file says of its commitments only what they hash to.

    The header that the execution computes is the block's if it hashes to the block's hash: one comparison for them all.
    """
    report = _report(source, found, fetch_s)
    block_hash = inputs.block_hash or bytes(32)
    wrong = tuple(mismatch for mismatch in report.mismatches if mismatch.field not in _NOT_SAID)
    report = replace(report, block_hash=block_hash, mismatches=wrong)
    if found.missing is not None or found.verdict == "INCONCLUSIVE":
        return report if wrong else replace(report, verdict="INCONCLUSIVE")
    computed = found.computed_block_hash
    if computed == block_hash and not wrong:
        return replace(report, verdict="VALID", reason=None)
    if computed is not None and computed != block_hash:
        wrong += (Mismatch("block_hash", "0x" + block_hash.hex(), "0x" + computed.hex()),)
    fields = ", ".join(mismatch.field for mismatch in wrong)
    reason = f"not what the block's inputs produce: {fields}"
    return replace(report, verdict="INVALID", mismatches=wrong, reason=reason)


async def verify_from_node(node: RollupNode, number: int, chain_config: str) -> tuple[BlockReport, BlockInputs]:
    """Verify the block at a height (1 or more) of a node, on the parent header that the node serves.

    Returns the report, and the inputs with everything that the witness lacked at first. The verdict is INCONCLUSIVE
    when the node is away or refuses: it says nothing about the block. Raises ConfigurationError.
    """
    source = f"block {number}"
    empty = BlockInputs(chain_config, b"", b"", ())
    started = time.perf_counter()
    try:
        inputs = await fetch_inputs(node, number, chain_config)
    except (PeerUnavailableError, PeerRefusedError) as error:
        return _no_answer(source, number, str(error), time.perf_counter() - started), empty
    fetch_s = time.perf_counter() - started
    for _ in range(MAX_REPAIRS):
        found = await asyncio.to_thread(_verify, source, inputs)
        if found.missing is None or found.missing_account is None:
            break
        # Geth leaves out paths to accounts that are absent. Nothing is believed: the proof has to hold what is missing.
        started = time.perf_counter()
        slots = [] if found.missing_slot is None else [found.missing_slot]
        try:
            nodes = await node.proof(found.missing_account, slots, number - 1)
        except (PeerUnavailableError, PeerRefusedError) as error:
            report = _report(source, found, fetch_s)
            return replace(report, reason=f"{found.reason}; {error}"), inputs
        fetch_s += time.perf_counter() - started
        if found.missing not in map(keccak256, nodes):
            break
        inputs = replace(inputs, preimages=(*inputs.preimages, *nodes))
    if any(mismatch.field == "receipts_root" for mismatch in found.mismatches):
        with suppress(PeerUnavailableError, PeerRefusedError):
            receipts = await node.raw_receipts(number)
            found = await asyncio.to_thread(_verify, source, replace(inputs, receipts=tuple(receipts)))
    return _report(source, found, fetch_s), inputs


async def fetch_inputs(node: RollupNode, number: int, chain_config: str) -> BlockInputs:
    """Everything about the block at a height of 1 or more, as the node has it. Raises PeerUnavailableError or
    PeerRefusedError.
    """
    parent, block = await asyncio.gather(node.raw_header(number - 1), node.block_data(number))
    return BlockInputs(chain_config, parent, block.block, tuple(block.preimages), tuple(block.ancestors))


def _no_answer(source: str, number: int, reason: str, fetch_s: float) -> BlockReport:
    return BlockReport(source, number, bytes(32), 0, 0, "INCONCLUSIVE", (), reason, None, {"fetch": fetch_s})
