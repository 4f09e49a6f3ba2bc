"""Cross-check mode on a real chain behind several endpoints: some away, some lying, one on another branch."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from mach.config.cross_check import CrossCheckConfig
from mach.devnet.anvil import Anvil
from mach.devnet.layout import L1_CHAIN_ID, LOOPBACK, Ports
from mach.errors import EnvironmentFaultError
from mach.protocol.alerts import BlockMismatch
from mach.transport.jsonrpc_client import JsonRpcClient
from mach.verifier.cross_check_service import run_cross_check
from tests.contracts.l1_proxy import L1Proxy, l1_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DEADLINE_S = 30.0
LIE = "0x" + "66" * 32


@dataclass
class World:
    """One chain, endpoints before it, and what a cross-check of them recorded."""

    folder: Path
    anvil: Anvil
    stack: AsyncExitStack
    proxies: list[L1Proxy] = field(default_factory=list)
    endpoints: list[str] = field(default_factory=list)
    metrics_port: int = 0
    running: asyncio.Task[None] | None = None

    async def add(self, *providers: str) -> None:
        for provider in providers:
            proxy = await self.stack.enter_async_context(l1_proxy(self.anvil.url))
            self.proxies.append(proxy)
            self.endpoints.append(f"{provider}={proxy.url}")

    @asynccontextmanager
    async def checking(self, **settings: Any) -> AsyncIterator[None]:
        """The service runs within the block, as the command runs it; it must not fail."""
        defaults: dict[str, Any] = {
            "verifier_mode": "cross-check",
            "layer2_chain_id": L1_CHAIN_ID,
            "cross_check_endpoints": self.endpoints,
            "cross_check_agreement": 3,
            "database_url": f"sqlite+aiosqlite:///{self.folder / 'verifier.sqlite'}",
            "start_block": 1,
            "poll_interval_s": 0.02,
            "disagreement_settle_s": 0.2,
            "rpc_timeout_s": 5.0,
            "metrics_ip_port_address": f"{LOOPBACK}:{self.metrics_port}",
        }
        running = self.running = asyncio.create_task(run_cross_check(CrossCheckConfig(**defaults | settings)))
        try:
            yield
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.folder / 'verifier.sqlite'}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def verdicts(self) -> list[tuple[int, str, str]]:
        return self.rows("select block_number, verdict, basis from verdicts order by block_number, verdict")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        def held() -> bool:
            try:
                return condition()
            except sqlite3.OperationalError:  # the tables are being made
                return False

        try:
            async with asyncio.timeout(DEADLINE_S):
                while not held():
                    assert self.running is None or not self.running.done(), self.running.exception()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"not within {DEADLINE_S} s: {what}; verdicts: {self.verdicts()[-5:]}")

    async def agreed_up_to(self, number: int) -> None:
        await self.until(lambda: (number, "VALID", "agreement") in self.verdicts(), f"block {number} is agreed on")

    async def metrics(self) -> str:
        url = f"http://{LOOPBACK}:{self.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.text()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ports = Ports.free()
    async with AsyncExitStack() as stack:
        anvil = Anvil(ports.l1, tmp_path / "anvil.log")
        stack.push_async_callback(anvil.stop)
        await anvil.start()
        await anvil.mine(3)
        yield World(tmp_path, anvil, stack, metrics_port=ports.l2)


def lie_about(number: int) -> Callable[[dict[str, Any], dict[str, Any]], Any]:
    """Serves another state root and hash at one height."""

    def tamper(call: dict[str, Any], answer: dict[str, Any]) -> Any:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] == hex(number) and answer.get("result"):
            answer["result"] |= {"stateRoot": LIE, "hash": LIE}
        return answer

    return tamper


async def test_blocks_are_agreed_on_and_marked_as_agreement_and_a_restart_goes_on(world: World) -> None:
    await world.add("a", "a", "b", "c")
    async with world.checking():
        await world.agreed_up_to(3)
        text = await world.metrics()
        assert 'mach_cross_check_blocks_total{basis="agreement",verdict="VALID"} 3.0' in text
        assert 'mach_cross_check_endpoint_up{endpoint="b/3",provider="b"} 1.0' in text
    await world.anvil.mine(20)
    async with world.checking():
        await world.agreed_up_to(23)
    assert world.verdicts() == [(number, "VALID", "agreement") for number in range(1, 24)]


async def test_endpoints_that_are_away_do_not_lower_what_is_required(world: World) -> None:
    await world.add("a", "b", "c", "d")
    async with world.checking():
        await world.agreed_up_to(3)
        world.proxies[3].status = 503
        await world.anvil.mine(1)
        await world.agreed_up_to(4)  # three are left
        world.proxies[2].status = 503
        asked = len(world.proxies[0].requests)
        await world.anvil.mine(1)
        await world.until(lambda: len(world.proxies[0].requests) > asked + 5, "it goes on asking")
        assert "mach_cross_check_agreement_possible 0.0" in await world.metrics()
        assert world.verdicts()[-1] == (4, "VALID", "agreement")
        world.proxies[2].status = 200
        await world.agreed_up_to(5)


async def test_endpoints_of_one_provider_are_not_enough(world: World) -> None:
    await world.add("a", "a", "a", "b")
    world.proxies[3].status = 503
    async with world.checking():
        await world.until(lambda: len(world.proxies[0].requests) > 8, "it asks")
        assert world.verdicts() == []
        world.proxies[3].status = 200
        await world.agreed_up_to(3)


async def test_an_endpoint_that_serves_another_block_is_told_with_the_evidence(world: World) -> None:
    await world.add("a", "b", "c", "d")
    world.proxies[1].tamper = lie_about(2)
    async with world.checking():
        await world.agreed_up_to(3)
        await world.until(lambda: (2, "INVALID", "agreement") in world.verdicts(), "the lie is told")
        await world.until(lambda: world.rows("select state from disagreements") == [("stands",)], "it stands")
        assert 'mach_cross_check_disagreements_total{endpoint="b/2",provider="b"} 1.0' in await world.metrics()
    ((served_by, reason, fields),) = world.rows(
        "select served_by, reason, fields from verdicts where verdict = 'INVALID'"
    )
    assert served_by == "b/2"
    assert "3 endpoints of 3 providers agree" in reason
    assert "not re-executed" in reason
    assert [one["field"] for one in json.loads(fields)] == ["hash", "stateRoot"]
    ((evidence,),) = world.rows("select evidence from disagreements")
    headers = {name: one["header"]["stateRoot"] for name, one in json.loads(evidence).items()}
    assert headers["b/2"] == LIE
    assert len({headers[name] for name in ("a/1", "c/3", "d/4")}) == 1
    assert world.rows("select * from raised_alerts") == []
    assert (2, "VALID", "agreement") in world.verdicts()


async def test_an_alert_by_agreement_is_raised_only_if_told_to_and_says_what_it_is(world: World) -> None:
    await world.add("a", "b", "c", "d")
    world.proxies[1].tamper = lie_about(2)
    operator = "http://127.0.0.1:1"
    async with world.checking(alert_on_disagreement=True, operators=[operator]):
        await world.until(lambda: bool(world.rows("select * from raised_alerts")), "the alert is raised")
    async with JsonRpcClient(world.anvil.url) as client:
        truth = await client.call("eth_getBlockByNumber", "0x2", False)
    alert = BlockMismatch(bytes.fromhex(LIE[2:]), bytes.fromhex(truth["hash"][2:]), 2)
    ((message_hash, basis, params),) = world.rows("select message_hash, basis, params from raised_alerts")
    assert (message_hash, basis, json.loads(params)["basis"]) == (alert.message_hash(), "agreement", "agreement")
    assert world.rows("select operator_url, message_hash from deliveries") == [(operator, alert.message_hash())]


async def test_no_block_with_enough_endpoints_is_inconclusive(world: World) -> None:
    await world.add("a", "b", "c", "d")
    for proxy in world.proxies[:2]:
        proxy.tamper = lie_about(2)
    async with world.checking():
        await world.until(lambda: (2, "INCONCLUSIVE", "agreement") in world.verdicts(), "block 2 is inconclusive")
        assert [row for row in world.verdicts() if row[0] > 2] == []
        ((reason,),) = world.rows("select reason from verdicts where verdict = 'INCONCLUSIVE'")
        assert "no block has enough of them" in reason
        for proxy in world.proxies[:2]:
            proxy.tamper = None
        await world.agreed_up_to(3)
    assert not any(verdict == "INVALID" for _, verdict, _ in world.verdicts())


async def test_a_reorganisation_is_followed_and_a_late_endpoint_is_no_disagreement(world: World) -> None:
    await world.add("a", "b", "c", "d")
    async with world.checking(disagreement_settle_s=1.0), JsonRpcClient(world.anvil.url) as client:
        snapshot = await client.call("evm_snapshot")
        await world.anvil.mine(3)
        await world.agreed_up_to(6)
        old = {number: await client.call("eth_getBlockByNumber", hex(number), False) for number in (4, 5, 6)}

        def on_the_old_branch(call: dict[str, Any], answer: dict[str, Any]) -> Any:
            number = int(call["params"][0], 16) if call["method"] == "eth_getBlockByNumber" else 0
            return answer | {"result": old[number]} if number in old else answer

        world.proxies[3].tamper = on_the_old_branch
        await client.call("evm_revert", snapshot)
        await client.call("evm_increaseTime", 1000)
        await world.anvil.mine(5)
        await world.agreed_up_to(8)
        await world.until(lambda: bool(world.rows("select * from disagreements")), "it is noticed")
        world.proxies[3].tamper = None  # it has caught up
        await world.until(
            lambda: {row[0] for row in world.rows("select state from disagreements")} == {"settled"}, "they settle"
        )
    assert not any(verdict == "INVALID" for _, verdict, _ in world.verdicts())
    replaced = world.rows("select block_number from replaced_blocks order by block_number")
    assert replaced == [(4,), (5,), (6,)]
    assert [number for number, *_ in world.verdicts()].count(5) == 2


async def test_an_endpoint_of_another_chain_is_refused(world: World) -> None:
    await world.add("a", "b", "c")
    config = {"verifier_mode": "cross-check", "cross_check_endpoints": world.endpoints, "cross_check_agreement": 2}
    with pytest.raises(EnvironmentFaultError, match="endpoint a/1 .* serves chain id 31337, layer2_chain_id is 42161"):
        await run_cross_check(CrossCheckConfig(**config, layer2_chain_id=42161))  # type: ignore[arg-type]
