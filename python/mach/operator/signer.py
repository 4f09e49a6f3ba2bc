"""Signing alerts and seeing them through: the outbox is emptied into the aggregator, again and again until it took all.

Nothing here is lost by a crash: an alert is in the outbox before its caller hears of it, a signature before it leaves.
Nothing is signed that the operator's own verifier has not found: `Confirmations` says what may be.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from mach.errors import MachError
from mach.operator.requests import claim_of
from mach.protocol.alerts import sign_hash
from mach.storage.signing_journal import ContradictionError
from mach.transport.aggregator_wire import AlertTaskInfo, SignedTaskReply
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc import InvalidParamsError
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach import bls
    from mach.operator.aggregators import AggregatorReplicas
    from mach.operator.confirmations import Confirmations
    from mach.operator.metrics import OperatorMetrics
    from mach.storage.outbox import Outbox, OutboxRecord

log = structlog.get_logger()

CONCURRENT_DELIVERIES: Final = 16
RECHECK_FIRST_S: Final = 2.0
RECHECK_LAST_S: Final = 30.0
"""An alert that the aggregator took, and has not finished, is asked after: it may have expired there, or its stakes
have gone stale and it wants a signature over a fresh reference block. Seldom, when nothing changes."""


class OutboxFullError(MachError):
    """More alerts wait for the aggregator than the configured bound."""


class WithheldError(MachError):
    """There is no verdict of one's own for the alert, so it is not signed."""


@dataclass(frozen=True, slots=True)
class AggregatorState:
    """What is known of the aggregator right now."""

    reachable: bool
    problem: str | None


