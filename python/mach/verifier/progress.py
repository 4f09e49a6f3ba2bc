"""How far verification has come, for the parts that follow it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mach.verifier.reexecution import Tip


class Progress:
    """The tip of verification; it may go back when the chain is reorganised."""

    def __init__(self) -> None:
        self.tip: Tip | None = None
        self._moved = asyncio.Condition()

    async def move_to(self, tip: Tip) -> None:
        """Verification stands here now."""
        self.tip = tip
        async with self._moved:
            self._moved.notify_all()

    async def moved_beyond(self, number: int) -> Tip:
        """Waits for a tip higher than this."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.tip is not None and self.tip.number > number)
        assert self.tip is not None  # noqa: S101 - what was waited for
        return self.tip
