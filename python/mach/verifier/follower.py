"""Following a rollup block by block: fetch ahead, verify in order, survive reorgs, gaps and nodes that go away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from mach.protocol.hashing import keccak256
from mach.rollup.node import parent_hash_of
from mach.storage.chain_record import VERIFIED, LabelledHead
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.verifier.reexecution import Tip, Verdict, reexecute

if TYPE_CHECKING:
    from mach.rollup.node import BlockData, RollupNode
    from mach.storage.chain_record import ChainRecord
    from mach.verifier.conclusion import VerdictDesk

log = structlog.get_logger()

MAX_REORG_DEPTH: Final = 4096
MAX_REPAIRS: Final = 256
ALARM_AFTER: Final = 5
"""Failed attempts at one block after which each further one is logged as an error: somebody must look."""


class ChainFollower:
    """Verifies every block from where the log ends, for as long as `run()` is not cancelled."""

    def __init__(
        self,
        node: RollupNode,
        desk: VerdictDesk,
        chain: ChainRecord,
        chain_config: str,
        *,
        start_block: int | None,
        start_parent_hash: str | None,
        poll_interval_s: float,
        blocks_in_flight: int,
    ) -> None:
        self._node = node
        self._desk = desk
        self._chain = chain
        self._verdicts = desk.verdicts
        self._chain_config = chain_config
        self._start_block = start_block
        self._start_parent_hash = start_parent_hash
        self._poll_interval_s = poll_interval_s
        self._blocks_in_flight = blocks_in_flight
        self._fetching: dict[int, asyncio.Task[BlockData]] = {}
        self.tip: Tip | None = None

    async def run(self) -> None:
        """Never returns; a node that is away or contradicts itself is tried again with backoff."""
        backoff = Backoff(first_s=self._poll_interval_s, most_s=10.0)
        attempts = 0
        try:
            while True:
                problem = await self._attempt()
                if problem is None:
                    backoff.reset()
                    attempts = 0
                    await asyncio.sleep(self._poll_interval_s)
                    continue
                attempts += 1
                self._drop_fetches()
                report = log.error if attempts >= ALARM_AFTER else log.warning
                report("verifier.waiting", problem=problem, attempts=attempts)
                await asyncio.sleep(backoff.next_delay_s())
        finally:
            self._drop_fetches()

    async def _attempt(self) -> str | None:
        """Verifies up to the node's head; None when caught up, else what stands in the way."""
        try:
            if self.tip is None:
                self.tip = await self._resume()
            head = await self._node.head_number()
            while self.tip.number < head:
                problem = await self._step(self.tip, head)
                if problem is not None:
                    return problem
        except (PeerUnavailableError, PeerRefusedError) as error:
            return str(error)
        return None

    async def _resume(self) -> Tip:
        """Where the log ends; on an empty log, the parent of the first block: of the configured hash, or on trust."""
        last = await self._chain.head(VERIFIED)
        if last is not None and last.header is not None:
            log.info("verifier.resumed", block=last.block_number)
            return Tip(last.block_number, last.block_hash, last.header)
        first = self._start_block or max(await self._node.head_number(), 1)
        header = await self._node.raw_header(first - 1)
        served_hash = "0x" + keccak256(header).hex()
        if self._start_parent_hash not in (None, served_hash):
            raise PeerUnavailableError(
                f"block {first - 1} is {served_hash} on this node, start_parent_hash is {self._start_parent_hash}"
            )
        await self._chain.set_head(LabelledHead(VERIFIED, first - 1, keccak256(header), header))
        log.info("verifier.anchored", block=first - 1, hash=served_hash, trusted=self._start_parent_hash is None)
        return Tip(first - 1, keccak256(header), header)

    async def _step(self, tip: Tip, head: int) -> str | None:
        """One block onwards. None when there is progress."""
        number = tip.number + 1
        block = await self._fetch(number, head)
        if parent_hash_of(block.block) != tip.hash:
            return await self._follow_reorg(tip, parent_hash_of(block.block))
        verdict, block = await self._with_repairs(tip, block)
        if any(mismatch.field == "receipts_root" for mismatch in verdict.verification.mismatches):
            verdict = await self._with_receipts(tip, block, verdict)
        found = verdict.verification
        if found.verdict == "INCONCLUSIVE":
            await self._desk.conclude(verdict)
            return f"block {number} is INCONCLUSIVE: {found.reason}"
        if found.missing is not None:
            # A broken rule shows without execution; but what the block should have been is part of the alert, and
            # operators whose witness is whole would sign another one.
            return f"block {number} is INVALID, but what it should be is not known yet: {found.reason}"
        await self._desk.conclude(verdict, verdict.tip)
        if verdict.tip is None:
            # Nothing follows from its inputs, so there is nothing to go on from until another block is served here.
            return f"block {number} is INVALID and cannot be executed: {found.reason}"
        self.tip = verdict.tip
        return None

    async def _with_repairs(self, tip: Tip, block: BlockData) -> tuple[Verdict, BlockData]:
        """The verdict, and the block with what its witness lacked: geth leaves out paths to absent accounts.

        What is missing is asked for as a proof against the parent's state. Nothing is believed: it must hash to what is
        missing, and each turn must bring that, so the loop ends.
        """
        for _ in range(MAX_REPAIRS):
            verdict = await reexecute(self._chain_config, tip, block)
            found = verdict.verification
            if found.missing is None or found.missing_account is None:
                return verdict, block
            slots = [] if found.missing_slot is None else [found.missing_slot]
            nodes = await self._node.proof(found.missing_account, slots, tip.number)
            if found.missing not in map(keccak256, nodes):
                return verdict, block
            block = replace(block, preimages=[*block.preimages, *nodes])
        return await reexecute(self._chain_config, tip, block), block

    async def _with_receipts(self, tip: Tip, block: BlockData, verdict: Verdict) -> Verdict:
        """The same verdict with the transaction and the field named, if the node still serves its receipts."""
        try:
            receipts = await self._node.raw_receipts(block.number)
        except (PeerUnavailableError, PeerRefusedError) as error:
            log.info("verifier.no_receipts", block=block.number, problem=str(error))
            return verdict
        return await reexecute(self._chain_config, tip, block, receipts)

    async def _follow_reorg(self, tip: Tip, served_parent: bytes) -> str | None:
        """The chain was rebuilt below the tip: goes back to the newest verified block that the node still has.

        A reorg is no alert. A node whose header at the tip does not hash to the parent of its next block contradicts
        itself; that is a reason to wait, not a fork point.
        """
        self._drop_fetches()
        header = await self._node.raw_header(tip.number)
        if keccak256(header) != served_parent:
            return f"block {tip.number + 1} builds on 0x{served_parent.hex()}, which the node does not serve"
        for number in range(tip.number - 1, max(tip.number - MAX_REORG_DEPTH, 0) - 1, -1):
            header = await self._node.raw_header(number)
            served_hash = keccak256(header)
            known = await self._verdicts.canonical_at(number)
            if known is None or known.computed_hash == served_hash:
                await self._chain.rewind(LabelledHead(VERIFIED, number, served_hash, header), "unsafe")
                log.warning("verifier.reorg", fork_point=number, depth=tip.number - number)
                self.tip = Tip(number, served_hash, header)
                return None
        return f"no verified block within {MAX_REORG_DEPTH} of block {tip.number} is on the node's chain"

    async def _fetch(self, number: int, head: int) -> BlockData:
        """A block's data; those of the next few are asked for at the same time."""
        for ahead in range(number, min(number + self._blocks_in_flight, head + 1)):
            if ahead not in self._fetching:
                self._fetching[ahead] = asyncio.create_task(self._node.block_data(ahead))
        return await self._fetching.pop(number)

    def _drop_fetches(self) -> None:
        for task in self._fetching.values():
            task.cancel()
            # a task that failed while nobody waited for it must not be reported as forgotten
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._fetching.clear()
