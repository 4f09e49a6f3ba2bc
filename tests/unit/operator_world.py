"""An operator's parts around a real verifier's database, and an aggregator that keeps what it is sent."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from mach.bls import SecretKey
from mach.operator.aggregators import AggregatorReplicas
from mach.operator.confirmations import Confirmations
from mach.operator.metrics import OperatorMetrics
from mach.operator.requests import statement
from mach.operator.rpc import OperatorMethods
from mach.operator.signer import AlertSigner
from mach.operator.verdict_sources import (
    DatabaseVerdicts,
    VerdictSource,
)
from mach.protocol.alerts import Alert, BlockHash, BlockMismatch, OutputOracleMismatch
from mach.storage.database import Database, open_database
from mach.storage.outbox import Outbox
from mach.storage.raised_alerts import Basis, RaisedAlert, claim_database, mark_replaced, record_raised
from mach.storage.verdict_log import VerdictLog
from mach.transport.aggregator_wire import AlertTaskInfo
from mach.transport.jsonrpc import AGGREGATOR_DIALECT, JsonRpcServer
from mach.transport.listening import start_site
from mach.verifier.verdict_api import VerdictApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from mach.transport.verdict_wire import VerdictApiSecret

L2_CHAIN_ID = 901
DEADLINE_S = 20.0


def mismatch(number: int, expected: int = 2, invalid: int = 1) -> BlockMismatch:
    return BlockMismatch(invalid.to_bytes(32, "big"), expected.to_bytes(32, "big"), number)


def method_of(alert: Alert) -> str:
    return {
        BlockMismatch: "alert_blockMismatch",
        OutputOracleMismatch: "alert_blockOutputOracleMismatch",
        BlockHash: "alert_blockHash",
    }[type(alert)]


def text(alert: Alert) -> str:
    return statement(method_of(alert), alert)


ALERTS = [mismatch(7), OutputOracleMismatch(b"\x05" * 32, 3), BlockHash(b"\x06" * 32)]


class Aggregator:
    """The two calls of an aggregator; it keeps what it was sent."""

    def __init__(self) -> None:
        self.tasks: dict[str, AlertTaskInfo] = {}
        self.signatures: list[tuple[bytes, bytes, int]] = []

    async def create(self, params: Any) -> Any:
        (alert_hash,) = params
        task = AlertTaskInfo(bytes.fromhex(alert_hash[2:]), b"\x00", b"\x42", len(self.tasks), 10)
        return self.tasks.setdefault(alert_hash, task).to_json()

    async def take(self, params: Any) -> Any:
        task, signature, _ = params
        info = AlertTaskInfo.from_json(task)
        self.signatures.append((info.alert_hash, bytes.fromhex(signature[2:]), info.reference_block_number))
        return {"reply": False, "tx_hash": ""}

    @property
    def signed(self) -> list[bytes]:
        return [alert_hash for alert_hash, _, _ in self.signatures]


@dataclass
class Operator:
    """One operator process's parts; `restart` is a kill and a start."""

    folder: Path
    source: VerdictSource | None
    aggregator_url: str
    options: dict[str, Any]
    stack: AsyncExitStack
    key: SecretKey = field(default_factory=SecretKey.generate)
    started: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, *, deliver: bool = True) -> None:
        self.started = AsyncExitStack()
        database = await open_database(f"sqlite+aiosqlite:///{self.folder / 'operator.sqlite'}", "operator")
        self.started.push_async_callback(database.close)
        self.outbox = Outbox(database)
        self.metrics = OperatorMetrics("mach")
        defaults = {"sign_agreement": False, "recheck_s": 0.01, "expiry_s": 600.0, "max_unconfirmed": 5}
        self.confirmations = Confirmations(
            self.outbox,
            self.source,
            self.metrics,
            **defaults | {"max_pending": 3} | self.options,
        )
        aggregator = await self.started.enter_async_context(AggregatorReplicas([self.aggregator_url], timeout_s=5))
        self.signer = AlertSigner(
            self.outbox,
            self.confirmations,
            self.key,
            aggregator,
            self.metrics,
            rollup_chain_id=L2_CHAIN_ID,
            max_pending=3,
        )
        if deliver:
            for work in (self.signer.run(), self.confirmations.run(self.signer.wake)):
                task = asyncio.create_task(work)
                self.started.push_async_callback(ended, task)

    async def stop(self) -> None:
        await self.started.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def tell(self, alert: Alert, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Raises an alert through the operator's JSON-RPC method."""
        methods = OperatorMethods(self.signer, avs_name="mach", submit_deadline_s=deadline_s, public_settings={})
        answer = await methods.table()[method_of(alert)](json.loads(text(alert))["params"])
        assert isinstance(answer, dict)
        return answer

    async def state(self, alert: Alert) -> str | None:
        record = await self.outbox.get(alert.message_hash())
        return None if record is None else record.state


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for a condition, which may be a coroutine function."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                held = condition()
                if await held if asyncio.iscoroutine(held) else held:
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_S} s: {what}")


@dataclass
class World:
    """A verifier's database, an aggregator and the way to operators."""

    folder: Path
    verifier: Database
    aggregator: Aggregator
    aggregator_url: str
    stack: AsyncExitStack

    async def raise_alert(self, alert: Alert, basis: Basis = "re-execution", block: int = 1) -> None:
        """The own verifier reaches the verdict; `block` is the block of an output root."""
        number = alert.l2_block_number if isinstance(alert, BlockMismatch) else block
        row = RaisedAlert(alert.message_hash(), number, method_of(alert), "{}", basis, time.time())
        await self.verifier.transaction(lambda connection: record_raised(connection, row))

    async def reorganise(self, fork_point: int) -> None:
        await self.verifier.transaction(lambda connection: mark_replaced(connection, fork_point))

    async def operator(self, source: VerdictSource | str | None = "file", **options: Any) -> Operator:
        if source == "file":
            source = DatabaseVerdicts(self.verifier_url, chain_id=L2_CHAIN_ID, timeout_s=5)
        assert not isinstance(source, str)
        folder = self.folder / secrets.token_hex(4)
        operator = Operator(folder, source, self.aggregator_url, options, self.stack)
        await operator.start()
        self.stack.push_async_callback(operator.stop)
        return operator

    @property
    def verifier_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.folder / 'verifier.sqlite'}"


@asynccontextmanager
async def verdict_api(world: World, secret: VerdictApiSecret) -> AsyncIterator[str]:
    app = VerdictApi(world.verifier, VerdictLog(world.verifier), secret, L2_CHAIN_ID).application()
    runner, port = await start_site(app, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_world(folder: Path) -> AsyncIterator[World]:
    """Ends with everything that was started in it."""
    async with AsyncExitStack() as stack:
        verifier = await open_database(f"sqlite+aiosqlite:///{folder / 'verifier.sqlite'}", "verifier")
        stack.push_async_callback(verifier.close)
        await claim_database(verifier, L2_CHAIN_ID)
        aggregator = Aggregator()
        server = JsonRpcServer(
            {"aggregator_createTask": aggregator.create, "aggregator_processSignedTaskResponse": aggregator.take},
            AGGREGATOR_DIALECT,
        )
        await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.stop)
        yield World(folder, verifier, aggregator, f"http://127.0.0.1:{server.port}", stack)
