"""`make bench`: alerts through real services, from the operators' doors to AlertConfirmed on an L1 with instant mining.

One aggregator and three operator signers, each a process of its own with durable state. Confirmations are heard of over
anvil's websocket, so that waiting for them asks nothing of anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tests.contracts.l1_proxy import l1_proxy
from tests.e2e.conftest import OPERATOR_NAMES, bls_network
from tests.e2e.test_bls_mode import alert

from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import LOOPBACK
from mach.keys import load_bls_keystore
from mach.operator.rpc import FINISHED_CODE
from mach.protocol.alerts import sign_hash
from mach.protocol.hashing import keccak256
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture
    from tests.e2e.conftest import BlsNetwork

ALERT_CONFIRMED = "0x" + keccak256(b"AlertConfirmed(bytes32,bytes32)").hex()
ROUNDS, BURST = 1_000, 200
ROUNDS_UNMEASURED, BURST_UNMEASURED = 10, 20

pytestmark = pytest.mark.timeout(900)


class Confirmations:
    """When each alert was confirmed, by message hash, as told by the L1 node."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.events = 0
        self._news = asyncio.Condition()

    async def follow(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            log = message.json().get("params", {}).get("result")
            if log is None:
                continue
            async with self._news:
                self.events += 1
                self.seconds[log["data"][:66]] = time.perf_counter()
                self._news.notify_all()

    async def until(self, reached: Callable[[], bool], deadline_s: float = 60.0) -> None:
        async with asyncio.timeout(deadline_s), self._news:
            await self._news.wait_for(reached)


@contextlib.asynccontextmanager
async def confirmations_of(network: BlsNetwork) -> AsyncIterator[Confirmations]:
    """Confirmations from now on."""
    url = network.anvil.url.replace("http://", "ws://")
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        wanted = {"address": network.deployment.mach_service_manager, "topics": [ALERT_CONFIRMED]}
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["logs", wanted]})
        assert "result" in await socket.receive_json(timeout=10)
        found = Confirmations()
        following = asyncio.create_task(found.follow(socket))
        try:
            yield found
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def doors(ports: tuple[int, ...]) -> AsyncIterator[list[JsonRpcClient]]:
    """Kept-alive connections to JSON-RPC ports, as verifiers keep them."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                JsonRpcClient(f"http://{LOOPBACK}:{port}", timeout_s=60.0, max_connections=64)
            )
            for port in ports
        ]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[BlsNetwork, Confirmations, list[JsonRpcClient]]]:
    """A network with its services, its confirmations, and the operators' doors."""
    async with bls_network(folder) as network:
        await network.start("aggregator", *OPERATOR_NAMES)
        async with confirmations_of(network) as confirmed, doors(network.ports.operators) as operators:
            yield network, confirmed, operators


async def raise_alert(door: JsonRpcClient, params: dict[str, Any]) -> None:
    """At one operator; a late one may be told that the alert is finished."""
    try:
        await door.call_with("alert_blockMismatch", params)
    except PeerRefusedError as error:
        if error.code != FINISHED_CODE:
            raise


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50_ms": round(1e3 * statistics.median(seconds), 2), "p99_ms": round(1e3 * cuts[98], 2)}


def run_once(benchmark: BenchmarkFixture, work: Callable[[], Any]) -> None:
    """Runs a whole measurement, whose figures are its own."""
    benchmark.pedantic(work, rounds=1)
    print(f"\n{benchmark.extra_info}")


@pytest.mark.parametrize("apart_s", [0.0, 0.05], ids=["at once", "50 ms apart"])
def test_alert_at_the_operators_to_confirmation(benchmark: BenchmarkFixture, tmp_path: Path, apart_s: float) -> None:
    """The same alert at three operators, again and again: every one is confirmed, with one task each."""
    rounds = (ROUNDS if apart_s == 0 else 100) if benchmark.enabled else ROUNDS_UNMEASURED

    async def measure() -> None:
        taken = []
        async with running(tmp_path) as (network, confirmed, operators):
            for number in range(1, rounds + 1):
                params, message_hash = alert(number)
                started = time.perf_counter()
                async with asyncio.TaskGroup() as group:
                    for place, door in enumerate(operators):
                        group.create_task(later(place * apart_s, raise_alert(door, params)))
                await confirmed.until(lambda wanted=message_hash: wanted in confirmed.seconds)  # type: ignore[misc]
                taken.append(confirmed.seconds[message_hash] - started)
            tasks = len(network.seen("aggregator", "task.created"))
        assert (tasks, confirmed.events, len(confirmed.seconds)) == (rounds, rounds, rounds)
        benchmark.extra_info.update(rounds=rounds, tasks=tasks, confirmed=len(taken), **milliseconds(taken))

    run_once(benchmark, lambda: asyncio.run(measure()))


async def later(seconds: float, work: Any) -> None:
    await asyncio.sleep(seconds)
    await work


def test_last_needed_signature_to_transaction(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """From the request with the quorum's last signature to the transaction's arrival at the L1 node."""
    rounds = ROUNDS if benchmark.enabled else ROUNDS_UNMEASURED

    async def measure() -> None:
        sent: list[float] = []
        taken = []

        def note(call: dict[str, Any]) -> None:
            if call["method"] == "eth_sendRawTransaction":
                sent.append(time.perf_counter())

        async with bls_network(tmp_path) as network, l1_proxy(network.anvil.url) as proxy:
            proxy.on_call = note
            network.configure("aggregator", eth_rpc_url=proxy.url, late_signature_window_s=0)
            await network.start("aggregator")
            keys = [
                load_bls_keystore(network.layout.bls_key(name), network.layout.password(name).read_text().strip())
                for name in OPERATOR_NAMES[:2]
            ]
            async with confirmations_of(network) as confirmed, doors((network.ports.aggregator,)) as (door,):
                for number in range(rounds):
                    message_hash = alert(number + 1)[1]
                    task = await door.call("aggregator_createTask", message_hash)
                    digest = sign_hash(bytes.fromhex(message_hash[2:]), task["reference_block_number"], L2_CHAIN_ID)
                    started = 0.0
                    for key in keys:
                        signature = "0x" + key.sign(digest).to_bytes().hex()
                        operator_id = "0x" + key.public_key_g1.operator_id.hex()
                        started = time.perf_counter()
                        await door.call("aggregator_processSignedTaskResponse", task, signature, operator_id)
                    await confirmed.until(lambda wanted=message_hash: wanted in confirmed.seconds)  # type: ignore[misc]
                    taken.append(sent[number] - started)
            inside = [event["seconds_since_quorum"] for event in network.seen("aggregator", "task.submitted")]
        assert len(sent) == rounds
        benchmark.extra_info.update(
            rounds=rounds, **milliseconds(taken), quorum_to_signed_transaction=milliseconds(inside)
        )

    run_once(benchmark, lambda: asyncio.run(measure()))


def test_a_burst_of_different_alerts(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Different alerts at three operators all at once, until the last is confirmed."""
    burst = BURST if benchmark.enabled else BURST_UNMEASURED

    async def measure() -> None:
        async with running(tmp_path) as (_, confirmed, operators):
            started = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for number in range(1, burst + 1):
                    params, _ = alert(number)
                    for door in operators:
                        group.create_task(raise_alert(door, params))
            await confirmed.until(lambda: len(confirmed.seconds) == burst, 300)
            seconds = time.perf_counter() - started
        assert confirmed.events == burst
        benchmark.extra_info.update(
            alerts=burst, seconds=round(seconds, 2), confirmations_per_s=round(burst / seconds, 1)
        )

    run_once(benchmark, lambda: asyncio.run(measure()))
