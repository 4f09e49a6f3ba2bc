"""One block from anywhere to a report on it: from a file, or from a node whose witness is repaired where it lacks."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mach import _core
from mach.errors import ConfigurationError
from mach.rollup.witness_files import BlockInputs
from mach.rollup.witness_repair import MissingPiece, WitnessRepair
from mach.rollup.witness_sources import WitnessUnavailableError
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach._core import BlockVerification
    from mach.rollup.node import RollupNode
    from mach.rollup.witness_sources import WitnessSource

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


async def verify_from_node(
    node: RollupNode, number: int, chain_config: str, sources: Sequence[WitnessSource]
) -> tuple[BlockReport, BlockInputs]:
    """Verify the block at a height (1 or more) of a node, on the parent header that the node serves.

    The witness is taken from one source after the other, and repaired at the node, until it is complete. Returns the
    report, and the inputs with everything that was needed. The verdict is INCONCLUSIVE when the node is away or
    refuses: that says nothing about the block. Raises ConfigurationError.
    """
    source = f"block {number}"
    inputs = BlockInputs(chain_config, b"", b"", ())
    found: BlockVerification | None = None
    problems: list[str] = []
    fetching = _Stopwatch()
    try:
        with fetching:
            parent, block = await asyncio.gather(node.raw_header(number - 1), node.raw_block(number))
        inputs = replace(inputs, parent_header=parent, block=block)
        for one in sources:
            try:
                with fetching:
                    given = await one.witness(number)
            except (PeerUnavailableError, PeerRefusedError, WitnessUnavailableError) as error:
                problems.append(f"{one.name}: {error}")
                continue
            # What a source gave is kept for the next: one may have what another lacks.
            preimages = (*inputs.preimages, *given.preimages)
            inputs = replace(inputs, preimages=preimages, ancestors=tuple(given.ancestors))
            found, inputs = await _repaired(source, inputs, WitnessRepair([node]), number, fetching)
            if found.missing is None:
                break
        if found is not None and any(mismatch.field == "receipts_root" for mismatch in found.mismatches):
            with suppress(PeerUnavailableError, PeerRefusedError):
                with fetching:
                    receipts = tuple(await node.raw_receipts(number))
                found = await asyncio.to_thread(_verify, source, replace(inputs, receipts=receipts))
    except (PeerUnavailableError, PeerRefusedError) as error:
        problems.append(str(error))
    if found is None:
        return _no_answer(source, number, "; ".join(problems), fetching.seconds), inputs
    report = _report(source, found, fetching.seconds)
    if report.verdict == "INCONCLUSIVE" and problems:
        report = replace(report, reason="; ".join([report.reason or "", *problems]))
    return report, inputs


async def _repaired(
    source: str, inputs: BlockInputs, repair: WitnessRepair, number: int, fetching: _Stopwatch
) -> tuple[BlockVerification, BlockInputs]:
    """The verification, and the inputs with all that the node has of what they lacked."""
    found = await asyncio.to_thread(_verify, source, inputs)
    for _ in range(MAX_REPAIRS):
        if found.missing is None:
            break
        piece = MissingPiece(found.missing, number - 1, found.missing_account, found.missing_slot)
        with fetching:
            pieces = await repair.find(piece)
        if pieces is None:
            break
        inputs = replace(
            inputs,
            preimages=(*inputs.preimages, *pieces.preimages),
            ancestors=(*inputs.ancestors, *pieces.ancestors),
        )
        found = await asyncio.to_thread(_verify, source, inputs)
    return found, inputs


class _Stopwatch:
    """Adds up the seconds of its `with` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started


def _no_answer(source: str, number: int, reason: str, fetch_s: float) -> BlockReport:
    return BlockReport(source, number, bytes(32), 0, 0, "INCONCLUSIVE", (), reason, None, {"fetch": fetch_s})
