"""Which endpoint is followed, how long a block has waited, what a websocket may say, and who hears of verdicts."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mach.rollup import endpoints as endpoints_module
from mach.rollup.endpoints import Endpoint, EndpointSet, WitnessSupply
from mach.rollup.head_watch import subscribe_forever, web_socket_form
from mach.rollup.node import RollupNode
from mach.rollup.witness_repair import WitnessRepair
from mach.transport.jsonrpc_client import JsonRpcClient
from mach.transport.listening import start_site
from mach.verifier.lag import LagWatch
from mach.verifier.metrics import VerifierMetrics
from mach.verifier.progress import Progress
from mach.verifier.reexecution import Tip, Verdict
from mach.verifier.verdict_feed import VerdictFeed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(endpoints_module.time, "monotonic", moved.monotonic)
    return moved


def endpoint(name: str) -> Endpoint:
    node = RollupNode(JsonRpcClient(f"http://{name}"))
    return Endpoint(node, WitnessSupply((), WitnessRepair(())), name)


@pytest.fixture
def pair() -> tuple[EndpointSet, Endpoint, Endpoint]:
    first, second = endpoint("first"), endpoint("second")
    return EndpointSet([first, second], VerifierMetrics()), first, second


def test_the_endpoint_that_is_followed_is_kept_until_it_fails_or_falls_behind(
    pair: tuple[EndpointSet, Endpoint, Endpoint], clock: Clock
) -> None:
    both, first, second = pair
    assert both.answering() is None
    both.announce(first, 5)
    both.announce(second, 6)
    assert both.serving(5) is first
    assert both.serving(6) is None  # it may only be a little later
    clock.now += endpoints_module.SWITCH_AFTER_S
    assert both.serving(6) is second
    both.announce(first, 9)
    assert both.serving(7) is None
    assert both.serving(6) is second
    both.failed(second, "gone")
    assert both.serving(7) is first
    both.failed(first, "gone too")
    assert both.serving(7) is None
    assert both.answering() is None
    assert both.highest is None


def test_an_endpoint_that_is_of_no_use_is_set_aside_for_longer_each_time(
    pair: tuple[EndpointSet, Endpoint, Endpoint], clock: Clock
) -> None:
    both, first, second = pair
    both.announce(first, 5)
    both.announce(second, 5)
    both.set_aside(first, "INCONCLUSIVE")
    assert both.serving(5) is second
    pauses = []
    for _ in range(8):
        both.set_aside(second, "INCONCLUSIVE")
        pauses.append(second.set_aside_until - clock.now)
    assert pauses[-1] > 4 * pauses[0]
    assert max(pauses) <= 15.0
    both.served_well(second)
    both.set_aside(second, "INCONCLUSIVE")
    assert second.set_aside_until - clock.now <= 0.2


def test_how_long_a_block_waits_is_counted_from_its_first_announcement(
    pair: tuple[EndpointSet, Endpoint, Endpoint], clock: Clock
) -> None:
    both, first, second = pair
    assert both.waiting_s(1) == 0.0
    both.announce(first, 3)
    clock.now += 10
    both.announce(second, 4)
    clock.now += 1
    both.announce(second, 2)  # a reorg to a lower head
    both.announce(second, 4)
    assert [both.waiting_s(number) for number in (1, 3, 4, 5)] == [11.0, 11.0, 1.0, 0.0]
    both.announce(first, 10**15)
    assert len(both._first_seen) == endpoints_module.REMEMBERED_HEIGHTS
    clock.now += 2
    assert both.waiting_s(1) == 2.0


def test_the_alarm_on_lag_comes_and_goes(pair: tuple[EndpointSet, Endpoint, Endpoint], clock: Clock) -> None:
    both, first, _ = pair
    progress = Progress()
    lag = LagWatch(both, progress, VerifierMetrics(), max_lag_s=5.0)
    lag.check()
    assert lag.alarm is None
    progress.tip = Tip(7, bytes(32), b"")
    both.announce(first, 9)
    clock.now += 4
    lag.check()
    assert lag.alarm is None
    clock.now += 2
    lag.check()
    assert lag.alarm == "block 8 has waited 6 s for its verdict"
    progress.tip = Tip(9, bytes(32), b"")
    lag.check()
    assert lag.alarm is None


async def test_waiting_for_an_endpoint_ends_when_one_can_be_used(
    pair: tuple[EndpointSet, Endpoint, Endpoint],
) -> None:
    both, first, _ = pair
    waiting = asyncio.create_task(both.wait_usable(30.0))
    await asyncio.sleep(0)
    both.announce(first, 1)
    async with asyncio.timeout(5):
        await waiting
    both.set_aside(first, "for 0.2 s at most")
    async with asyncio.timeout(5):
        await both.wait_usable(30.0)
    assert both.answering() is first
    both.failed(first, "gone")
    async with asyncio.timeout(5):
        await both.wait_usable(0.01)
    assert both.answering() is None


async def heads_from(handler: Callable[[web.WebSocketResponse], Awaitable[None]]) -> int:
    """How many heads a subscription hears of before the server's handler has run twice."""
    runs, heads = 0, 0
    twice = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        nonlocal runs
        runs += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await handler(socket)
        if runs == 2:
            twice.set()
        return socket

    def on_head() -> None:
        nonlocal heads
        heads += 1

    app = web.Application()
    app.router.add_get("/", serve)
    runner, port = await start_site(app, "127.0.0.1", 0)
    task = asyncio.create_task(subscribe_forever(f"ws://127.0.0.1:{port}", on_head))
    try:
        async with asyncio.timeout(10):
            await twice.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()
    return heads


