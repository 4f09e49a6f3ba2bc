"""Follows the L1's head: one HTTP request a turn brings the header, what became of the last one, and the new logs.

Consumers are told of each head with the logs that are new, in order, and of each reorganisation before anything of the
new branch. A consumer that cannot take a head (its own requests failed) gets it again on the next turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from mach.chain.blocks import Block, ChainLog, LogFilter, block_by_number, logs_in, read_logs
from mach.chain.connection import DEFAULT_DEADLINE_S, L1Client
from mach.chain.errors import L1UnavailableError
from mach.chain.json_rpc import Refusal, call_all, value_of
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

log = structlog.get_logger()

REMEMBERED_BLOCKS: Final = 1_000
"""How far back blocks can be looked up, and how deep a reorganisation is followed; a deeper one starts anew."""
REREAD_BLOCKS: Final = 8
"""Blocks whose logs are read again with each turn: nodes behind one address lag each other, logs may come late."""
TURNS_OF_A_LOWER_HEAD: Final = 3
"""A head below the last one is a node that lags, unless it stays."""

_ANCESTOR_STEP: Final = 64
_LONGEST_BACKOFF_S: Final = 5.0


class NoHeadError(L1UnavailableError):
    """No head of the L1 is known yet."""


class LogConsumer(Protocol):
    """What wants logs with each head."""

    @property
    def wanted(self) -> LogFilter:
        """The logs to be given; others may come along."""

    async def restart(self, head: Block) -> None:
        """Forgets everything, and reads what it needs of the chain up to `head`."""

    async def advance(self, head: Block, logs: Sequence[ChainLog]) -> None:
        """Takes a new head, and the logs since the last one. Must change nothing when it raises."""

    def rewind(self, last_valid: int) -> None:
        """Forgets what came after block `last_valid`; the logs of the blocks after it follow with `advance`."""


class HeadFollower:
    """The head of the L1, and consumers of its logs.

    `poll` does one turn; `run` does turns every `poll_interval_s` until cancelled. On a chain that mines at once, ten
    milliseconds are fine; on one with 12 s a block, half a second.
    """

    def __init__(
        self,
        w3: L1Client,
        consumers: Sequence[LogConsumer] = (),
        *,
        poll_interval_s: float = 0.5,
        request_deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> None:
        self._w3 = w3
        self._consumers = tuple(consumers)
        self._poll_interval_s = poll_interval_s
        self._deadline_s = request_deadline_s
        self._wanted = LogFilter(frozenset(), frozenset())
        for consumer in self._consumers:
            self._wanted |= consumer.wanted
        self._head: Block | None = None
        self._seen_at = 0.0
        self._followed_from = 0
        self._hashes: OrderedDict[int, bytes] = OrderedDict()
        self._seen_logs: dict[tuple[bytes, int], int] = {}
        self._turns_of_a_lower_head = 0
        self._listeners: list[Callable[[Block], None]] = []
        self._news = asyncio.Event()
        self._polling = asyncio.Lock()
        self.reorganisations = 0
        """How many were followed."""

    @property
    def head(self) -> Block:
        """The last head that every consumer took. Raises `NoHeadError` before the first."""
        if self._head is None:
            raise NoHeadError("the L1's head is not known yet: wait for the node to answer")
        return self._head

    @property
    def age_s(self) -> float:
        """Seconds since the node last answered; infinite before it ever did."""
        return time.monotonic() - self._seen_at if self._seen_at else float("inf")

    def is_canonical(self, block_number: int, block_hash: bytes) -> bool | None:
        """Whether the block belongs to the chain as followed; None for a block that was not looked at itself.

        Blocks between two turns were not.
        """
        known = self._hashes.get(block_number)
        return None if known is None else known == block_hash

    @property
    def poll_interval_s(self) -> float:
        """Seconds between two turns of `run`."""
        return self._poll_interval_s

    def add_listener(self, listener: Callable[[Block], None]) -> None:
        """Calls `listener` with each new head, after the consumers took it. It must not raise or take long."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[Block], None]) -> None:
        """Ends what `add_listener` began."""
        self._listeners.remove(listener)

    async def heads(self) -> AsyncIterator[Block]:
        """Each new head, beginning with the present one; where the reader is slow, only the latest."""
        last: Block | None = None
        while True:
            news = self._news
            if self._head is not None and self._head != last:
                last = self._head
                yield last
            else:
                await news.wait()

    async def wait_for_block(self, number: int, deadline_s: float) -> Block:
        """The head once it is at block `number` or later. Raises `L1UnavailableError` at the deadline."""
        try:
            async with asyncio.timeout(deadline_s):
                async for head in self.heads():
                    if head.number >= number:
                        return head
        except TimeoutError as error:
            raise L1UnavailableError(f"block {number} of the L1 did not come within {deadline_s:g} s") from error
        raise AssertionError("heads never end")

    async def run(self) -> None:
        """Turns until cancelled. A node that is away or answers garbage is asked again, less and less often."""
        pause = self._poll_interval_s
        away = False
        while True:
            try:
                await self.poll()
                if away:
                    log.info("l1.back", head=self.head.number)
                pause, away = self._poll_interval_s, False
            except MachError as error:
                # Reverts too: the contracts stood there when following began, so the node is at fault.
                if not away:
                    log.warning("l1.away", problem=str(error))
                pause, away = max(min(2 * pause, _LONGEST_BACKOFF_S), self._poll_interval_s), True
            await asyncio.sleep(pause)

    async def poll(self) -> bool:
        """One turn; whether the head moved.

        Raises `L1UnavailableError`, `RequestRefusedError`, and what the consumers raise.
        """
        async with self._polling:
            if self._head is None:
                await self._start()
                return True
            return await self._turn(self._head)

    async def _start(self) -> None:
        (answer,) = await call_all(self._w3, [block_by_number("latest")], "read the head", self._deadline_s)
        head: Block | None = value_of(answer, "read the head")
        if head is None:
            raise NoHeadError("the L1 node has no block yet: wait until it is in sync")
        for consumer in self._consumers:
            await consumer.restart(head)
        self._followed_from = head.number + 1
        self._hashes.clear()
        self._seen_logs.clear()
        self._announce(head)

    async def _turn(self, known: Block) -> bool:
        first = max(known.number + 1 - REREAD_BLOCKS, self._followed_from)
        calls = [block_by_number("latest"), block_by_number(known.number)]
        action = "follow the head"
        latest, same_height, *rest = await call_all(
            self._w3,
            [*calls, logs_in(self._wanted, first, "latest")] if self._wanted.addresses else calls,
            action,
            self._deadline_s,
        )
        head: Block | None = value_of(latest, action)
        still: Block | None = value_of(same_height, action)
        if head is None:
            raise NoHeadError("the L1 node has no block: wait until it is in sync")
        self._seen_at = time.monotonic()
        if head.number < known.number:
            return await self._lower_head(head)
        self._turns_of_a_lower_head = 0
        if still is None:
            # The two answers came from different nodes, one of which lags.
            return False
        if still.hash != known.hash:
            return await self._reorganise(known)
        if head.number == known.number and head.hash != known.hash:
            # It was replaced between the two answers: the next turn sees both.
            return False
        logs: list[ChainLog] = []
        if rest:
            logs = await self._logs(rest[0], first, head.number)
        logs = [entry for entry in logs if entry.block_number <= head.number]
        at_the_ends = {known.number: known.hash, head.number: head.hash}
        if any(at_the_ends.get(entry.block_number, entry.block_hash) != entry.block_hash for entry in logs):
            # The logs are of another branch than the headers.
            return False
        new = [entry for entry in logs if entry.key not in self._seen_logs]
        late = min((entry.block_number for entry in new if entry.block_number <= known.number), default=None)
        if late is not None:
            log.warning("l1.late_logs", block=late, head=head.number)
            self._rewind_consumers(late - 1)
            new = [entry for entry in logs if entry.block_number >= late]
        elif head == known:
            return False
        for consumer in self._consumers:
            await consumer.advance(head, new)
        for entry in new:
            self._seen_logs[entry.key] = entry.block_number
        self._announce(head)
        return True

    async def _logs(self, answer: list[ChainLog] | Refusal, first: int, last: int) -> list[ChainLog]:
        if not isinstance(answer, Refusal):
            return answer
        # Too many at once, after a long pause: in parts.
        return await read_logs(self._w3, self._wanted, first, last, "read the logs since the last head")

    async def _lower_head(self, head: Block) -> bool:
        self._turns_of_a_lower_head += 1
        if self._turns_of_a_lower_head < TURNS_OF_A_LOWER_HEAD:
            return False
        self._turns_of_a_lower_head = 0
        return await self._reorganise(head)

    async def _reorganise(self, head: Block) -> bool:
        """Goes back to the highest remembered block that the chain still has, then on from there."""
        candidates = [number for number in reversed(self._hashes) if number <= head.number]
        for start in range(0, len(candidates), _ANCESTOR_STEP):
            part = candidates[start : start + _ANCESTOR_STEP]
            answers = await call_all(
                self._w3,
                [block_by_number(number) for number in part],
                "find where the chain was reorganised",
                self._deadline_s,
            )
            for number, answer in zip(part, answers, strict=True):
                block: Block | None = value_of(answer, "find where the chain was reorganised")
                if block is not None and block.hash == self._hashes[number]:
                    return await self._go_on_from(block, head)
        log.warning("l1.deep_reorganisation", remembered=len(self._hashes))
        self.reorganisations += 1
        await self._start()
        return True

    async def _go_on_from(self, ancestor: Block, left: Block) -> bool:
        log.warning("l1.reorganised", last_common_block=ancestor.number, head=left.number)
        self.reorganisations += 1
        self._rewind_consumers(ancestor.number)
        for number in [number for number in self._hashes if number > ancestor.number]:
            del self._hashes[number]
        self._head = ancestor
        return await self._turn(ancestor)

    def _rewind_consumers(self, last_valid: int) -> None:
        for consumer in self._consumers:
            consumer.rewind(last_valid)
        self._seen_logs = {key: number for key, number in self._seen_logs.items() if number <= last_valid}

    def _announce(self, head: Block) -> None:
        self._head = head
        self._seen_at = time.monotonic()
        self._hashes[head.number] = head.hash
        self._hashes.move_to_end(head.number)
        while len(self._hashes) > 1 and next(iter(self._hashes)) <= head.number - REMEMBERED_BLOCKS:
            self._hashes.popitem(last=False)
        if self._seen_logs:
            self._seen_logs = {
                key: number for key, number in self._seen_logs.items() if number > head.number - REREAD_BLOCKS
            }
        self._news.set()
        self._news = asyncio.Event()
        for listener in tuple(self._listeners):
            listener(head)
