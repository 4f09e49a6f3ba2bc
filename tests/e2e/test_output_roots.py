"""A false output root on L1, from the lie to the confirmed alert: a real L2, and real verifiers, which are killed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account

from mach.chain.connection import connection
from mach.chain.sender import TransactionSender
from mach.devnet.faults import ProposerFault
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import L1_CHAIN_ID
from mach.devnet.output_contracts import PROPOSER, deploy_output_contracts
from mach.devnet.proposer import OutputProposer, output_root
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.services import write_configs
from mach.devnet.traffic import Traffic, TrafficSettings
from mach.protocol.alerts import OutputOracleMismatch
from mach.transport.jsonrpc_client import JsonRpcClient

from .conftest import OPERATOR_NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import BlsNetwork

INTERVAL = 3
VERIFIERS = ("verifier1", "verifier2", "verifier3")


@dataclass
class Rollup:
    """The L2 and its proposer, both moved by hand."""

    sequencer: Sequencer
    traffic: Traffic
    proposer: OutputProposer
    l1_url: str

    async def build(self, blocks: int) -> int:
        """Builds blocks with transactions, and proposes what is due; returns the head's number."""
        number = 0
        for _ in range(blocks):
            await self.traffic.submit(3)
            number = await self.sequencer.produce_block()
        async with connection(self.l1_url, L1_CHAIN_ID) as w3, JsonRpcClient(self.sequencer.http_url) as l2:
            sender = TransactionSender(w3, Account.from_key(PROPOSER), L1_CHAIN_ID)
            await self.proposer.propose_due(w3, sender, l2)
        return number


@pytest.fixture
async def rollup(network: BlsNetwork) -> AsyncIterator[Rollup]:
    ports = network.ports
    contracts = await deploy_output_contracts(network.anvil.url, INTERVAL)
    write_configs(network.layout, ports, contracts)
    settings = SequencerSettings(network.layout.folder, http_port=ports.l2, auth_port=ports.l2_auth)
    async with AsyncExitStack() as stack:
        sequencer = await stack.enter_async_context(Sequencer(settings))
        traffic = await stack.enter_async_context(Traffic(TrafficSettings(sequencer.http_url)))
        for name in VERIFIERS:
            network.configure(name, l2_rpc_url=sequencer.http_url, oracle_confirmations=1)
        proposer = OutputProposer(network.anvil.url, sequencer.http_url, contracts, interval=INTERVAL)
        yield Rollup(sequencer, traffic, proposer, network.anvil.url)


async def agreed(network: BlsNetwork, name: str, block: int) -> None:
    await network.eventually(
        lambda: len(network.seen(name, "output.agrees", block=block)) == 2, f"{name} agrees about block {block}", 60
    )


@pytest.mark.timeout(300)
async def test_a_lie_while_a_verifier_is_dead_is_found_when_it_is_back_and_confirmed_by_all(
    network: BlsNetwork, rollup: Rollup
) -> None:
    await rollup.build(INTERVAL + 1)
    for name in OPERATOR_NAMES:
        network.configure(name, trust_alerts=False)
    await network.start("aggregator", *OPERATOR_NAMES, *VERIFIERS)
    for name in VERIFIERS:
        await agreed(network, name, INTERVAL)
    for name in VERIFIERS:
        await network.kill(name)
    rollup.proposer.set_fault(ProposerFault(INTERVAL + 1))
    lie_at = 2 * INTERVAL
    await rollup.build(INTERVAL + 1)
    await network.start(*VERIFIERS)
    async with JsonRpcClient(rollup.sequencer.http_url) as l2:
        truth = await output_root(l2, lie_at)
    alert = OutputOracleMismatch(truth, 1).message_hash()
    await network.eventually(
        lambda: bool(network.seen("aggregator", "task.confirmed", alert="0x" + alert.hex())), "it is confirmed", 60
    )
    for name in VERIFIERS:
        await network.eventually(lambda name=name: len(network.seen(name, "output.mismatch")) == 2, "all find it", 60)
        told = network.seen(name, "output.mismatch")
        assert {(event["kind"], event["index"], event["block"]) for event in told} == {
            ("L2OutputOracle", 1, lie_at),
            ("DisputeGameFactory", 1, lie_at),
        }
        assert not network.seen(name, "block.invalid")
        # What was judged before the end is not judged again.
        assert len(network.seen(name, "output.agrees", block=INTERVAL)) == 2
    await network.eventually(lambda: bool(network.seen("verifier1", "early_alert.confirmed")), "the early alert", 60)
    await rollup.build(INTERVAL)
    for name in VERIFIERS:
        await agreed(network, name, 3 * INTERVAL)
    assert await network.manager.contains(L2_CHAIN_ID, alert)
    assert await network.confirmations() == [alert]
    with closing(sqlite3.connect(network.layout.folder / "db" / "verifier1.sqlite")) as database:
        counts = dict(database.execute("select state, count(*) from output_proposals group by state"))
    assert counts == {"agrees": 4, "mismatch": 2}


async def test_an_l1_that_is_away_at_the_start_holds_up_no_block(network: BlsNetwork, rollup: Rollup) -> None:
    await rollup.build(INTERVAL)
    await network.anvil.stop()
    network.configure("verifier2", operators=[])
    await network.start("verifier2")
    await network.eventually(
        lambda: bool(network.seen("verifier2", "block.valid", block=INTERVAL)), "blocks are verified", 60
    )
    assert network.seen("verifier2", "oracle.away")


async def demo(folder: Path, *options: str) -> dict[str, Any]:
    """What `mach devnet demo` says at its end."""
    command = [
        str(Path(sys.executable).with_name("mach")),
        "devnet",
        "demo",
        "--folder",
        str(folder),
        "--json",
        *options,
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 380)
    assert process.returncode == 0, stderr.decode()
    result: dict[str, Any] = json.loads(stdout)
    assert result["alerts_on_chain"] == 1
    assert len(result["signers"]) >= 2
    return result


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_demo_shows_a_false_output_root_caught(tmp_path: Path) -> None:
    result = await demo(tmp_path, "--fault", "output-root")
    assert result["fault"].startswith("output-root@")
    assert result["outputs_agree"] >= 2
    assert len(result["fields"]) == 2
    assert len(result["early_alerts"]) == 1


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_demo_shows_a_lie_about_a_block_of_geth_caught(tmp_path: Path) -> None:
    result = await demo(tmp_path, "--fault", "gas-used", "--l2", "ethereum")
    assert result["fault"].startswith("gas-used@")
    assert result["fields"][0].startswith("gas_used: served ")
    assert result["early_alerts"] == []
