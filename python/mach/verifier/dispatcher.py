"""Carrying alerts to operators: each operator has its own line, so that one that is away holds up no other."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import structlog

from mach.storage.verdict_log import delivery
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.protocol.alerts import BlockMismatch, OutputOracleMismatch
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

    def deliveries(self, alert: BlockMismatch) -> list[DeliveryRecord]:
        """One delivery of an alert for every operator, to be recorded together with the verdict."""
        params = json.dumps(
            {
                "invalid_output_root": "0x" + alert.invalid_output_root.hex(),
                "expect_output_root": "0x" + alert.expect_output_root.hex(),
                "l2_block_number": alert.l2_block_number,
            }
        )
        message_hash = alert.message_hash()
        return [
            delivery(url, message_hash, alert.l2_block_number, "alert_blockMismatch", params)
            for url in self._operator_urls
        ]

    def output_deliveries(self, alert: OutputOracleMismatch, l2_block_number: int) -> list[DeliveryRecord]:
        """The same for an alert over an output root that was proposed on L1."""
        params = json.dumps(
            {
                "expect_output_root": "0x" + alert.expect_output_root.hex(),
                "invalid_output_index": alert.invalid_output_index,
            }
        )
        message_hash = alert.message_hash()
        return [
            delivery(url, message_hash, l2_block_number, "alert_blockOutputOracleMismatch", params)
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
                await asyncio.sleep(backoff.next_delay_s())

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
        await self._verdicts.settle(record, "delivered", json.dumps(answer))
        log.info("alert.delivered", **event, block=record.block_number)
        return True
