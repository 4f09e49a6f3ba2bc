"""From a served block to its verdict: witness from source after source, repaired, until one is complete."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from mach.errors import MachError
from mach.rollup.node import BlockData
from mach.rollup.witness_repair import MissingPiece
from mach.rollup.witness_sources import WitnessUnavailableError
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.verifier.reexecution import reexecute

if TYPE_CHECKING:
    from mach.rollup.endpoints import WitnessSupply
    from mach.rollup.node import RollupNode, Witness
    from mach.rollup.witness_repair import WitnessRepair
    from mach.rollup.witness_sources import WitnessSource
    from mach.verifier.metrics import VerifierMetrics
    from mach.verifier.reexecution import Tip, Verdict

log = structlog.get_logger()

MAX_REPAIRS: Final = 256
NO_ANSWER: Final = (PeerUnavailableError, PeerRefusedError, WitnessUnavailableError)


@dataclass(frozen=True, slots=True)
class ServedBlock:
    """A block (RLP) at a height of a node, and what the first source has answered already, if it was asked."""

    number: int
    block: bytes
    node: RollupNode
    first_answer: Witness | MachError | None = None


class BlockExaminer:
    """Gives verdicts. A verdict is INCONCLUSIVE only when every source has been tried."""

    def __init__(self, chain_config: str, metrics: VerifierMetrics) -> None:
        self._chain_config = chain_config
        self._metrics = metrics

    async def examine(self, parent: Tip, served: ServedBlock, supply: WitnessSupply) -> Verdict:
        """Raises `PeerUnavailableError` when no source has anything at all.

        What a source gave is kept for the next: one may have what another lacks. Ancestor headers are not: a malformed
        one would spoil them all.
        """
        preimages: list[bytes] = []
        problems: list[str] = []
        verdict: Verdict | None = None
        for index, source in enumerate(supply.sources):
            answer = served.first_answer if index == 0 else None
            witness = answer or await ask(source, served.number)
            if isinstance(witness, MachError):
                self._metrics.witness(source.name, "unavailable")
                problems.append(f"{source.name}: {witness}")
                continue
            preimages += witness.preimages
            data = BlockData(served.number, served.block, preimages, list(witness.ancestors), served.node.name)
            verdict, data = await self._repaired(parent, data, supply.repair)
            preimages = list(data.preimages)
            complete = is_conclusive(verdict)
            self._metrics.witness(source.name, "complete" if complete else "incomplete")
            if complete:
                return await self._with_receipts(parent, data, verdict, served.node)
            log.info("witness.incomplete", block=served.number, source=source.name, problem=verdict.verification.reason)
        if verdict is None:
            raise PeerUnavailableError(f"no witness of block {served.number}: " + "; ".join(problems))
        return verdict

    async def _repaired(self, parent: Tip, data: BlockData, repair: WitnessRepair) -> tuple[Verdict, BlockData]:
        """The verdict, and the block's data with all that repair can add to its witness.

        Each turn must bring what was missing, by its hash, so the loop ends.
        """
        verdict = await reexecute(self._chain_config, parent, data)
        for _ in range(MAX_REPAIRS):
            found = verdict.verification
            if found.missing is None:
                break
            piece = MissingPiece(found.missing, parent.number, found.missing_account, found.missing_slot)
            pieces = await repair.find(piece)
            if pieces is None:
                break
            data = replace(
                data,
                preimages=[*data.preimages, *pieces.preimages],
                ancestors=[*data.ancestors, *pieces.ancestors],
            )
            verdict = await reexecute(self._chain_config, parent, data)
        return verdict, data

    async def _with_receipts(self, parent: Tip, data: BlockData, verdict: Verdict, node: RollupNode) -> Verdict:
        """The same verdict with the transaction and the field named, if the node still serves its receipts."""
        if all(mismatch.field != "receipts_root" for mismatch in verdict.verification.mismatches):
            return verdict
        try:
            receipts = await node.raw_receipts(data.number)
        except (PeerUnavailableError, PeerRefusedError) as error:
            log.info("verifier.no_receipts", block=data.number, problem=str(error))
            return verdict
        return await reexecute(self._chain_config, parent, data, receipts)


async def ask(source: WitnessSource, number: int) -> Witness | MachError:
    """A source's witness, or why it has none."""
    try:
        return await source.witness(number)
    except NO_ANSWER as error:
        return error


def is_conclusive(verdict: Verdict) -> bool:
    """Whether all that follows from a verdict is known.

    A broken rule shows without execution. But what the block should have been is part of the alert, and operators whose
    witness is whole would sign another one.
    """
    found = verdict.verification
    return found.verdict == "VALID" or (found.verdict == "INVALID" and found.missing is None)
