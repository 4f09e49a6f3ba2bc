"""What gas costs now, at hand without a request: the base fee of the followed head, the tip refreshed beside it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from mach.chain.blocks import Block, block_by_number
from mach.chain.connection import DEFAULT_DEADLINE_S, L1Client
from mach.chain.errors import L1UnavailableError
from mach.chain.json_rpc import Refusal, RpcCall, call_all, json_array, json_object, quantity, value_of
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

BASE_FEE_AGE_S: Final = 60.0
"""Older than five blocks of Ethereum, a base fee may be off by 80 %."""
TIP_INTERVAL_S: Final = 12.0
_HISTORY_BLOCKS: Final = 10
_MEDIAN: Final = 50


@dataclass(frozen=True, slots=True)
class GasPrice:
    """In wei per gas: what the last block charged, and what proposers want on top."""

    base_fee_wei: int
    tip_wei: int


class FeeOracle:
    """The gas price. `note_head` and `refresh` keep it fresh: then `price` answers without a request.

    Where nobody keeps it fresh, each `price` reads it.
    """

    def __init__(
        self,
        w3: L1Client,
        *,
        request_deadline_s: float = DEFAULT_DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._w3 = w3
        self._deadline_s = request_deadline_s
        self._clock = clock
        self._base_fee_wei = 0
        self._head_seen_at = float("-inf")
        self._tip_wei: int | None = None

    def note_head(self, head: Block) -> None:
        """Takes the base fee of a new head: a listener for `HeadFollower`."""
        self._base_fee_wei = head.base_fee_wei
        self._head_seen_at = self._clock()

    def at_hand(self) -> GasPrice | None:
        """The price, unless the head is older than `BASE_FEE_AGE_S` or the tip was never read."""
        if self._tip_wei is None or self._clock() - self._head_seen_at > BASE_FEE_AGE_S:
            return None
        return GasPrice(self._base_fee_wei, self._tip_wei)

    async def price(self) -> GasPrice:
        """The price at hand, else as the node says now. Raises `L1UnavailableError`, `RequestRefusedError`."""
        return self.at_hand() or await self.read()

    async def read(self) -> GasPrice:
        """Reads head and tip in one request, without keeping them."""
        block, tip = await self._ask(block_by_number("latest"))
        if block is None:
            raise L1UnavailableError("cannot read the base fee: the L1 node has no block yet")
        return GasPrice(block.base_fee_wei, tip)

    async def refresh(self) -> None:
        """Reads the tip anew and keeps it."""
        _, self._tip_wei = await self._ask(block_by_number("latest"))

    async def run(self) -> None:
        """Refreshes the tip every `TIP_INTERVAL_S` until cancelled; while the node is away the last one stays."""
        while True:
            try:
                await self.refresh()
            except MachError as error:
                log.warning("l1.tip_unknown", problem=str(error))
            await asyncio.sleep(TIP_INTERVAL_S)

    async def _ask(self, latest: RpcCall[Block | None]) -> tuple[Block | None, int]:
        action = "read what gas costs"
        history = ("eth_feeHistory", (hex(_HISTORY_BLOCKS), "latest", [_MEDIAN]), _median_reward)
        block, suggested, median = await call_all(
            self._w3,
            [latest, RpcCall("eth_maxPriorityFeePerGas", (), quantity), RpcCall(*history)],
            action,
            self._deadline_s,
        )
        # Not every node suggests a tip; what blocks were paid lately is nearly as good.
        tip = median if isinstance(suggested, Refusal) else suggested
        return value_of(block, action), value_of(tip, action)


def _median_reward(value: Any) -> int:
    rewards = json_object(value).get("reward") or []
    paid = sorted(quantity(entry) for block in json_array(rewards) for entry in json_array(block))
    return paid[len(paid) // 2] if paid else 0
