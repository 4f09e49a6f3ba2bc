"""Following a rollup block by block: verdicts in order, through reorgs, gaps, and nodes that go away or contradict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from mach.protocol.hashing import keccak256
from mach.storage.chain_record import VERIFIED, LabelledHead
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.verifier.examination import is_conclusive
from mach.verifier.preparation import Preparation
from mach.verifier.reexecution import Tip

if TYPE_CHECKING:
    from mach.rollup.endpoints import Endpoint, EndpointSet
    from mach.storage.chain_record import ChainRecord, HeadLabel
    from mach.verifier.conclusion import VerdictDesk
    from mach.verifier.examination import BlockExaminer
    from mach.verifier.metrics import VerifierMetrics
    from mach.verifier.preparation import PreparedBlock
    from mach.verifier.progress import Progress

log = structlog.get_logger()

MAX_REORG_DEPTH: Final = 4096
ALARM_AFTER: Final = 5
"""Failed attempts in a row after which each further one is logged as an error: somebody must look."""
LONGEST_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class FollowerSettings:
    """Where verification starts on an empty database, and how much it does at once."""

    start_block: int | None
    start_parent_hash: str | None
    poll_interval_s: float
    blocks_in_flight: int


class ChainFollower:
    """Verifies every block from where the record ends, for as long as `run()` is not cancelled."""

    def __init__(
        self,
        endpoints: EndpointSet,
        examiner: BlockExaminer,
        desk: VerdictDesk,
        chain: ChainRecord,
        progress: Progress,
        metrics: VerifierMetrics,
        settings: FollowerSettings,
    ) -> None:
        self._endpoints = endpoints
        self._examiner = examiner
        self._desk = desk
        self._chain = chain
        self._progress = progress
        self._metrics = metrics
        self._settings = settings
        self._preparation = Preparation(examiner, settings.blocks_in_flight)
        self._doubted_at: HeadLabel | None = None

    def doubt(self, label: HeadLabel) -> None:
        """A labelled head is not the block verified at its height: the tip may not be on the chain any more."""
        self._doubted_at = label
        self._endpoints.wake()

    async def run(self) -> None:
        """Never returns; what cannot be verified now is tried again, at another endpoint if there is one."""
        attempts = 0
        try:
            while True:
                problem = await self._attempt()
                if problem is None:
                    attempts = 0
                    await self._endpoints.changed(self._settings.poll_interval_s)
                    continue
                attempts += 1
                self._preparation.drop()
                report = log.error if attempts >= ALARM_AFTER else log.warning
                report("verifier.waiting", problem=problem, attempts=attempts)
                await self._endpoints.wait_usable(LONGEST_WAIT_S)
        finally:
            self._preparation.drop()

    async def _attempt(self) -> str | None:
        """Verifies as far as there are blocks; None when caught up, else what stands in the way."""
        while True:
            endpoint = self._endpoints.answering()
            if endpoint is None:
                worst = self._endpoints.current
                return f"no endpoint can be used; {worst.name}: {worst.problem}"
            try:
                tip = self._progress.tip or await self._resume(endpoint)
                if self._doubted_at is not None:
                    label, self._doubted_at = self._doubted_at, None
                    await self._follow_reorg(endpoint, tip, label)
                    continue
                serving = self._endpoints.serving(tip.number + 1)
                if serving is None:
                    return None
                endpoint = serving
                problem = await self._step(endpoint, tip)
            except (PeerUnavailableError, PeerRefusedError) as error:
                problem = str(error)
            if problem is not None:
                self._preparation.drop()
                self._endpoints.set_aside(endpoint, problem)
                if self._endpoints.answering() is None:
                    return problem

    async def _resume(self, endpoint: Endpoint) -> Tip:
        """Where the record ends; on an empty one, the first block's parent: of the configured hash, or on trust."""
        last = await self._chain.head(VERIFIED)
        if last is not None and last.header is not None:
            log.info("verifier.resumed", block=last.block_number)
            return await self._advance(Tip(last.block_number, last.block_hash, last.header))
        first = self._settings.start_block or max(endpoint.head or 0, 1)
        header = await endpoint.node.raw_header(first - 1)
        tip = Tip(first - 1, keccak256(header), header)
        self._check_pin(tip)
        await self._chain.set_head(head_of(tip))
        pinned = self._settings.start_parent_hash is not None
        log.info("verifier.anchored", block=tip.number, hash="0x" + tip.hash.hex(), trusted=not pinned)
        return await self._advance(tip)

    def _check_pin(self, tip: Tip) -> None:
        """Raises `PeerUnavailableError` for a block before the first one that is not the one configured."""
        pin = self._settings.start_parent_hash
        if pin is not None and tip.number + 1 == self._settings.start_block and "0x" + tip.hash.hex() != pin:
            raise PeerUnavailableError(
                f"block {tip.number} is 0x{tip.hash.hex()} on this node, start_parent_hash is {pin}"
            )

    async def _advance(self, tip: Tip) -> Tip:
        self._metrics.tip.set(tip.number)
        await self._progress.move_to(tip)
        return tip

    async def _step(self, endpoint: Endpoint, tip: Tip) -> str | None:
        """One block onwards. None when there is progress."""
        prepared = await self._preparation.take(tip, endpoint)
        if prepared.parent_hash != tip.hash:
            return await self._leave_branch(endpoint, tip, prepared)
        verdict = prepared.verdict or await self._examiner.examine(tip, prepared.served, endpoint.supply)
        found, number = verdict.verification, tip.number + 1
        self._metrics.stages({"fetch": prepared.fetch_seconds})
        if not is_conclusive(verdict):
            if found.verdict == "INCONCLUSIVE":
                await self._desk.conclude(verdict)
                return f"block {number} is INCONCLUSIVE: {found.reason}"
            return f"block {number} is INVALID, but what it should be is not known yet: {found.reason}"
        await self._desk.conclude(verdict, verdict.tip)
        if verdict.tip is None:
            # Nothing follows from its inputs, so there is nothing to go on from until another block is served here.
            return f"block {number} is INVALID and cannot be executed: {found.reason}"
        self._metrics.verdict_seconds.observe(self._endpoints.waiting_s(number))
        self._endpoints.served_well(endpoint)
        await self._advance(verdict.tip)
        return None

    async def _leave_branch(self, endpoint: Endpoint, tip: Tip, prepared: PreparedBlock) -> str | None:
        """The next block does not build on the tip: either the chain was rebuilt, or the node contradicts itself.

        A node whose header at the tip does not hash to the parent of its next block contradicts itself; that is a
        reason to wait, not a fork point.
        """
        self._preparation.drop()
        record = await self._desk.verdicts.canonical_at(tip.number)
        if record is not None and record.verdict == "INVALID" and record.block_hash == prepared.parent_hash:
            return f"block {tip.number + 1} builds on block {tip.number} as served, which is INVALID"
        header = await endpoint.node.raw_header(tip.number)
        if keccak256(header) != prepared.parent_hash:
            return (
                f"block {tip.number + 1} builds on 0x{prepared.parent_hash.hex()}, which the node does not serve; "
                "it may be rebuilding its chain"
            )
        return await self._follow_reorg(endpoint, tip, "unsafe")

    async def _follow_reorg(self, endpoint: Endpoint, tip: Tip, label: HeadLabel) -> str | None:
        """Goes back to the newest verified block that the endpoint still has. A reorg is no alert."""
        for number in range(tip.number, max(tip.number - MAX_REORG_DEPTH, 0) - 1, -1):
            try:
                header = await endpoint.node.raw_header(number)
            except PeerRefusedError:
                continue  # its chain has become shorter
            fork_point = Tip(number, keccak256(header), header)
            known = tip.hash if number == tip.number else await self._verified_hash(number)
            if known not in (None, fork_point.hash):
                continue
            if number == tip.number:
                return None
            if known is None:
                self._check_pin(fork_point)
            self._preparation.drop()
            replaced = await self._chain.rewind(head_of(fork_point), label)
            self._metrics.replaced(label, len(replaced))
            log.warning(
                "verifier.reorg",
                fork_point=number,
                depth=tip.number - number,
                replaced=["0x" + block.block_hash.hex() for block in replaced[:16]],
                seen_at=label,
                endpoint=endpoint.name,
            )
            await self._advance(fork_point)
            return None
        return f"no verified block within {MAX_REORG_DEPTH} of block {tip.number} is on the node's chain"

    async def _verified_hash(self, number: int) -> bytes | None:
        """The block at a height on the chain as verified; None where verification has not been."""
        record = await self._desk.verdicts.canonical_at(number)
        return None if record is None else record.computed_hash


def head_of(tip: Tip) -> LabelledHead:
    """The record's form of where verification stands."""
    return LabelledHead(VERIFIED, tip.number, tip.hash, tip.header)
