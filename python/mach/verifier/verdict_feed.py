"""Verdicts as they fall, for the other parts of a verifier: each has a queue of its own, and none holds up the rest."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mach.verifier.reexecution import Verdict

log = structlog.get_logger()


class VerdictFeed:
    """Hands every final verdict on after it is durable, in the order in which they fall.

    A subscriber that is slower than its bound loses the oldest verdicts and is told so in the log: what it must not
    miss stands in the verdict log.
    """

    def __init__(self) -> None:
        self._queues: dict[asyncio.Queue[Verdict], str] = {}

    @contextmanager
    def subscribe(self, name: str, bound: int = 256) -> Iterator[asyncio.Queue[Verdict]]:
        """A queue that fills from now on until the block is left."""
        queue: asyncio.Queue[Verdict] = asyncio.Queue(bound)
        self._queues[queue] = name
        try:
            yield queue
        finally:
            del self._queues[queue]

    def publish(self, verdict: Verdict) -> None:
        """Never waits."""
        for queue, name in self._queues.items():
            if queue.full():
                lost = queue.get_nowait()
                log.warning("verdicts.subscriber_behind", subscriber=name, lost_block=lost.verification.number)
            queue.put_nowait(verdict)
