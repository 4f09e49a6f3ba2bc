"""The head through lagging nodes, reorganisations and outages: consumers hold exactly what the chain holds.

The chain is a model behind a real HTTP server: an anvil neither lags nor answers two calls from two nodes.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from mach.chain.blocks import Block, ChainLog, LogFilter
from mach.chain.connection import connect, disconnect
from mach.chain.errors import L1UnavailableError
from mach.chain.head_follower import REREAD_BLOCKS, TURNS_OF_A_LOWER_HEAD, HeadFollower, NoHeadError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mach.chain.connection import L1Client

CONTRACT, TOPIC = b"\x11" * 20, b"\x22" * 32


@dataclass
class ModelBlock:
    number: int
    hash: bytes
    parent: bytes
    logs: int


@dataclass
class ModelChain:
    """A chain that is mined and reorganised, and how far the nodes behind the address lag for each method."""

    blocks: list[ModelBlock] = field(default_factory=list)
    salt: int = 0
    headers_behind: int = 0
    logs_behind: int = 0
    error: dict[str, Any] | None = None
    largest_range: int = 10**9
    requests: list[list[dict[str, Any]]] = field(default_factory=list)

    def mine(self, *logs: int) -> None:
        for count in logs:
            parent = self.blocks[-1].hash if self.blocks else bytes(32)
            self.salt += 1
            digest = hashlib.sha256(parent + self.salt.to_bytes(8)).digest()
            self.blocks.append(ModelBlock(len(self.blocks), digest, parent, count))

    def reorganise(self, depth: int, *logs: int) -> None:
        del self.blocks[len(self.blocks) - depth :]
        self.mine(*logs)

    def keys(self) -> list[tuple[bytes, int]]:
        return [(block.hash, index) for block in self.blocks for index in range(block.logs)]

    async def handle(self, request: web.Request) -> web.Response:
        calls = await request.json()
        self.requests.append(calls if isinstance(calls, list) else [calls])
        if isinstance(calls, dict):
            return web.json_response(self.answer(calls))
        return web.json_response([self.answer(call) for call in calls])

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        if self.error is not None:
            return {"jsonrpc": "2.0", "id": call["id"], "error": self.error}
        try:
            result = getattr(self, call["method"])(*call["params"])
        except OverflowError as error:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": str(error)}}
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}

    def eth_chainId(self) -> str:  # noqa: N802 - the method's name
        return "0x7a69"

    def eth_getBlockByNumber(self, number: str, _: bool) -> dict[str, Any] | None:  # noqa: N802
        seen = self.blocks[: max(len(self.blocks) - self.headers_behind, 1)]
        index = len(seen) - 1 if number == "latest" else int(number, 16)
        if not 0 <= index < len(seen):
            return None
        block = seen[index]
        return {
            "number": hex(block.number),
            "hash": "0x" + block.hash.hex(),
            "parentHash": "0x" + block.parent.hex(),
            "timestamp": "0x1",
            "baseFeePerGas": "0x7",
        }

    def eth_getLogs(self, criteria: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802
        seen = self.blocks[: max(len(self.blocks) - self.logs_behind, 1)]
        first = int(criteria["fromBlock"], 16)
        last = seen[-1].number if criteria["toBlock"] == "latest" else int(criteria["toBlock"], 16)
        if last - first >= self.largest_range:
            raise OverflowError("range too large")
        return [
            {
                "address": "0x" + CONTRACT.hex(),
                "topics": ["0x" + TOPIC.hex()],
                "data": "0x",
                "blockNumber": hex(block.number),
                "blockHash": "0x" + block.hash.hex(),
                "transactionHash": "0x" + bytes(32).hex(),
                "logIndex": hex(index),
            }
            for block in seen
            if first <= block.number <= last
            for index in range(block.logs)
        ]


class Recorder:
    """Holds the logs of the branch it was told of, and checks the order in which it is told."""

    wanted = LogFilter(frozenset({CONTRACT}), frozenset({TOPIC}))

    def __init__(self) -> None:
        self.logs: list[ChainLog] = []
        self.heads: list[Block] = []
        self.restarts = 0
        self.fail = 0

    async def restart(self, head: Block) -> None:
        self.restarts += 1
        self.logs = []

    async def advance(self, head: Block, logs: Sequence[ChainLog]) -> None:
        if self.fail:
            self.fail -= 1
            raise L1UnavailableError("not now")
        known = {log.key for log in self.logs}
        assert not known & {log.key for log in logs}
        assert [log.key for log in logs] == [
            log.key for log in sorted(logs, key=lambda log: (log.block_number, log.log_index))
        ]
        self.logs += logs
        self.heads.append(head)

    def rewind(self, last_valid: int) -> None:
        self.logs = [log for log in self.logs if log.block_number <= last_valid]


@pytest.fixture
async def chain() -> ModelChain:
    model = ModelChain()
    model.mine(0, 0, 0)
    return model


@pytest.fixture
async def w3(chain: ModelChain) -> AsyncIterator[L1Client]:
    application = web.Application()
    application.router.add_post("/", chain.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    client = await connect(f"http://{host}:{port}", 31337)
    chain.requests.clear()
    yield client
    await disconnect(client)
    await runner.cleanup()


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def follower(w3: L1Client, recorder: Recorder) -> HeadFollower:
    return HeadFollower(w3, [recorder], poll_interval_s=0.005)


def held(recorder: Recorder) -> list[tuple[bytes, int]]:
    return [log.key for log in recorder.logs]


async def test_nothing_is_known_before_the_first_turn(follower: HeadFollower) -> None:
    with pytest.raises(NoHeadError, match="not known yet"):
        _ = follower.head
    assert follower.age_s == float("inf")
    assert await follower.poll()
    assert follower.head.number == 2
    assert follower.age_s < 5


async def test_each_turn_is_one_request_and_brings_each_log_once(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder
) -> None:
    await follower.poll()
    for logs in ([1], [0], [2, 0, 3], [0] * 30, [1] * 30, []):
        chain.mine(*logs)
        before = len(chain.requests)
        assert await follower.poll() == bool(logs)
        assert len(chain.requests) == before + 1
        assert held(recorder) == chain.keys()
    assert follower.head.hash == chain.blocks[-1].hash
    assert recorder.restarts == 1
    assert follower.reorganisations == 0


@pytest.mark.parametrize("depth", [1, 2, 7, 40, 90])
async def test_a_reorganisation_is_followed(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder, depth: int
) -> None:
    await follower.poll()
    for _ in range(100):
        chain.mine(1)
        await follower.poll()
    old = chain.blocks[-1]
    chain.reorganise(depth, *[2] * (depth + 1))
    assert await follower.poll()
    assert held(recorder) == chain.keys()
    assert (recorder.restarts, follower.reorganisations) == (1, 1)
    assert follower.is_canonical(old.number, old.hash) in (False, None)
    assert follower.is_canonical(chain.blocks[-1].number, chain.blocks[-1].hash) is True
    assert follower.is_canonical(old.number + 50, old.hash) is None


async def test_a_reorganisation_to_the_same_height_is_noticed(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder
) -> None:
    await follower.poll()
    chain.mine(1, 1)
    await follower.poll()
    chain.reorganise(1, 3)
    assert await follower.poll()
    assert held(recorder) == chain.keys()
    assert follower.is_canonical(4, chain.blocks[4].hash) is True


async def test_a_reorganisation_of_everything_known_starts_anew(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder
) -> None:
    await follower.poll()
    chain.mine(1)
    await follower.poll()
    chain.reorganise(len(chain.blocks), *[0] * 9)
    assert await follower.poll()
    assert recorder.restarts == 2
    assert follower.head.hash == chain.blocks[-1].hash
    chain.mine(2)
    await follower.poll()
    assert held(recorder) == chain.keys()


async def test_a_node_that_lags_takes_nothing_back(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder
) -> None:
    await follower.poll()
    chain.mine(1, 1, 1)
    await follower.poll()
    chain.headers_behind = chain.logs_behind = 2
    for _ in range(TURNS_OF_A_LOWER_HEAD - 1):
        assert not await follower.poll()
    assert follower.head.number == 5
    chain.headers_behind = chain.logs_behind = 0
    assert not await follower.poll()
    assert held(recorder) == chain.keys()
    assert follower.reorganisations == 0


async def test_a_chain_that_stays_shorter_is_believed(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder
) -> None:
    await follower.poll()
    for _ in range(3):
        chain.mine(1)
        await follower.poll()
    chain.reorganise(2)
    for _ in range(TURNS_OF_A_LOWER_HEAD):
        await follower.poll()
    assert follower.head.hash == chain.blocks[-1].hash
    assert held(recorder) == chain.keys()


@pytest.mark.parametrize("behind", [1, 3, REREAD_BLOCKS])
async def test_logs_that_come_late_are_taken_late(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder, behind: int
) -> None:
    await follower.poll()
    chain.logs_behind = behind
    for _ in range(behind):
        chain.mine(1)
        await follower.poll()
    assert held(recorder) == []
    chain.logs_behind = 0
    assert await follower.poll()
    assert held(recorder) == chain.keys()


async def test_logs_ahead_of_the_header_wait_for_it(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder
) -> None:
    await follower.poll()
    chain.mine(1)
    await follower.poll()
    chain.mine(1, 1)
    chain.headers_behind = 1
    assert await follower.poll()
    assert held(recorder) == chain.keys()[:-1]
    chain.headers_behind = 0
    assert await follower.poll()
    assert held(recorder) == chain.keys()


async def test_a_consumer_that_fails_gets_the_same_head_again(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder
) -> None:
    await follower.poll()
    chain.mine(1, 2)
    recorder.fail = 2
    for _ in range(2):
        with pytest.raises(L1UnavailableError, match="not now"):
            await follower.poll()
        assert follower.head.number == 2
    assert await follower.poll()
    assert held(recorder) == chain.keys()


async def test_a_long_pause_is_read_in_parts(chain: ModelChain, follower: HeadFollower, recorder: Recorder) -> None:
    await follower.poll()
    chain.mine(*[1] * 60_00)
    chain.largest_range = 1_000
    assert await follower.poll()
    assert held(recorder) == chain.keys()


@pytest.mark.parametrize("seed", range(12))
async def test_any_history_ends_in_what_the_chain_holds(
    chain: ModelChain, follower: HeadFollower, recorder: Recorder, seed: int
) -> None:
    luck = random.Random(seed)
    await follower.poll()
    for _ in range(120):
        match luck.randrange(6):
            case 0 | 1 | 2:
                chain.mine(*(luck.randrange(3) for _ in range(luck.randrange(1, 4))))
            case 3:
                depth = luck.randrange(1, min(12, len(chain.blocks) - 2) + 1)
                chain.reorganise(depth, *(luck.randrange(3) for _ in range(depth + luck.randrange(3))))
            case 4:
                chain.headers_behind, chain.logs_behind = luck.randrange(3), luck.randrange(REREAD_BLOCKS - 2)
            case _:
                recorder.fail = luck.randrange(2)
        try:
            await follower.poll()
        except L1UnavailableError:
            continue
    recorder.fail = chain.headers_behind = chain.logs_behind = 0
    chain.mine(1)
    for _ in range(TURNS_OF_A_LOWER_HEAD + 1):
        await follower.poll()
    assert follower.head.hash == chain.blocks[-1].hash
    if recorder.restarts == 1:
        assert held(recorder) == chain.keys()


async def test_heads_are_told_and_waited_for(chain: ModelChain, follower: HeadFollower) -> None:
    told: list[int] = []
    follower.add_listener(lambda head: told.append(head.number))
    running = asyncio.create_task(follower.run())
    try:
        assert (await follower.wait_for_block(2, 5)).number == 2
        chain.mine(0)
        assert (await follower.wait_for_block(3, 5)).number == 3
        chain.mine(0)
        async with asyncio.timeout(5):
            async for head in follower.heads():
                if head.number == 4:
                    break
        with pytest.raises(L1UnavailableError, match=r"block 99 of the L1 did not come within 0.05 s"):
            await follower.wait_for_block(99, 0.05)
    finally:
        running.cancel()
    assert told == [2, 3, 4]


async def test_following_outlives_a_node_that_refuses(chain: ModelChain, follower: HeadFollower) -> None:
    chain.error = {"code": -32000, "message": "syncing"}
    running = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(5):
            while len(chain.requests) < 3:
                await asyncio.sleep(0.001)
        assert not running.done()
        chain.error = None
        assert (await follower.wait_for_block(2, 10)).number == 2
    finally:
        running.cancel()
