"""Whether an alert may be signed: only if the operator's own verifier found the same. What it has not found waits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from mach.operator.requests import claim_of
from mach.operator.verdict_sources import VerdictSourceError
from mach.storage.raised_alerts import AGREEMENT
from mach.storage.signing_journal import ContradictionError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mach.operator.metrics import OperatorMetrics
    from mach.operator.verdict_sources import VerdictSource
    from mach.storage.outbox import Outbox, OutboxRecord
    from mach.storage.raised_alerts import RaisedAlert

log = structlog.get_logger()

TRUSTED: Final = "trusted"
"""The basis of an alert that was signed because somebody said so (`trust_alerts`)."""
NOT_FOUND: Final = "this operator's own verifier has not raised this alert"
SLOW_RECHECK_FACTOR: Final = 10
KEPT_AT_ONCE: Final = 2
"""Writes of unconfirmed alerts that may queue for the database: a signature never waits behind a flood of them."""
RECENT_S: Final = 60.0
"""So long after an alert came its verdict is looked for at the full rate: the own verifier may be just behind."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`basis`: what a signature may rest on; None: not to be signed, and `reason` says why."""

    basis: str | None
    reason: str | None = None
    block_number: int | None = None


class Confirmations:
    """Asks the own verifier about alerts, and keeps asking about those that it has not found yet."""

    def __init__(
        self,
        outbox: Outbox,
        source: VerdictSource | None,
        metrics: OperatorMetrics,
        *,
        sign_agreement: bool,
        recheck_s: float,
        expiry_s: float,
        max_unconfirmed: int,
        max_pending: int,
    ) -> None:
        """Without a source every alert is trusted."""
        self._outbox = outbox
        self._source = source
        self._metrics = metrics
        self._sign_agreement = sign_agreement
        self._recheck_s = recheck_s
        self._expiry_s = expiry_s
        self._max_unconfirmed = max_unconfirmed
        self._max_pending = max_pending
        self._news = asyncio.Event()
        self._keeping = asyncio.Semaphore(KEPT_AT_ONCE)
        self.problem: str | None = None
        """Why the own verifier cannot be asked right now."""

    @property
    def trusting(self) -> bool:
        """Whether alerts are signed without a verdict of one's own."""
        return self._source is None

    async def judge(self, statements: Mapping[bytes, str]) -> dict[bytes, Judgement]:
        """A judgement on each alert (message hash → statement); never raises for a source that is away."""
        if self._source is None:
            return dict.fromkeys(statements, Judgement(TRUSTED))
        try:
            found = await self._find(list(statements))
        except VerdictSourceError as error:
            return dict.fromkeys(statements, Judgement(None, f"its own verifier cannot be asked: {error}"))
        judgements = {one: self._judge(found.get(one)) for one in statements}
        for message_hash, judgement in judgements.items():
            if judgement.basis is not None:
                claim = claim_of(statements[message_hash], judgement.block_number)
                signed = await self._outbox.contradicting(message_hash, claim)
                permitted = await self.overtaken(signed) or ()
                for other in signed:
                    if other not in permitted:
                        judgements[message_hash] = Judgement(None, str(ContradictionError(claim, other)))
        return judgements

    def suffices(self, basis: str | None) -> bool:
        """Whether a basis that was found earlier still permits a signature under today's settings."""
        if basis is None or (basis == TRUSTED and not self.trusting):
            return False
        return basis != AGREEMENT or self._sign_agreement or self.trusting

    async def overtaken(self, message_hashes: Sequence[bytes]) -> Collection[bytes] | None:
        """Those of the signed alerts whose blocks a reorganisation has replaced; None (all) if trusting."""
        if self._source is None:
            return None
        if not message_hashes:
            return ()
        try:
            found = await self._find(message_hashes)
        except VerdictSourceError:
            return ()
        return [one for one, alert in found.items() if alert.replaced_at is not None]

    async def keep(self, message_hash: bytes, statement: str, reason: str) -> None:
        """Keeps an alert unconfirmed, unsigned and unsent."""
        async with self._keeping:
            known = await self._outbox.get(message_hash)
            evicted = await self._outbox.keep_unconfirmed(message_hash, statement, reason, self._max_unconfirmed)
        if known is None:
            self._metrics.alerts.labels("unconfirmed").inc()
            log.warning("alert.unconfirmed", alert="0x" + message_hash.hex(), reason=reason)
        if evicted:
            self._metrics.alerts.labels("evicted").inc(evicted)
            log.warning("alert.evicted", count=evicted, max_unconfirmed_alerts=self._max_unconfirmed)
        self._news.set()

    async def withhold(self, record: OutboxRecord, reason: str) -> None:
        """Takes an alert back from what is to be signed."""
        if await self._outbox.withhold(record.message_hash, reason):
            self._metrics.alerts.labels("withheld").inc()
            log.error("alert.withheld", alert="0x" + record.message_hash.hex(), reason=reason)
            self._news.set()

    async def run(self, confirmed: Callable[[], None]) -> None:
        """Looks for the verdicts of unconfirmed alerts until cancelled; calls `confirmed` when there are some."""
        while True:
            self._news.clear()
            waiting = await self._expire(await self._outbox.unconfirmed())
            self._metrics.unconfirmed.set(len(waiting))
            if not waiting:
                await self._news.wait()
                await asyncio.sleep(self._recheck_s)  # its verdict was just looked for
                continue
            if await self._recheck(waiting):
                confirmed()
            recent = time.time() - max(record.received_at for record in waiting) < RECENT_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._recheck_s * (1 if recent else SLOW_RECHECK_FACTOR)):
                    await self._news.wait()
                    await asyncio.sleep(self._recheck_s)

    async def _expire(self, waiting: Sequence[OutboxRecord]) -> Sequence[OutboxRecord]:
        before = time.time() - self._expiry_s
        if not waiting or waiting[0].received_at >= before:
            return waiting
        expired = set(await self._outbox.expire_unconfirmed(before))
        self._metrics.alerts.labels("expired").inc(len(expired))
        log.warning("alert.expired", count=len(expired), unconfirmed_expiry_s=self._expiry_s)
        return [record for record in waiting if record.message_hash not in expired]

    async def _recheck(self, waiting: Sequence[OutboxRecord]) -> int:
        """How many of the unconfirmed alerts may be signed now."""
        judgements = await self.judge({record.message_hash: record.statement for record in waiting})
        room = self._max_pending - await self._outbox.count_undelivered()
        taken = 0
        for record in waiting:
            judgement = judgements[record.message_hash]
            if judgement.basis is None:
                if judgement.reason != record.reason and judgement.reason is not None:
                    await self._outbox.keep_unconfirmed(
                        record.message_hash, record.statement, judgement.reason, self._max_unconfirmed
                    )
            elif taken < room and await self._outbox.accept(
                record.message_hash, record.statement, judgement.basis, judgement.block_number
            ):
                taken += 1
                self._metrics.alerts.labels("accepted").inc()
                waited_s = round(time.time() - record.received_at, 3)
                alert = "0x" + record.message_hash.hex()
                log.info("alert.accepted", alert=alert, basis=judgement.basis, waited_s=waited_s)
        return taken

    async def _find(self, message_hashes: Sequence[bytes]) -> dict[bytes, RaisedAlert]:
        assert self._source is not None  # noqa: S101 - the callers have looked
        try:
            found = await self._source.find(message_hashes)
        except VerdictSourceError as error:
            if self.problem is None:
                log.error("verdicts.away", source=self._source.name, problem=str(error))
            self.problem = str(error)
            self._metrics.verdict_source_up.set(0)
            raise
        if self.problem is not None:
            log.info("verdicts.back", source=self._source.name)
        self.problem = None
        self._metrics.verdict_source_up.set(1)
        return found

    def _judge(self, alert: RaisedAlert | None) -> Judgement:
        if alert is None:
            return Judgement(None, NOT_FOUND)
        if not self.suffices(alert.basis):
            return Judgement(
                None, "its verifier found this by agreement of endpoints, not by re-execution; sign_agreement is off"
            )
        return Judgement(alert.basis, block_number=alert.block_number)
