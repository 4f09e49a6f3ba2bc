"""Two aggregator replicas on one PostgreSQL, killed again and again, over an L1 that stops: nothing lost or doubled.

The alerts come through three real operator signers; the L1 is a real anvil. `make test` runs a short version,
`make test-all` the whole: 200 alerts, a kill every few seconds, two stops of the L1 of 10 s each.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from rich.console import Console
from rich.table import Table

from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import LOOPBACK, Ports

from .conftest import OPERATOR_NAMES
from .test_bls_mode import alert

if TYPE_CHECKING:
    from .conftest import BlsNetwork

REPLICAS = ("aggregator", "aggregator-2")
POLL_S = 0.2


@dataclass(frozen=True)
class Chaos:
    """How much of it."""

    alerts: int
    seconds_between_alerts: float
    seconds_between_kills: float
    l1_stops_s: tuple[float, ...]
    deadline_s: float


async def prepare(network: BlsNetwork, postgres_url: str) -> None:
    """Two replicas on one database; every operator knows both."""
    second = Ports.free().aggregator
    network.configure("aggregator", database_url=postgres_url, late_signature_window_s=0.05, l1_poll_interval_s=0.1)
    settings = yaml.safe_load(network.layout.config("aggregator").read_text())
    settings["aggregator_jsonrpc_server_ip_port_address"] = f"{LOOPBACK}:{second}"
    network.layout.config("aggregator-2").write_text(yaml.safe_dump(settings))
    addresses = [f"{LOOPBACK}:{network.ports.aggregator}", f"{LOOPBACK}:{second}"]
    for name in OPERATOR_NAMES:
        network.configure(name, aggregator_jsonrpc_server_ip_port_address=addresses, submit_deadline_s=2.0)
    await network.start(*REPLICAS)
    await network.start(*OPERATOR_NAMES)


async def raise_all(network: BlsNetwork, numbers: range, pause_s: float) -> None:
    """Each alert at all three operators at once; whatever they answer, it is in their outboxes."""
    pending = []
    for number in numbers:
        params, _ = alert(number)
        pending.append(asyncio.create_task(network.raise_at_all(params)))
        await asyncio.sleep(pause_s)
    await asyncio.gather(*pending)


async def kill_replicas(network: BlsNetwork, every_s: float, kills: Counter[str], seed: int) -> None:
    """kill -9 of one replica after another, each started again at once, until cancelled."""
    dice = random.Random(seed)
    for name in itertools.cycle(REPLICAS):
        await asyncio.sleep(every_s * dice.uniform(0.7, 1.3))
        await network.kill(name)
        kills[name] += 1
        await network.start(name)


async def stop_l1(network: BlsNetwork, stops_s: tuple[float, ...], pause_s: float) -> None:
    """Freezes anvil for so long, so many times."""
    pid = network.anvil.process.pid
    assert pid is not None
    for seconds in stops_s:
        await asyncio.sleep(pause_s)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)


async def run_chaos(network: BlsNetwork, postgres_url: str, chaos: Chaos) -> None:
    await prepare(network, postgres_url)
    numbers = range(1, chaos.alerts + 1)
    wanted = {bytes.fromhex(alert(number)[1][2:]) for number in numbers}
    kills: Counter[str] = Counter()
    started = time.monotonic()
    killing = asyncio.create_task(kill_replicas(network, chaos.seconds_between_kills, kills, seed=chaos.alerts))
    stopping = asyncio.create_task(stop_l1(network, chaos.l1_stops_s, chaos.alerts * chaos.seconds_between_alerts / 3))
    try:
        await raise_all(network, numbers, chaos.seconds_between_alerts)
        await stopping
        async with asyncio.timeout(chaos.deadline_s):
            while await network.manager.total_alerts(L2_CHAIN_ID) < chaos.alerts:
                assert not killing.done(), killing.exception()
                await asyncio.sleep(POLL_S)
    finally:
        killing.cancel()
        stopping.cancel()
        await asyncio.gather(killing, stopping, return_exceptions=True)
    for name in REPLICAS:
        if network.services[name].pid is None:  # the test ended between its kill and its start
            await network.start(name)
    seconds = time.monotonic() - started
    confirmed = Counter(await network.confirmations())
    events = await all_confirmations(network)
    table = Table(title="chaos: two replicas on one PostgreSQL, one L1, three operators")
    table.add_column("what")
    table.add_column("count", justify="right")
    for what, count in (
        ("alerts raised at three operators at once", chaos.alerts),
        ("kill -9 of a replica", sum(kills.values())),
        ("stops of the L1", len(chaos.l1_stops_s)),
        ("alerts confirmed on L1", len(confirmed)),
        ("AlertConfirmed events", sum(events.values())),
        ("lost", len(wanted - confirmed.keys())),
        ("double", sum(count - 1 for count in events.values())),
        (
            "terms of submitters",
            len(network.seen("aggregator", "submitter.began") + network.seen("aggregator-2", "submitter.began")),
        ),
        ("seconds", round(seconds)),
    ):
        table.add_row(what, str(count))
    Console(width=100).print(table)
    assert confirmed.keys() == wanted
    assert set(events.values()) == {1}
    assert events.keys() == wanted
    assert sum(kills.values()) > 0
    await finished_everywhere(network, chaos.alerts)


async def all_confirmations(network: BlsNetwork) -> Counter[bytes]:
    """AlertConfirmed events by message hash."""
    contract: Any = network.manager._contract
    logs = await contract.events.AlertConfirmed().get_logs(from_block=0)
    return Counter(bytes(log["args"]["messageHash"]) for log in logs)


async def finished_everywhere(network: BlsNetwork, alerts: int) -> None:
    """Both replicas come to know every alert as finished."""
    async with asyncio.timeout(60):
        for number in (1, alerts):
            _, message_hash = alert(number)
            while True:
                try:
                    await network.aggregator("aggregator_createTask", message_hash)
                except Exception as error:
                    if "already finished" in str(error):
                        break
                await asyncio.sleep(POLL_S)


@pytest.mark.timeout(300)
async def test_a_killed_replica_loses_and_doubles_nothing(network: BlsNetwork, postgres_url: str) -> None:
    await run_chaos(network, postgres_url, Chaos(20, 0.25, 2.0, (2.0,), 90))


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_two_hundred_alerts_through_kills_and_stops_of_the_l1(network: BlsNetwork, postgres_url: str) -> None:
    await run_chaos(network, postgres_url, Chaos(200, 0.4, 4.0, (10.0, 10.0), 300))
