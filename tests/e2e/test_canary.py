"""Selective poisoning on a real op-geth chain: the verifier's own node tells the truth, users are lied to."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from mach.config.verifier import VerifierConfig
from mach.devnet.faults import Fault, FaultKind
from mach.devnet.layout import LOOPBACK, Ports
from mach.devnet.lying_node import LyingNode
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.traffic import Traffic, TrafficSettings
from mach.verifier.canary_profile import BUILT_IN, PROBED
from mach.verifier.service import run_verifier
from tests.poisoning_proxy import PoisoningProxy, poisoning_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DEADLINE_S = 60.0


@dataclass
class World:
    """A chain that goes on, its honest node, and users' way to it."""

    folder: Path
    sequencer: Sequencer
    proxy: PoisoningProxy
    stack: AsyncExitStack
    building: asyncio.Task[None]
    running: asyncio.Task[None] | None = None

    async def pause(self) -> None:
        """No more blocks."""
        self.building.cancel()
        await asyncio.gather(self.building, return_exceptions=True)

    @asynccontextmanager
    async def watching(self, **settings: Any) -> AsyncIterator[None]:
        """A verifier with a canary in it, as the command runs it."""
        defaults: dict[str, Any] = {
            "l2_rpc_url": [self.sequencer.http_url],
            "layer2_chain_id": self.sequencer.settings.chain_id,
            "l2_chain_config": self.sequencer.chain_config_file,
            "database_url": f"sqlite+aiosqlite:///{self.folder / 'verifier.sqlite'}",
            "start_block": 1,
            "poll_interval_s": 0.05,
            "canary_targets": [f"{self.proxy.url}/v3/key"],
            "canary_interval_s": 0.02,
            "canary_settle_s": 3.0,
        }
        self.running = asyncio.create_task(run_verifier(VerifierConfig(**defaults | settings)))
        try:
            yield
            assert not self.running.done(), self.running.exception()
        finally:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"file:{self.folder / 'verifier.sqlite'}?mode=ro", uri=True)) as database:
                return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # the tables are being made
            return []

    def findings(self) -> list[tuple[str, str, str | None]]:
        return self.rows("select method, reason, alert from canary_findings order by id")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    assert self.running is not None
                    assert not self.running.done(), self.running.exception()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"not within {DEADLINE_S} s: {what}; found: {self.findings()[:5]}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ports = Ports.free()
    settings = SequencerSettings(tmp_path / "l2", http_port=ports.l2, auth_port=ports.l2_auth, block_time_s=0.4)
    async with AsyncExitStack() as stack:
        sequencer = await stack.enter_async_context(Sequencer(settings))
        traffic = await stack.enter_async_context(Traffic(TrafficSettings(sequencer.http_url, pool_depth=4)))
        building = asyncio.create_task(sequencer.run(before_block=traffic.fill))
        proxy = await stack.enter_async_context(poisoning_proxy(sequencer.http_url))
        world = World(tmp_path, sequencer, proxy, stack, building)
        stack.push_async_callback(world.pause)
        yield world


async def test_an_honest_node_is_found_honest_and_no_request_looks_like_macs(world: World, tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("requests_per_user: 3")

    def enough() -> bool:
        methods = {seen.method for seen in world.proxy.seen}
        agents = {dict(seen.headers).get("User-Agent") or dict(seen.headers)["user-agent"] for seen in world.proxy.seen}
        return len(methods) == len(PROBED) and len(agents) == len(BUILT_IN) and len(world.proxy.seen) > 150

    async with world.watching(canary_profile=profile):
        await world.until(enough, "every client asks, and every method is asked")
    assert world.findings() == []
    shapes = {client.headers: client for client in BUILT_IN}
    of_users: Counter[str] = Counter()
    for seen in world.proxy.seen:
        assert seen.path == "/v3/key"
        own = tuple(header for header in seen.headers if header[0] not in ("Host", "Content-Length"))
        client = shapes[own]
        of_users[client.name] += 1
        document = json.loads(seen.body)
        assert tuple(document) == client.keys
        separators = (", ", ": ") if client.spaced else (",", ":")
        assert json.dumps(document, separators=separators).encode() == seen.body
        assert b"aiohttp" not in seen.body + repr(seen.headers).encode()
    assert set(of_users) == {client.name for client in BUILT_IN}


LIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "eth_getBalance": (lambda _: hex(10**30), "in no verified state"),
    "eth_getTransactionCount": (lambda truth: hex(int(truth, 16) + 7), "in no verified state"),
    "eth_getTransactionReceipt": (lambda truth: truth | {"status": "0x5"}, "the receipt's status are not true"),
    "eth_getLogs": (lambda logs: logs[1:] if logs else [{"address": "0x"}], "logs are not those"),
    "eth_getBlockByNumber": (lambda _: None, "is withheld"),
    "eth_blockNumber": (lambda _: "0x", "the head is"),
    "eth_chainId": (lambda _: "0x1", "another chain's id"),
    "eth_call": (lambda _: "0x" + "66" * 32, "own node computes another result"),
}


