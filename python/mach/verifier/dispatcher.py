"""Carrying alerts to operators: each operator has its own line, so that one that is away holds up no other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import structlog

from mach.storage.raised_alerts import RE_EXECUTION, RaisedAlert
from mach.storage.verdict_log import delivery
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.protocol.alerts import BlockMismatch, OutputOracleMismatch
    from mach.storage.raised_alerts import Basis
    from mach.storage.verdict_log import DeliveryRecord, VerdictLog

log = structlog.get_logger()

FINISHED_CODE: Final = 2
"""The operator's code for an alert that stands on L1 already."""
HOPELESS_CODES: Final = (1, 3)
"""Its codes for a call it does not know or cannot read: trying again does not help."""


class AlertDispatcher:
    """Delivers what the verdict log holds for every configured operator."""

    def __init__(self, verdicts: VerdictLog, operator_urls: Sequence[str], *, timeout_s: float) -> None:
        self._verdicts = verdicts
        self._operator_urls = tuple(operator_urls)
        self._timeout_s = timeout_s
        self._news = {url: asyncio.Event() for url in self._operator_urls}

    def deliveries(self, alert: RaisedAlert) -> list[DeliveryRecord]:
        """One delivery of an alert for every operator, to be recorded together with the verdict."""
        return [
            delivery(url, alert.message_hash, alert.block_number, alert.method, alert.params)
            for url in self._operator_urls
        ]

    def wake(self) -> None:
        """There is something new to deliver."""
        for news in self._news.values():
            news.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for url in self._operator_urls:
                client = await stack.enter_async_context(JsonRpcClient(url, timeout_s=self._timeout_s))
                group.create_task(self._serve_operator(url, client))

    async def _serve_operator(self, url: str, client: JsonRpcClient) -> None:
        backoff = Backoff()
        while True:
            self._news[url].clear()
            pending = await self._verdicts.pending(url)
            delivered = [await self._deliver(record, client) for record in pending]
            if all(delivered):
                backoff.reset()
                await self._news[url].wait()
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next_delay_s()):
                        await self._news[url].wait()

    async def _deliver(self, record: DeliveryRecord, client: JsonRpcClient) -> bool:
        """One attempt; True when the operator took the alert or never will."""
        event = {"operator": record.operator_url, "alert": "0x" + record.message_hash.hex()}
        try:
            answer: Any = await client.call_with(record.method, json.loads(record.params))
        except PeerUnavailableError as error:
            log.warning("alert.operator_away", **event, problem=str(error))
            return False
        except PeerRefusedError as error:
            if error.code == FINISHED_CODE:
                await self._verdicts.settle(record, "delivered", str(error))
                return True
            if error.code in HOPELESS_CODES:
                log.error("alert.operator_refused", **event, problem=str(error))
                await self._verdicts.settle(record, "refused", str(error))
                return True
            log.warning("alert.operator_failed", **event, problem=str(error))
            return False
        if isinstance(answer, dict) and answer.get("status") == "unconfirmed":
            log.warning("alert.operator_does_not_confirm", **event, reason=str(answer.get("reason"))[:300])
            return False
        await self._verdicts.settle(record, "delivered", json.dumps(answer))
        log.info("alert.delivered", **event, block=record.block_number)
        return True


def block_alert(alert: BlockMismatch, basis: Basis = RE_EXECUTION) -> RaisedAlert:
    """An alert over a block, as it is recorded with the verdict and told to operators."""
    params = {
        "invalid_output_root": "0x" + alert.invalid_output_root.hex(),
        "expect_output_root": "0x" + alert.expect_output_root.hex(),
        "l2_block_number": alert.l2_block_number,
    } | ({} if basis == RE_EXECUTION else {"basis": basis})
    return RaisedAlert(
        alert.message_hash(), alert.l2_block_number, "alert_blockMismatch", json.dumps(params), basis, time.time()
    )


def output_alert(alert: OutputOracleMismatch, l2_block_number: int) -> RaisedAlert:
    """The same over the output root of a block that was proposed on L1."""
    params = {
        "expect_output_root": "0x" + alert.expect_output_root.hex(),
        "invalid_output_index": alert.invalid_output_index,
    }
    return RaisedAlert(
        alert.message_hash(),
        l2_block_number,
        "alert_blockOutputOracleMismatch",
        json.dumps(params),
        RE_EXECUTION,
        time.time(),
    )
