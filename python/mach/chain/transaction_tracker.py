"""Follows all transactions that one account has under way, with one HTTP request a turn for all of them.

What is not mined in time is sent again and replaced with higher fees; a nonce that nothing will use any more is freed,
so that it holds back no later one; what a reorganisation took out of the chain is under way again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog

from mach.chain.errors import FeeCapReachedError, L1UnavailableError
from mach.chain.json_rpc import RpcCall, call_all, small_quantity, value_of
from mach.chain.transaction import Receipt, SignedTransaction, receipt_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mach.chain.sender import TransactionSender
    from mach.errors import MachError

log = structlog.get_logger()

RECEIPTS_A_TURN: Final = 48
"""Transactions are mined in the order of their nonces: further ones are asked for only when the first are mined."""
_FREED_A_TURN: Final = 16
"""A node that is wrong about our nonces must not have us sign cancellations without end."""
_LOST_AFTER_S: Final = 0.5
"""How soon a transaction is sent again that the node's own count says it does not have."""


@dataclass(frozen=True, slots=True)
class Mined:
    """One version of a transaction is in a block, and succeeded; it may still be reorganised away."""

    transaction: SignedTransaction
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Unmined:
    """A reorganisation took the transaction's block out of the chain; it is under way again."""

    transaction: SignedTransaction


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The last word: the transaction has all its confirmations. It is not followed any more."""

    transaction: SignedTransaction
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Reverted:
    """The last word: the transaction failed, with all its confirmations. It is not followed any more."""

    transaction: SignedTransaction
    receipt: Receipt
    reason: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """The last word: another transaction used the nonce, the cancellation of an abandoned one or one that we do not
    know. Ours can never be mined; prepare a new one.
    """

    transaction: SignedTransaction


Outcome: TypeAlias = Mined | Unmined | Confirmed | Reverted | Superseded


@dataclass(slots=True)
class _Flight:
    """The versions of one transaction, oldest first: same nonce, rising fees."""

    versions: list[SignedTransaction]
    changed_at: float
    sent_at: float
    cancellations: set[bytes] = field(default_factory=set)
    mined: Receipt | None = None
    nonce_used_at: float | None = None
    """Since when the nonce is known to be used, without a receipt of ours."""

    @property
    def latest(self) -> SignedTransaction:
        return self.versions[-1]

    @property
    def wanted(self) -> SignedTransaction | None:
        """The latest version that does what was asked for; None where only a nonce is freed."""
        return next((one for one in reversed(self.versions) if one.hash not in self.cancellations), None)

    def add(self, version: SignedTransaction, *, cancels: bool) -> None:
        """Takes a version with higher fees in, to be sent next."""
        self.versions.append(version)
        self.sent_at = float("-inf")
        if cancels:
            self.cancellations.add(version.hash)


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """`confirmations` counts the block that holds the transaction. Seconds; `nonce_patience_s` is how long a prepared
    transaction may wait for its broadcast before its nonce is freed when later ones wait for it; `superseded_after_s`
    how long a used nonce may be without a receipt of ours, since nodes behind one address lag each other.
    """

    confirmations: int = 1
    resend_after_s: float = 30.0
    rebroadcast_s: float = 5.0
    nonce_patience_s: float = 60.0
    superseded_after_s: float = 15.0


@dataclass(slots=True)
class _Turn:
    """What one turn learnt."""

    now: float
    latest_nonce: int
    pending_nonce: int
    block_number: int
    receipts: dict[bytes, Receipt]


class TransactionTracker:
    """The transactions of `sender` that are under way.

    `replacing` is called with the present version and the one that shall take its place, before that is sent: store it,
    and answer whether it may be sent. `poll` does one turn; call it with each head, or as often as news are wanted.
    """

    def __init__(
        self,
        sender: TransactionSender,
        replacing: Callable[[SignedTransaction, SignedTransaction], Awaitable[bool]],
        settings: TrackerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sender = sender
        self._replacing = replacing
        self._settings = settings or TrackerSettings()
        self._clock = clock
        self._flights: dict[int, _Flight] = {}
        self._outcomes: list[Outcome] = []
        self._polling = asyncio.Lock()
        self._latest_nonce = 0
        self._progress_at = clock()

    def __len__(self) -> int:
        """How many transactions are under way, cancellations not counted."""
        return sum(flight.wanted is not None for flight in self._flights.values())

    async def submit(self, transactions: Sequence[SignedTransaction]) -> list[MachError | None]:
        """Broadcasts new transactions in one request, in the order of their nonces, and follows those not refused.

        For each, None or why the node refused it; a refused one is not followed, and its nonce is free again. Where the
        node is away all are followed, and sent with the next turns.
        """
        for transaction in transactions:
            self.add(transaction)
        try:
            results = await self._sender.broadcast_all(transactions)
        except L1UnavailableError as error:
            log.warning("transaction.not_sent_yet", count=len(transactions), problem=str(error))
            for transaction in transactions:
                self._flights[transaction.nonce].sent_at = float("-inf")
            return [None] * len(transactions)
        for transaction, refused in zip(transactions, results, strict=True):
            if refused is not None:
                self._flights.pop(transaction.nonce, None)
        return results

    def add(self, transaction: SignedTransaction, *, sent: bool = True) -> None:
        """Follows a transaction that was broadcast, or a further version of a followed one.

        With `sent` False it is broadcast by the next turn: for what was stored before a restart.
        """
        now = self._clock()
        sent_at = now if sent else float("-inf")
        self._sender.nonces.reserve_up_to(transaction.nonce)
        self._sender.nonces.sent(transaction.nonce)
        flight = self._flights.get(transaction.nonce)
        if flight is None:
            self._flights[transaction.nonce] = _Flight([transaction], changed_at=now, sent_at=sent_at)
        elif transaction.hash not in [version.hash for version in flight.versions]:
            flight.versions.append(transaction)
            flight.versions.sort(key=lambda version: version.max_fee_wei)
            flight.changed_at, flight.sent_at = now, sent_at

    async def abandon(self, transaction: SignedTransaction) -> None:
        """Takes a transaction back that is no longer wanted: a transfer of nothing takes its place, if it still can.

        The transaction may be mined all the same, which is then reported. Raises `FeeCapReachedError`,
        `L1UnavailableError`, `RequestRefusedError`.
        """
        flight = self._flights.get(transaction.nonce)
        if flight is None or flight.cancellations:
            return
        flight.add(await self._sender.prepare_cancellation(transaction.nonce, flight.latest), cancels=True)
        await self._send([flight])

    async def poll(self) -> list[Outcome]:
        """One turn: what became of the transactions since the last one.

        Raises `L1UnavailableError` or `RequestRefusedError`; nothing is lost then, the next turn tells it.
        """
        async with self._polling:
            if self._flights:
                turn = await self._look()
                for nonce in sorted(self._flights):
                    if nonce < turn.latest_nonce or self._flights[nonce].mined is not None:
                        await self._settle(nonce, turn)
                await self._push(turn)
            outcomes, self._outcomes = self._outcomes, []
            return outcomes

    # ---- what the chain says ----

    async def _look(self) -> _Turn:
        address = self._sender.address
        nonces = sorted(self._flights)
        first = nonces[:RECEIPTS_A_TURN]
        calls: list[RpcCall[Any]] = [
            RpcCall("eth_getTransactionCount", (address, "latest"), small_quantity),
            RpcCall("eth_getTransactionCount", (address, "pending"), small_quantity),
            RpcCall("eth_blockNumber", (), small_quantity),
            *(receipt_of(version.hash) for nonce in first for version in self._flights[nonce].versions),
        ]
        action = "follow transactions"
        answers = [value_of(answer, action) for answer in await call_all(self._sender.w3, calls, action)]
        latest_nonce, pending_nonce, block_number, *receipts = answers
        further = [nonce for nonce in nonces[RECEIPTS_A_TURN:] if nonce < latest_nonce]
        if further:
            calls = [receipt_of(version.hash) for nonce in further for version in self._flights[nonce].versions]
            receipts += [value_of(answer, action) for answer in await call_all(self._sender.w3, calls, action)]
        found: list[Receipt] = [receipt for receipt in receipts if receipt is not None]
        if latest_nonce != self._latest_nonce:
            self._latest_nonce, self._progress_at = latest_nonce, self._clock()
        # Receipts may be younger than the number of the head that was read beside them.
        height = max([block_number, *(receipt.block_number for receipt in found)])
        return _Turn(
            self._clock(),
            latest_nonce,
            pending_nonce,
            height,
            {receipt.transaction_hash: receipt for receipt in found},
        )

    async def _settle(self, nonce: int, turn: _Turn) -> None:
        flight = self._flights[nonce]
        for version in reversed(flight.versions):
            receipt = turn.receipts.get(version.hash)
            if receipt is None:
                continue
            flight.nonce_used_at = None
            if flight.mined is None or flight.mined.block_hash != receipt.block_hash:
                flight.mined = receipt
                if receipt.succeeded and version.hash not in flight.cancellations:
                    self._outcomes.append(Mined(version, receipt))
            if turn.block_number - receipt.block_number + 1 >= self._settings.confirmations:
                await self._finish(nonce, version, receipt)
            return
        if flight.mined is not None:
            log.warning("transaction.reorganised", nonce=nonce, tx_hash="0x" + flight.latest.hash.hex())
            flight.mined = None
            flight.sent_at = float("-inf")
            if flight.wanted is not None:
                self._outcomes.append(Unmined(flight.wanted))
            return
        if flight.nonce_used_at is None:
            flight.nonce_used_at = turn.now
        elif turn.now - flight.nonce_used_at >= self._settings.superseded_after_s:
            self._give_up(nonce)

    async def _finish(self, nonce: int, version: SignedTransaction, receipt: Receipt) -> None:
        if version.hash in self._flights[nonce].cancellations:
            self._give_up(nonce)
            return
        outcome: Outcome = Confirmed(version, receipt)
        if not receipt.succeeded:
            outcome = Reverted(version, receipt, (await self._sender.mined_revert(receipt)).reason)
        self._outcomes.append(outcome)
        del self._flights[nonce]

    def _give_up(self, nonce: int) -> None:
        wanted = self._flights.pop(nonce).wanted
        if wanted is not None:
            self._outcomes.append(Superseded(wanted))

    # ---- what is done about it ----

    async def _push(self, turn: _Turn) -> None:
        """Sends what the node lost, replaces what is not mined in time, and frees nonces that hold back others."""
        waiting = [self._flights[nonce] for nonce in sorted(self._flights) if self._flights[nonce].mined is None]
        if not waiting:
            return
        first, highest = max(turn.pending_nonce, turn.latest_nonce), waiting[-1].latest.nonce
        gaps = self._sender.nonces.gaps(first, highest, self._flights, self._settings.nonce_patience_s)
        for nonce in gaps[:_FREED_A_TURN]:
            waiting += await self._free(nonce, turn.now)
        waiting.sort(key=lambda flight: flight.latest.nonce)
        # Only the lowest can be held back by its own fees alone; the others wait for it.
        if turn.now - max(waiting[0].changed_at, self._progress_at) >= self._settings.resend_after_s:
            await self._replace(waiting[0], turn.now)
        lost_after_s = min(_LOST_AFTER_S, self._settings.rebroadcast_s)
        await self._send(
            [
                flight
                for flight in waiting
                # What the node would take next is not in its pool.
                if turn.now - flight.sent_at
                >= (lost_after_s if flight.latest.nonce == turn.pending_nonce else self._settings.rebroadcast_s)
            ]
        )

    async def _free(self, nonce: int, now: float) -> list[_Flight]:
        # Taken first, so that nobody prepares a transaction with it meanwhile.
        self._sender.nonces.sent(nonce)
        try:
            cancellation = await self._sender.prepare_cancellation(nonce)
        except FeeCapReachedError as error:
            log.warning("transaction.fee_cap", nonce=nonce, problem=str(error))
            return []
        log.warning("transaction.nonce_freed", nonce=nonce)
        flight = _Flight([cancellation], now, float("-inf"), cancellations={cancellation.hash})
        self._flights[nonce] = flight
        return [flight]

    async def _replace(self, flight: _Flight, now: float) -> None:
        flight.changed_at = now
        cancels = flight.latest.hash in flight.cancellations
        try:
            newer = await self._sender.replace(flight.latest)
        except FeeCapReachedError as error:
            log.warning("transaction.fee_cap", nonce=flight.latest.nonce, problem=str(error))
            return
        if cancels or await self._replacing(flight.latest, newer):
            flight.add(newer, cancels=cancels)
            log.warning("transaction.replaced", nonce=newer.nonce, fee_wei=newer.max_fee_wei)

    async def _send(self, flights: Sequence[_Flight]) -> None:
        if not flights:
            return
        now = self._clock()
        results = await self._sender.broadcast_all([flight.latest for flight in flights], keep_nonces=True)
        for flight, refused in zip(flights, results, strict=True):
            flight.sent_at = now
            if refused is not None:
                # Still followed: an earlier version may be in the pool, or be mined.
                log.warning("transaction.refused", nonce=flight.latest.nonce, problem=str(refused))
