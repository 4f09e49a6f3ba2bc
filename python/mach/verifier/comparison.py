"""Comparing endpoints: every block that one serves must be the one that was verified, or one that is verified too.

Two blocks of one height are an equivocation: both headers are kept as evidence, and the other block is re-executed on
its own parent. If it is a lie that shows, with an alert; if both are good, the chain was forked or is being rebuilt.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from mach.protocol.hashing import keccak256
from mach.rollup.node import header_of, parent_hash_in, parent_hash_of
from mach.storage.chain_record import Equivocation, LabelledHead
from mach.storage.verdict_log import FINAL
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.verifier.examination import ServedBlock, is_conclusive
from mach.verifier.reexecution import Tip

if TYPE_CHECKING:
    from mach.rollup.endpoints import Endpoint, EndpointSet
    from mach.storage.chain_record import ChainRecord
    from mach.verifier.conclusion import VerdictDesk
    from mach.verifier.examination import BlockExaminer
    from mach.verifier.metrics import VerifierMetrics
    from mach.verifier.progress import Progress
    from mach.verifier.reexecution import Verdict

log = structlog.get_logger()

HEADERS_AT_ONCE: Final = 16
DEEPEST_BRANCH: Final = 256
"""So many blocks of another branch are re-executed; of a longer one only the newest is kept as evidence."""
REORG_PATIENCE_S: Final = 1.0
"""How long two good blocks of one height may stand side by side while nodes follow a reorg one after the other."""
ALARM_AFTER: Final = 5
"""So many failures in a row at one height are logged as an error once: somebody must look."""
SAVE_INTERVAL_S: Final = 1.0


class EndpointComparison:
    """Compares one endpoint with what was verified, block by block up to the tip, for as long as `run` runs."""

    def __init__(
        self,
        endpoint: Endpoint,
        endpoints: EndpointSet,
        examiner: BlockExaminer,
        desk: VerdictDesk,
        chain: ChainRecord,
        progress: Progress,
        metrics: VerifierMetrics,
        *,
        poll_interval_s: float,
    ) -> None:
        self._endpoint = endpoint
        self._endpoints = endpoints
        self._examiner = examiner
        self._desk = desk
        self._chain = chain
        self._progress = progress
        self._metrics = metrics
        self._poll_interval_s = poll_interval_s
        self._label = f"endpoint/{endpoint.key}"
        self._false_branch: bytes | None = None
        """The newest block seen on a branch that goes on from an INVALID one."""

    async def run(self) -> None:
        """Until cancelled; an endpoint that is away or behind is waited for."""
        backoff = Backoff(first_s=self._poll_interval_s, most_s=10.0)
        attempts = 0
        compared = await self._resume()
        saved, saved_at = compared, 0.0
        while True:
            if saved != compared and time.monotonic() - saved_at >= SAVE_INTERVAL_S:
                await self._chain.set_head(compared)
                saved, saved_at = compared, time.monotonic()
            try:
                async with asyncio.timeout(SAVE_INTERVAL_S):
                    tip = await self._progress.moved_beyond(compared.block_number)
            except TimeoutError:
                continue
            last = min(tip.number, compared.block_number + HEADERS_AT_ONCE, self._endpoint.head or 0)
            if last <= compared.block_number:  # it is away or behind
                await asyncio.sleep(self._poll_interval_s)
                continue
            try:
                compared = await self._compare(compared.block_number + 1, last)
            except (PeerUnavailableError, PeerRefusedError) as error:
                attempts += 1
                report = log.error if attempts == ALARM_AFTER else log.info
                report("comparison.waiting", endpoint=self._endpoint.name, problem=str(error), attempts=attempts)
                await asyncio.sleep(backoff.next_delay_s())
                continue
            backoff.reset()
            attempts = 0

    async def _resume(self) -> LabelledHead:
        """Where comparison stood; for a new endpoint, where verification stands."""
        last = await self._chain.head(self._label)
        if last is not None:
            return last
        tip = self._progress.tip or await self._progress.moved_beyond(-1)
        return LabelledHead(self._label, tip.number, tip.hash)

    async def _compare(self, first: int, last: int) -> LabelledHead:
        node = self._endpoint.node
        headers = await asyncio.gather(*(node.raw_header(number) for number in range(first, last + 1)))
        known = await self._desk.verdicts.hashes_between(first, last)
        for number, header in enumerate(headers, first):
            if keccak256(header) not in known.get(number, ()):
                await self._investigate(number, header)
        return LabelledHead(self._label, last, keccak256(headers[-1]))

    async def _investigate(self, number: int, header: bytes) -> None:
        """Re-executes an endpoint's branch from where it leaves the blocks that are known, up to this block."""
        if parent_hash_in(header) == self._false_branch:
            self._false_branch = keccak256(header)
            return
        log.warning("endpoint.differs", endpoint=self._endpoint.name, block=number, hash="0x" + keccak256(header).hex())
        parent = await self._branch_parent(number)
        if parent is None:
            await self._report(number, header)
            return
        while parent.number < number:
            height = parent.number + 1
            block = await self._endpoint.node.raw_block(height)
            if parent_hash_of(block) != parent.hash:
                # What goes on from an INVALID block is nothing to verify: its alert and evidence are there already.
                self._false_branch = keccak256(header)
                return
            tip = await self._known_tip(height, keccak256(header_of(block)))
            if tip is None:
                tip = await self._examine(parent, height, block)
            if tip is None:
                return
            parent = tip

    async def _examine(self, parent: Tip, height: int, block: bytes) -> Tip | None:
        """One block of another branch: its verdict, and evidence that it stands beside the one that was verified."""
        served = ServedBlock(height, block, self._endpoint.node)
        verdict = await self._examiner.examine(parent, served, self._endpoint.supply)
        # Evidence first: once the verdict is on record this block is known, and is not looked at again.
        if not await self._is_reorg(verdict):
            await self._report(height, header_of(block))
        await self._desk.conclude(verdict)
        if not is_conclusive(verdict):
            raise PeerUnavailableError(f"block {height} is INCONCLUSIVE: {verdict.verification.reason}")
        return verdict.tip

    async def _known_tip(self, height: int, block_hash: bytes) -> Tip | None:
        """Where verification goes on from a served block that has its final verdict already."""
        for record in await self._desk.verdicts.at(height):
            if record.block_hash == block_hash and record.verdict in FINAL and record.computed_header is not None:
                return Tip(height, keccak256(record.computed_header), record.computed_header)
        return None

    async def _branch_parent(self, number: int) -> Tip | None:
        """The newest block below a height that the endpoint has and that was verified or is verification's anchor."""
        for height in range(number - 1, max(number - DEEPEST_BRANCH, 0) - 1, -1):
            header = await self._endpoint.node.raw_header(height)
            block_hash = keccak256(header)
            if await self._desk.verdicts.verified(height, block_hash) is not None:
                return Tip(height, block_hash, header)
            child = await self._desk.verdicts.canonical_at(height + 1)
            if child is not None and child.computed_header is not None:
                if parent_hash_in(child.computed_header) == block_hash:
                    return Tip(height, block_hash, header)
            elif height < number - 1:
                return None  # before the first block that was verified
        return None

    async def _is_reorg(self, verdict: Verdict) -> bool:
        """Whether a block stands beside the verified one only until all nodes have followed a reorg.

        An INVALID block on either side leaves no doubt. Else the endpoint that served the verified block is asked
        again, for a while, whether it still does.
        """
        height, ours = verdict.verification.number, verdict.verification.block_hash
        record = await self._desk.verdicts.canonical_at(height)
        if verdict.verification.verdict == "INVALID" or (record is not None and record.verdict == "INVALID"):
            return False
        served_by = None if record is None else record.served_by
        other = next((each for each in self._endpoints.endpoints if each.name == served_by), self._endpoints.current)
        deadline = time.monotonic() + REORG_PATIENCE_S
        while time.monotonic() < deadline:
            try:
                theirs, again = await asyncio.gather(
                    other.node.raw_header(height), self._endpoint.node.raw_header(height)
                )
            except (PeerUnavailableError, PeerRefusedError):
                return False
            if keccak256(theirs) == keccak256(again) or keccak256(again) != ours:
                return True
            await asyncio.sleep(self._poll_interval_s)
        return False

    async def _report(self, number: int, header: bytes) -> None:
        """Keeps the two headers of a height as evidence."""
        record = await self._desk.verdicts.canonical_at(number)
        if record is None:
            return
        other = record.served_header or record.computed_header
        if other is None or keccak256(other) == keccak256(header):
            return
        found = Equivocation(
            block_number=number,
            first_hash=keccak256(other),
            second_hash=keccak256(header),
            first_header=other,
            second_header=header,
            first_endpoint=record.served_by or "",
            second_endpoint=self._endpoint.name,
            noticed_at=time.time(),
        )
        if await self._chain.record_equivocation(found):
            self._metrics.equivocations.inc()
            log.error(
                "endpoint.equivocation",
                block=number,
                hashes=["0x" + found.first_hash.hex(), "0x" + found.second_hash.hex()],
                endpoints=[found.first_endpoint, found.second_endpoint],
            )
