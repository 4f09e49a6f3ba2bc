"""The alerts that stand on L1, known from the contract's events: a question about one needs no request."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from eth_abi.abi import encode

from mach.chain.addresses import address_bytes
from mach.chain.blocks import Block, ChainLog, LogFilter, read_logs
from mach.chain.contracts import event_topic
from mach.chain.errors import MalformedAnswerError
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mach.chain.connection import L1Client
    from mach.chain.deploy_output import DeployOutput

DEFAULT_BOUND: Final = 100_000
"""Alerts that are remembered, 40 MB at most; the oldest go first."""
MAX_REFERENCE_BLOCK_AGE: Final = 50_400
"""The contract's bound on how old an alert's reference block may be when the alert is confirmed."""


@dataclass(frozen=True, slots=True)
class ConfirmedAlert:
    """An alert of our rollup that was confirmed; hashes are 32 bytes."""

    message_hash: bytes
    alert_header_hash: bytes
    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    log_index: int
    reference_block: int
    removed_in_block: int | None = None
    """Where the owner resolved it. The contract takes no alert a second time, resolved or not."""

    @property
    def log_key(self) -> tuple[bytes, int]:
        """The key of the event's log."""
        return self.block_hash, self.log_index


class ConfirmedAlerts:
    """The confirmed alerts of one rollup. A `LogConsumer`: give it to a `HeadFollower`.

    The event names no rollup: which one an alert is about is told by the hash of its header, in which the reference
    block is the only unknown.
    """

    def __init__(
        self, w3: L1Client, deployment: DeployOutput, rollup_chain_id: int, *, bound: int = DEFAULT_BOUND
    ) -> None:
        self._w3 = w3
        self._address = address_bytes(deployment.mach_service_manager)
        self._from_block = deployment.deployment_block or 0
        self._rollup_word = encode(["uint256"], [rollup_chain_id])
        self._bound = bound
        self._confirmed_topic = event_topic("MachServiceManager", "AlertConfirmed")
        self._removed_topic = event_topic("MachServiceManager", "AlertRemoved")
        self._alerts: OrderedDict[bytes, ConfirmedAlert] = OrderedDict()
        self._listeners: list[Callable[[ConfirmedAlert, bool], None]] = []

    @property
    def wanted(self) -> LogFilter:
        """The contract's two events about alerts."""
        return LogFilter(frozenset({self._address}), frozenset({self._confirmed_topic, self._removed_topic}))

    def get(self, message_hash: bytes) -> ConfirmedAlert | None:
        """The confirmation of an alert up to the followed head; None when there is none, or a forgotten one."""
        return self._alerts.get(message_hash)

    def __contains__(self, message_hash: bytes) -> bool:
        return message_hash in self._alerts

    def __iter__(self) -> Iterator[ConfirmedAlert]:
        """The alerts, in the order of their confirmation."""
        return iter(tuple(self._alerts.values()))

    def __len__(self) -> int:
        return len(self._alerts)

    def add_listener(self, listener: Callable[[ConfirmedAlert, bool], None]) -> None:
        """Calls `listener` with each alert and True when its confirmation appears, and with False when a reorganisation
        takes it back. It must not raise or take long.
        """
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[ConfirmedAlert, bool], None]) -> None:
        """Ends what `add_listener` began."""
        self._listeners.remove(listener)

    async def restart(self, head: Block) -> None:
        """Reads the events since the deployment."""
        logs = await read_logs(
            self._w3, self.wanted, self._from_block, head.number, "read the alerts that stand confirmed"
        )
        # What is still confirmed by the same transaction in the same block is no news.
        still = {log.key for log in logs}
        for alert in self:
            if alert.log_key not in still:
                self._withdraw(alert)
        await self.advance(head, logs)

    async def advance(self, head: Block, logs: Sequence[ChainLog]) -> None:
        """Takes new events in."""
        ours = [log for log in logs if log in self.wanted]
        if any(len(log.data) < 32 for log in ours):
            raise MalformedAnswerError("an event of the service manager lacks its message hash")
        for log in ours:
            message_hash = log.data[:32]
            if log.topics[0] == self._confirmed_topic:
                self._confirm(message_hash, log)
            elif message_hash in self._alerts:
                self._alerts[message_hash] = replace(self._alerts[message_hash], removed_in_block=log.block_number)
        while len(self._alerts) > self._bound:
            self._alerts.popitem(last=False)

    def rewind(self, last_valid: int) -> None:
        """Forgets confirmations and removals after a block."""
        for alert in self:
            if alert.block_number > last_valid:
                self._withdraw(alert)
            elif alert.removed_in_block is not None and alert.removed_in_block > last_valid:
                self._alerts[alert.message_hash] = replace(alert, removed_in_block=None)

    def _withdraw(self, alert: ConfirmedAlert) -> None:
        del self._alerts[alert.message_hash]
        self._tell(alert, stands=False)

    def _confirm(self, message_hash: bytes, log: ChainLog) -> None:
        known = self._alerts.get(message_hash)
        if known is not None and known.log_key == log.key:
            return
        header_hash = log.topics[1] if len(log.topics) > 1 else b""
        reference_block = self._reference_block(message_hash, header_hash, log.block_number)
        if reference_block is None:
            return
        alert = ConfirmedAlert(
            message_hash=message_hash,
            alert_header_hash=header_hash,
            transaction_hash=log.transaction_hash,
            block_number=log.block_number,
            block_hash=log.block_hash,
            log_index=log.log_index,
            reference_block=reference_block,
        )
        self._alerts[message_hash] = alert
        self._tell(alert, stands=True)

    def _tell(self, alert: ConfirmedAlert, *, stands: bool) -> None:
        for listener in tuple(self._listeners):
            listener(alert, stands)

    def _reference_block(self, message_hash: bytes, header_hash: bytes, block_number: int) -> int | None:
        """The block with which the header of an alert of our rollup has this hash; None for another rollup's.

        The hash is keccak256(abi.encode(bytes32 messageHash, uint32 referenceBlockNumber, uint256 rollupChainID)).
        Reference blocks are a few blocks old as a rule, so the newest are tried first; trying all takes 40 ms.
        """
        for reference_block in range(block_number - 1, max(block_number - 1 - MAX_REFERENCE_BLOCK_AGE, -1), -1):
            if keccak256(message_hash + reference_block.to_bytes(32) + self._rollup_word) == header_hash:
                return reference_block
        return None
