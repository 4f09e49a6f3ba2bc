"""The nodes of one rollup: which have announced what, which answer, and which one is followed."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from mach.transport.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.rollup.node import RollupNode
    from mach.rollup.witness_repair import WitnessRepair
    from mach.rollup.witness_sources import WitnessSource

log = structlog.get_logger()

SWITCH_AFTER_S: Final = 2.0
"""How long the endpoint that is followed may lack a block that another one has."""
REMEMBERED_HEIGHTS: Final = 8192
"""For so many heights it is known when they were first announced."""


class EndpointObserver(Protocol):
    """Who counts what endpoints do."""

    def endpoint_head(self, endpoint: str, number: int) -> None:
        """An endpoint's head."""

    def endpoint_failed(self, endpoint: str) -> None:
        """A call failed, or what came of it was of no use."""


@dataclass(frozen=True, slots=True)
class WitnessSupply:
    """Where the witness of one node's blocks comes from: sources in the order in which they are tried, and repair."""

    sources: Sequence[WitnessSource]
    repair: WitnessRepair


@dataclass(eq=False)
class Endpoint:
    """One node of the rollup."""

    node: RollupNode
    supply: WitnessSupply
    key: str
    """Tells endpoints apart in the database, where a URL with its secrets must not stand."""
    head: int | None = None
    """As announced last; None while the node does not answer."""
    problem: str = "it has not answered yet"
    set_aside_until: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def name(self) -> str:
        """For logs and metrics, without secrets."""
        return self.node.name

    def usable(self) -> bool:
        """Whether it answers and is not set aside."""
        return self.head is not None and time.monotonic() >= self.set_aside_until


class EndpointSet:
    """All endpoints of one rollup, in the order of preference."""

    def __init__(self, endpoints: Sequence[Endpoint], observer: EndpointObserver) -> None:
        self.endpoints = tuple(endpoints)
        self.current = self.endpoints[0]
        """The endpoint that is followed."""
        self._observer = observer
        self._changed = asyncio.Event()
        self._first_seen: OrderedDict[int, float] = OrderedDict()
        self._highest_seen = -1

    def announce(self, endpoint: Endpoint, number: int) -> None:
        """An endpoint says what its head is."""
        news = endpoint.head != number
        endpoint.head = number
        self._observer.endpoint_head(endpoint.name, number)
        if number > self._highest_seen:
            now = time.monotonic()
            for height in range(max(self._highest_seen + 1, number - REMEMBERED_HEIGHTS + 1), number + 1):
                self._first_seen[height] = now
            self._highest_seen = number
            while len(self._first_seen) > REMEMBERED_HEIGHTS:
                self._first_seen.popitem(last=False)
        if news:
            self._changed.set()

    def failed(self, endpoint: Endpoint, problem: str) -> None:
        """An endpoint does not answer."""
        if endpoint.head is not None:
            log.warning("endpoint.away", endpoint=endpoint.name, problem=problem)
        endpoint.head = None
        endpoint.problem = problem
        self._observer.endpoint_failed(endpoint.name)
        self._changed.set()

    def set_aside(self, endpoint: Endpoint, problem: str) -> None:
        """What an endpoint serves is of no use now: it is left alone for a while, each time for longer."""
        endpoint.problem = problem
        endpoint.set_aside_until = time.monotonic() + endpoint.backoff.next_delay_s()
        self._observer.endpoint_failed(endpoint.name)

    def served_well(self, endpoint: Endpoint) -> None:
        """What an endpoint served was of use: if it fails again, it is set aside for a short time only."""
        endpoint.backoff.reset()

    def serving(self, number: int) -> Endpoint | None:
        """The endpoint to ask for a block: the one that is followed, unless it fails or falls behind; None to wait."""
        if self.current.usable() and (self.current.head or 0) >= number:
            return self.current
        others = [endpoint for endpoint in self.endpoints if endpoint.usable() and (endpoint.head or 0) >= number]
        if not others or (self.current.usable() and self.waiting_s(number) < SWITCH_AFTER_S):
            return None
        log.warning("endpoint.switched", now=others[0].name, before=self.current.name, problem=self.current.problem)
        self.current = others[0]
        return self.current

    def answering(self) -> Endpoint | None:
        """The endpoint that is followed, or the first other one if that one is of no use now."""
        return next((endpoint for endpoint in (self.current, *self.endpoints) if endpoint.usable()), None)

    @property
    def highest(self) -> int | None:
        """The highest head of those that answer."""
        return max((endpoint.head for endpoint in self.endpoints if endpoint.head is not None), default=None)

    def waiting_s(self, number: int) -> float:
        """How long ago a block was first announced; 0 if it was not, and if that is too long ago to be remembered."""
        seen = self._first_seen.get(number)
        if seen is None:
            # older than what is remembered: at least as old as the oldest that is
            seen = next(iter(self._first_seen.values()), None) if number <= self._highest_seen else None
        return 0.0 if seen is None else time.monotonic() - seen

    def wake(self) -> None:
        """Ends a wait for changes: somebody has something to say to who waits."""
        self._changed.set()

    async def changed(self, timeout_s: float) -> None:
        """Returns when there is news from an endpoint, at the latest after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()

    async def wait_usable(self, deadline_s: float) -> None:
        """Returns when an endpoint can be used, at the latest after so many seconds."""
        end = time.monotonic() + deadline_s
        while self.answering() is None and (now := time.monotonic()) < end:
            soonest = min(
                (endpoint.set_aside_until for endpoint in self.endpoints if endpoint.head is not None), default=end
            )
            await self.changed(max(min(soonest, end) - now, 0.001))
