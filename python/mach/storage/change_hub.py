"""Who waits in this process for tasks that changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PENDING: Final = 10_000


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What changed since the last one: task indices, each once however often it changed."""

    signed: frozenset[int] = frozenset()
    """Tasks with new signatures that other replicas stored."""
    moved: frozenset[int] = frozenset()
    """Tasks whose state or round changed, by whomever."""
    missed: bool = False
    """More may have changed than is said: read again whatever is live."""

    def __bool__(self) -> bool:
        return bool(self.signed or self.moved or self.missed)


class Inbox:
    """One waiter's changes, bounded: beyond `max_pending` indices they are dropped and `missed` says so."""

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._max_pending = max_pending
        self._signed: set[int] = set()
        self._moved: set[int] = set()
        self._missed = False
        self._news = asyncio.Event()

    def put(self, *, signed: Iterable[int] = (), moved: Iterable[int] = (), missed: bool = False) -> None:
        """Adds to what is waiting."""
        self._signed.update(signed)
        self._moved.update(moved)
        self._missed = self._missed or missed
        if len(self._signed) + len(self._moved) > self._max_pending:
            self._signed.clear()
            self._moved.clear()
            self._missed = True
        if self._signed or self._moved or self._missed:
            self._news.set()

    async def take(self, timeout_s: float | None = None) -> ChangeSet:
        """Everything waiting, or what comes first; empty when nothing came within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return ChangeSet()
        found = ChangeSet(frozenset(self._signed), frozenset(self._moved), self._missed)
        self._signed.clear()
        self._moved.clear()
        self._missed = False
        self._news.clear()
        return found


class ChangeHub:
    """Hands this process's own changes to its waiters."""

    def __init__(self) -> None:
        self._inboxes: set[Inbox] = set()

    def join(self, inbox: Inbox) -> None:
        """From now on the inbox is told."""
        self._inboxes.add(inbox)

    def leave(self, inbox: Inbox) -> None:
        """The inbox is told no more."""
        self._inboxes.discard(inbox)

    def moved(self, task_indices: Iterable[int]) -> None:
        """Says that tasks changed their state; called after the commit."""
        indices = tuple(task_indices)
        for inbox in self._inboxes:
            inbox.put(moved=indices)
