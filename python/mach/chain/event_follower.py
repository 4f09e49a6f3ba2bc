"""Follows the logs of one event of one contract: incrementally, in bounded ranges, and through reorganisations.

For what is looked up now and then; whoever needs every head uses `mach.chain.head_follower`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mach.chain.addresses import address_bytes, checksum_of
from mach.chain.blocks import ChainLog, LogFilter, latest_block, read_logs
from mach.chain.contracts import event_topic

if TYPE_CHECKING:
    from mach.chain.connection import L1Client

REORG_DEPTH = 64
"""Blocks that are read again on each turn: two epochs, after which Ethereum's blocks are final."""


class EventFollower:
    """Reads the logs of `event` of contract `name` at `address` from `from_block` on.

    `new_logs` gives the logs of the blocks since the last turn, and again those of the last `REORG_DEPTH` blocks: keep
    them by a key, not in a list.
    """

    def __init__(self, w3: L1Client, name: str, address: str, event: str, from_block: int) -> None:
        self._w3 = w3
        self._wanted = LogFilter(frozenset({address_bytes(address)}), frozenset({event_topic(name, event)}))
        self._label = f"read the {event} events of {checksum_of(address_bytes(address))}"
        self._from_block = from_block
        self._next_block = from_block

    @property
    def from_block(self) -> int:
        """The block where reading began."""
        return self._from_block

    @property
    def next_block(self) -> int:
        """The first block that was not read yet."""
        return self._next_block

    async def new_logs(self) -> list[ChainLog]:
        """The logs up to the present head, oldest first. Raises `L1UnavailableError`, `RequestRefusedError`."""
        head = (await latest_block(self._w3)).number
        start = max(self._from_block, min(self._next_block, head + 1) - REORG_DEPTH)
        logs = await read_logs(self._w3, self._wanted, start, head, self._label)
        self._next_block = max(head + 1, start)
        return logs