class AlertSigner:
    """Signs every alert in the outbox once per task of the aggregator, and delivers it."""

    def __init__(
        self,
        outbox: Outbox,
        confirmations: Confirmations,
        secret_key: bls.SecretKey,
        aggregator: AggregatorReplicas,
        metrics: OperatorMetrics,
        *,
        rollup_chain_id: int | None,
        max_pending: int,
    ) -> None:
        self._outbox = outbox
        self._confirmations = confirmations
        self._secret_key = secret_key
        self._operator_id = secret_key.public_key_g1.operator_id
        self._aggregator = aggregator
        self._metrics = metrics
        self._rollup_chain_id = rollup_chain_id
        self._max_pending = max_pending
        self._wake = asyncio.Event()
        self._settled: dict[bytes, asyncio.Event] = {}
        self._slots = asyncio.Semaphore(CONCURRENT_DELIVERIES)
        self.aggregator_state = AggregatorState(reachable=False, problem="not asked yet")

    async def submit(self, message_hash: bytes, statement: str, deadline_s: float) -> OutboxRecord:
        """Takes an alert on and waits, for `deadline_s` at most, until the aggregator has it.

        Returns the outbox record: `unconfirmed` at once, if the own verifier has not found the same; `accepted` or
        `signed` tell that it is queued. Raises `OutboxFullError` at the bound.
        """
        known = await self._outbox.get(message_hash)
        if known is None or known.state == "unconfirmed":
            judgement = (await self._confirmations.judge({message_hash: statement}))[message_hash]
            if judgement.basis is None:
                await self._confirmations.keep(message_hash, statement, judgement.reason or "")
                return await self._record(message_hash)
            if await self._outbox.count_undelivered() >= self._max_pending:
                raise OutboxFullError(
                    f"{self._max_pending} alerts wait for the aggregator already; bring it back first"
                )
            new = await self._outbox.accept(message_hash, statement, judgement.basis, judgement.block_number)
        else:
            new = False
        record = await self._record(message_hash)
        log.info("alert.accepted" if new else "alert.repeated", alert="0x" + message_hash.hex(), basis=record.basis)
        self._metrics.alerts.labels("accepted" if new else "repeated").inc()
        if record.state in ("unconfirmed", "submitted", "finished"):
            return record
        settled = self._settled.setdefault(message_hash, asyncio.Event())
        self._wake.set()
        try:
            async with asyncio.timeout(deadline_s):
                await settled.wait()
        except TimeoutError:
            log.warning("alert.queued", alert="0x" + message_hash.hex(), problem=self.aggregator_state.problem)
        return await self._record(message_hash)

    def wake(self) -> None:
        """There is something new to sign."""
        self._wake.set()

    async def run(self) -> None:
        """Delivers what is undelivered until cancelled; waits with backoff while the aggregator is away."""
        retry, recheck = Backoff(), Backoff(RECHECK_FIRST_S, RECHECK_LAST_S)
        while True:
            self._wake.clear()
            undelivered = await self._outbox.undelivered()
            self._metrics.undelivered.set(len(undelivered))
            delivered = all(await self._deliver_all(undelivered))
            if undelivered:
                recheck.reset()
            if delivered:
                retry.reset()
            try:
                async with asyncio.timeout((recheck if delivered else retry).next_delay_s()):
                    await self._wake.wait()
            except TimeoutError:
                if delivered:
                    await self._deliver_all(await self._outbox.unfinished())

    async def _deliver_all(self, records: Sequence[OutboxRecord]) -> list[bool]:
        return await asyncio.gather(*(self._deliver(record) for record in records))

    async def _deliver(self, record: OutboxRecord) -> bool:
        """One attempt; True when the aggregator has the signature or the alert is finished."""
        alert = "0x" + record.message_hash.hex()
        async with self._slots:
            try:
                tx_hash = await self._sign_and_send(record)
            except PeerUnavailableError as error:
                self._note(reachable=False, problem=str(error))
                problem = str(error)
            except PeerRefusedError as error:
                self._note(reachable=True, problem=None)
                if "already finished" in str(error):
                    await self._finish(record.message_hash, _transaction_in(str(error)))
                    return True
                problem = str(error)
            except WithheldError as error:
                await self._confirmations.withhold(record, str(error))
                self._settle(record.message_hash)
                if record.state != "accepted":  # an earlier signature of it may be out: no other one follows
                    await self._outbox.record_reason(record.message_hash, str(error))
                return True
            except InvalidParamsError as error:
                problem = f"the aggregator's answer is malformed: {error}"
                self._note(reachable=True, problem=problem)
            else:
                self._note(reachable=True, problem=None)
                if tx_hash is not None:
                    await self._finish(record.message_hash, tx_hash)
                self._settle(record.message_hash)
                return True
        log.warning("alert.not_delivered", alert=alert, problem=problem)
        await self._outbox.record_reason(record.message_hash, problem)
        return False

    async def _sign_and_send(self, record: OutboxRecord) -> bytes | None:
        """The transaction (32 bytes) if the alert stands on L1 already, else None."""
        record = await self._with_basis(record)
        answer = await self._aggregator.call("aggregator_createTask", "0x" + record.message_hash.hex())
        info = AlertTaskInfo.from_json(answer)
        if info.alert_hash != record.message_hash:
            raise InvalidParamsError(f"asked for the task of 0x{record.message_hash.hex()}, got another alert's")
        same_task = (record.task_index, record.reference_block_number) == (info.task_index, info.reference_block_number)
        if same_task and record.state == "submitted":
            return None
        signature = record.signature if same_task else None
        if signature is None:
            signature = await self._sign(record, info)
        result = await self._aggregator.call(
            "aggregator_processSignedTaskResponse",
            info.to_json(),
            "0x" + signature.hex(),
            "0x" + self._operator_id.hex(),
        )
        reply = SignedTaskReply.from_json(result)
        await self._outbox.record_submitted(record.message_hash)
        self._metrics.alerts.labels("submitted").inc()
        log.info("alert.submitted", alert="0x" + record.message_hash.hex(), task_index=info.task_index)
        return reply.tx_hash if reply.reply else None

    async def _with_basis(self, record: OutboxRecord) -> OutboxRecord:
        """The record, with the own verdict that it rests on.

        Raises `WithheldError` for an alert that was taken on under other settings and has none now.
        """
        if self._confirmations.suffices(record.basis):
            return record
        judgement = (await self._confirmations.judge({record.message_hash: record.statement}))[record.message_hash]
        if judgement.basis is None:
            raise WithheldError(judgement.reason or "")
        await self._outbox.record_basis(record.message_hash, judgement.basis, judgement.block_number)
        return replace(record, basis=judgement.basis, block_number=judgement.block_number)

    async def _sign(self, record: OutboxRecord, info: AlertTaskInfo) -> bytes:
        """A signature over the task, 64 bytes, once it is in outbox and journal. Raises `WithheldError`."""
        claim = claim_of(record.statement, record.block_number)
        contradicting = await self._outbox.contradicting(record.message_hash, claim)
        permitted = await self._confirmations.overtaken(contradicting)
        digest = sign_hash(record.message_hash, info.reference_block_number, self._rollup_chain_id)
        signature = self._secret_key.sign(digest).to_bytes()
        try:
            await self._outbox.record_signature(
                record.message_hash,
                info.task_index,
                info.reference_block_number,
                signature,
                claim=claim,
                permitted=permitted,
            )
        except ContradictionError as error:
            raise WithheldError(str(error)) from None
        self._metrics.alerts.labels("signed").inc()
        log.info("alert.signed", alert="0x" + record.message_hash.hex(), task_index=info.task_index)
        return signature

    async def _finish(self, message_hash: bytes, tx_hash: bytes | None) -> None:
        await self._outbox.record_finished(message_hash, tx_hash)
        self._metrics.alerts.labels("finished").inc()
        log.info("alert.finished", alert="0x" + message_hash.hex(), tx_hash=tx_hash and "0x" + tx_hash.hex())
        self._settle(message_hash)

    def _settle(self, message_hash: bytes) -> None:
        settled = self._settled.pop(message_hash, None)
        if settled is not None:
            settled.set()

    def note_reachable(self) -> None:
        """The aggregator has just answered something."""
        self._note(reachable=True, problem=None)

    def _note(self, *, reachable: bool, problem: str | None) -> None:
        self.aggregator_state = AggregatorState(reachable, problem)

    async def _record(self, message_hash: bytes) -> OutboxRecord:
        record = await self._outbox.get(message_hash)
        if record is None:
            raise MachError(f"alert 0x{message_hash.hex()} is not in the outbox; was its database replaced?")
        return record


def _transaction_in(message: str) -> bytes | None:
    """The transaction that the original's wording ends with: `… already finished: 0x<32 bytes>`."""
    digits = message.rpartition("0x")[2].strip()
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return None
    return raw if len(raw) == 32 else None