async def test_a_subscription_is_opened_again_after_its_end() -> None:
    async def serve(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "result": "0xabc"})
        for _ in range(3):
            await socket.send_json({"jsonrpc": "2.0", "method": "eth_subscription", "params": {"result": {}}})
        await socket.close()

    assert await heads_from(serve) >= 4  # one for the opening, three announcements


@pytest.mark.parametrize(
    "said", ["", "{", "[]", "7", json.dumps({"error": {"code": -1}}), "[" * 10_000], ids=lambda said: repr(said[:12])
)
async def test_a_websocket_that_talks_nonsense_is_tried_again(said: str) -> None:
    async def serve(socket: web.WebSocketResponse) -> None:
        await socket.send_str(said)
        await socket.close()

    assert await heads_from(serve) == 0


@pytest.mark.parametrize("served", [True, False], ids=["no websocket there", "nobody there"])
async def test_the_secrets_of_a_url_stay_out_of_the_log(served: bool) -> None:
    runner, port = await start_site(web.Application(), "127.0.0.1", 0)
    if not served:
        await runner.cleanup()
    with capture_logs() as logs:
        task = asyncio.create_task(subscribe_forever(f"ws://user:hunter2@127.0.0.1:{port}/v3/apikey", lambda: None))
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()
    assert logs[0]["event"] == "subscription.away"
    assert str(port) in logs[0]["endpoint"]
    assert "hunter2" not in str(logs)
    assert "apikey" not in str(logs)


def test_the_websocket_beside_an_http_url() -> None:
    assert web_socket_form("http://node:8545/key") == "ws://node:8545/key"
    assert web_socket_form("https://node/v3/key?a=b") == "wss://node/v3/key?a=b"


def test_a_slow_subscriber_loses_the_oldest_verdicts_and_holds_up_nobody() -> None:
    feed = VerdictFeed()
    verdicts = [cast("Verdict", SimpleNamespace(verification=SimpleNamespace(number=number))) for number in range(5)]
    with feed.subscribe("slow", 2) as slow, feed.subscribe("quick", 10) as quick:
        for verdict in verdicts:
            feed.publish(verdict)
        assert [slow.get_nowait() for _ in range(2)] == verdicts[3:]
        assert [quick.get_nowait() for _ in range(5)] == verdicts
    feed.publish(verdicts[0])
    assert slow.empty()


async def test_progress_wakes_who_waits_for_a_height() -> None:
    progress = Progress()
    waiting: asyncio.Task[Any] = asyncio.create_task(progress.moved_beyond(4))
    await progress.move_to(Tip(4, bytes(32), b""))
    await asyncio.sleep(0)
    assert not waiting.done()
    await progress.move_to(Tip(6, bytes(32), b""))
    async with asyncio.timeout(5):
        assert (await waiting).number == 6
