"""Which nonces of an account are free, taken or given back: counted here, compared with the node's when asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class NonceAllocator:
    """The nonces of one account that this process alone uses.

    A nonce is free, then taken (`take`), then sent (`sent`) or free again (`release`).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0
        self._released: set[int] = set()
        self._taken_at: dict[int, float] = {}
        self.known = False
        """Whether the node's count was seen since the last `forget`."""

    def observe(self, pending: int) -> None:
        """Takes the node's count, pool included: what lies below is used, by whomever."""
        self._next = max(self._next, pending)
        self._released = {nonce for nonce in self._released if nonce >= pending}
        self.known = True

    def forget(self) -> None:
        """Starts anew from the node's next count: after another process used the account."""
        self._next, self._released, self.known = 0, set(), False

    def reserve_up_to(self, nonce: int) -> None:
        """Never gives out `nonce` or a lower one, unless it is released: transactions on record have them."""
        self._next = max(self._next, nonce + 1)

    def take(self, count: int) -> list[int]:
        """The lowest free nonces in rising order: given-back ones first, then those after all that were taken."""
        free = sorted(self._released)[:count]
        self._released.difference_update(free)
        first = self._next
        self._next = first + count - len(free)
        taken = [*free, *range(first, self._next)]
        now = self._clock()
        self._taken_at.update(dict.fromkeys(taken, now))
        return taken

    def release(self, nonce: int) -> None:
        """Makes a nonce free whose transaction will never be sent."""
        self._taken_at.pop(nonce, None)
        if nonce < self._next:
            self._released.add(nonce)

    def sent(self, nonce: int) -> None:
        """The node has a transaction with this nonce."""
        self._taken_at.pop(nonce, None)
        self._released.discard(nonce)

    def gaps(self, first: int, last: int, in_flight: Iterable[int], patience_s: float) -> list[int]:
        """Nonces in `first`…`last` that nothing will use: not in flight, and not taken within `patience_s`."""
        used = set(in_flight)
        now = self._clock()
        return [
            nonce
            for nonce in range(first, last + 1)
            if nonce not in used and now - self._taken_at.get(nonce, float("-inf")) >= patience_s
        ]
