"""Blocks made ready ahead of the tip: fetched and, on the parent that their node serves, re-executed at the same time.

Such a verdict counts only once verification has reached the very parent it was made on.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mach.protocol.hashing import keccak256
from mach.rollup.node import parent_hash_of
from mach.verifier.examination import ServedBlock, ask
from mach.verifier.reexecution import Tip

if TYPE_CHECKING:
    from mach.rollup.endpoints import Endpoint
    from mach.verifier.examination import BlockExaminer
    from mach.verifier.reexecution import Verdict


@dataclass(frozen=True, slots=True)
class PreparedBlock:
    """A served block, the parent (32 bytes) it names, and the verdict on top of that parent if its node serves it."""

    endpoint: Endpoint
    served: ServedBlock
    parent_hash: bytes
    verdict: Verdict | None
    fetch_seconds: float


class Preparation:
    """Keeps a bounded number of blocks after the tip in work; what is not taken is not continued."""

    def __init__(self, examiner: BlockExaminer, blocks_in_flight: int) -> None:
        self._examiner = examiner
        self._blocks_in_flight = blocks_in_flight
        self._tasks: dict[int, asyncio.Task[PreparedBlock]] = {}

    async def take(self, tip: Tip, endpoint: Endpoint) -> PreparedBlock:
        """The block after the tip; raises what kept its node from serving it."""
        first = tip.number + 1
        last = min(tip.number + self._blocks_in_flight, endpoint.head or 0)
        for number in range(first, max(first, last) + 1):
            if number not in self._tasks:
                parent = tip if number == first else None
                self._tasks[number] = asyncio.create_task(self._prepare(endpoint, number, parent))
        task = self._tasks.pop(first)
        try:
            return await task
        finally:
            task.cancel()

    def drop(self) -> None:
        """Forgets all work."""
        for task in self._tasks.values():
            task.cancel()
            # a task that failed while nobody waited for it must not be reported as forgotten
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._tasks.clear()

    async def _prepare(self, endpoint: Endpoint, number: int, parent: Tip | None) -> PreparedBlock:
        started = time.perf_counter()
        block, answer, base = await asyncio.gather(
            endpoint.node.raw_block(number),
            ask(endpoint.supply.sources[0], number),
            _served_parent(endpoint, number) if parent is None else _given(parent),
        )
        fetch_seconds = time.perf_counter() - started
        served = ServedBlock(number, block, endpoint.node, answer)
        parent_hash = parent_hash_of(block)
        verdict = None
        if parent_hash == base.hash:
            verdict = await self._examiner.examine(base, served, endpoint.supply)
        return PreparedBlock(endpoint, served, parent_hash, verdict, fetch_seconds)


async def _served_parent(endpoint: Endpoint, number: int) -> Tip:
    header = await endpoint.node.raw_header(number - 1)
    return Tip(number - 1, keccak256(header), header)


async def _given(parent: Tip) -> Tip:
    return parent
