"""A verifier in this process, a chain for it, and a node whose answers a test rewrites."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from mach.config.verifier import VerifierConfig
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import LOOPBACK, Ports
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.traffic import Traffic, TrafficSettings
from mach.storage.chain_record import ChainRecord
from mach.storage.database import open_database
from mach.storage.verdict_log import VerdictLog
from mach.transport.listening import start_site
from mach.verifier.service import run_verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from mach.storage.verdict_log import VerdictRecord

DEADLINE_S = 60.0


@dataclass
class L2:
    """A chain on op-geth and what sends it transactions."""

    sequencer: Sequencer
    traffic: Traffic

    @property
    def url(self) -> str:
        return self.sequencer.http_url

    async def build(self, blocks: int, transactions: int = 6) -> int:
        """Builds blocks with transactions; returns the head's number."""
        number = self.sequencer.head.number
        for _ in range(blocks):
            await self.traffic.submit(transactions)
            number = await self.sequencer.produce_block()
        return number


@asynccontextmanager
async def running_l2(folder: Path) -> AsyncIterator[L2]:
    """A new chain, of the genesis alone."""
    ports = Ports.free()
    async with (
        Sequencer(SequencerSettings(folder, http_port=ports.l2, auth_port=ports.l2_auth)) as sequencer,
        Traffic(TrafficSettings(sequencer.http_url)) as traffic,
    ):
        yield L2(sequencer, traffic)


@dataclass
class VerifierRun:
    """One verifier; `settings` go over the least that it needs."""

    l2: L2
    folder: Path
    endpoints: Sequence[str]
    settings: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=lambda: _free_port())
    _task: asyncio.Task[None] | None = None

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.folder / 'verifier.sqlite'}"

    def config(self) -> dict[str, Any]:
        return {
            "l2_rpc_url": list(self.endpoints),
            "layer2_chain_id": L2_CHAIN_ID,
            "l2_chain_config": str(self.l2.sequencer.chain_config_file),
            "database_url": self.database_url,
            "start_block": 1,
            "poll_interval_s": 0.05,
            "label_poll_interval_s": 0.1,
            "metrics_ip_port_address": f"{LOOPBACK}:{self.port}",
        } | self.settings

    async def __aenter__(self) -> VerifierRun:
        self._task = asyncio.create_task(run_verifier(VerifierConfig(**self.config())))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def eventually(
        self, condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = DEADLINE_S
    ) -> None:
        """Waits for a condition. A verifier that ended by itself fails the test with its own error."""
        try:
            async with asyncio.timeout(deadline_s):
                while not await condition():
                    if self._task is not None and self._task.done():
                        self._task.result()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"not within {deadline_s} s: {what}; verdicts: {await self.summary()}")

    async def reaches(self, number: int) -> None:
        """Waits until verification stands at a height or above."""

        async def there() -> bool:
            async with self.chain() as chain:
                head = await chain.head("verified")
                return head is not None and head.block_number >= number

        await self.eventually(there, f"block {number} is verified")

    @asynccontextmanager
    async def chain(self) -> AsyncIterator[ChainRecord]:
        database = await open_database(self.database_url, "verifier")
        try:
            yield ChainRecord(database)
        finally:
            await database.close()

    async def records(self, last: int) -> list[VerdictRecord]:
        """Every verdict up to a height."""
        database = await open_database(self.database_url, "verifier")
        try:
            log = VerdictLog(database)
            return [record for number in range(last + 1) for record in await log.at(number)]
        finally:
            await database.close()

    async def summary(self, last: int = 64) -> list[tuple[int, str]]:
        return [(record.block_number, record.verdict) for record in await self.records(last)]

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{LOOPBACK}:{self.port}/{path}") as response,
        ):
            return response.status, await response.text()

    async def metric(self, name: str, **labels: str) -> float:
        """A sample's value; 0 if there is none."""
        _, text = await self.get("metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


class RewritingNode:
    """Passes JSON-RPC on to a node, and hands each answer to `rewrite(method, params, answer)` on the way back."""

    def __init__(self, upstream: str, rewrite: Callable[[str, list[Any], dict[str, Any]], dict[str, Any]]) -> None:
        self._upstream = upstream
        self._rewrite = rewrite
        self._runner: web.AppRunner | None = None
        self.under_way: dict[str, int] = {}
        self.most_at_once: dict[str, int] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> RewritingNode:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_post("/", self._answer)
        self._runner, self.port = await start_site(app, LOOPBACK, self.port)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            await self._session.close()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        call = await request.json()
        method = call["method"]
        self.under_way[method] = self.under_way.get(method, 0) + 1
        self.most_at_once[method] = max(self.most_at_once.get(method, 0), self.under_way[method])
        try:
            async with self._session.post(self._upstream, json=call) as response:
                answer = json.loads(await response.read())
        finally:
            self.under_way[method] -= 1
        return web.json_response(self._rewrite(method, call["params"], answer))


def refused(answer: dict[str, Any], code: int = -32601) -> dict[str, Any]:
    """The answer of a node that does not know a method."""
    return {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": code, "message": "it is not served here"}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