def poison(method: str, _params: list[Any], truth: Any) -> Any:
    return truth if method not in LIES or truth is None else LIES[method][0](truth)


async def test_lies_to_wallets_alone_are_seen_with_their_evidence(world: World) -> None:
    world.proxy.poison = poison
    world.proxy.victims = lambda headers: "Chrome" in headers.get("User-Agent", "")
    async with world.watching(canary_settle_s=1.0):
        await world.until(lambda: {row[0] for row in world.findings()} == set(LIES), "every lie is seen")
    for method, reason, alert in world.findings():
        assert LIES[method][1] in reason
        assert alert is None  # none of them proves itself
    evidence = world.rows("select target, client, method, request, answer from canary_findings")
    assert {row[1] for row in evidence} == {"wallet-in-browser"}
    assert all("key" not in row[0] for row in evidence)  # an API key is no evidence
    assert all(json.loads(row[3])["method"] == row[2] and "result" in json.loads(row[4]) for row in evidence)
    assert {verdict for (verdict,) in world.rows("select verdict from verdicts")} == {"VALID"}
    assert world.rows("select * from raised_alerts") == []


@pytest.mark.parametrize("kind", [FaultKind.RECEIPTS_ROOT, pytest.param(FaultKind.STATE_ROOT, marks=pytest.mark.slow)])
async def test_a_false_header_for_users_proves_itself_and_raises_the_alert_of_re_execution(
    world: World, tmp_path: Path, kind: FaultKind
) -> None:
    """The same alert as a verifier raises that is lied to itself."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps({"mix": {"eth_getBlockByNumber": 1}}))
    lying = LyingNode(world.sequencer.http_url, LOOPBACK, 0)
    await world.stack.enter_async_context(lying)
    await world.sequencer.wait_for_block(3)
    await world.pause()  # so that users go on asking about these few blocks
    lying.set_fault(Fault(kind, 2))
    world.proxy.victims_upstream = lying.url
    world.proxy.victims = lambda headers: "ethers" in headers.get("user-agent", "")
    async with world.watching(canary_profile=profile, canary_settle_s=1.0, operators=["http://127.0.0.1:1"]):
        await world.until(lambda: any(row[2] is not None for row in world.findings()), "the lie is proved")
    (raised,) = world.rows("select message_hash, block_number, basis from raised_alerts")
    assert raised[1:] == (2, "re-execution")
    assert world.rows("select message_hash from deliveries") == [(raised[0],)]
    invalid = world.rows("select block_number, block_hash from verdicts where verdict = 'INVALID'")
    assert lying.lie is not None
    assert invalid == [(2, bytes.fromhex(lying.lie.told_hash[2:]))]
    lied_to = replace(world, folder=tmp_path / "lied-to", running=None)
    lied_to.folder.mkdir()
    async with lied_to.watching(l2_rpc_url=[lying.url], canary_targets=[]):
        await lied_to.until(lambda: bool(lied_to.rows("select * from raised_alerts")), "a verifier is lied to")
    assert lied_to.rows("select message_hash from raised_alerts") == [(raised[0],)]
