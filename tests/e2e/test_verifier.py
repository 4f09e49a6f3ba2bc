"""The verifier on a live op-geth: killed, cut off, reorganised, lied to while nobody listens."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from mach.devnet.faults import Fault, FaultKind
from mach.devnet.layout import LOOPBACK
from mach.devnet.lying_node import LyingNode
from mach.devnet.sequencer import Head, Sequencer, SequencerSettings
from mach.devnet.traffic import Traffic, TrafficSettings
from mach.transport.jsonrpc_client import JsonRpcClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import BlsNetwork


@dataclass
class L2:
    """The chain that the network's verifiers follow, and the node between them."""

    sequencer: Sequencer
    traffic: Traffic
    lying_node: LyingNode

    async def build(self, blocks: int) -> int:
        """Builds blocks with transactions; returns the head's number."""
        number = 0
        for _ in range(blocks):
            await self.traffic.submit(4)
            number = await self.sequencer.produce_block()
        return number


@pytest.fixture
async def l2(network: BlsNetwork) -> AsyncIterator[L2]:
    ports = network.ports
    settings = SequencerSettings(network.layout.folder, http_port=ports.l2, auth_port=ports.l2_auth)
    async with AsyncExitStack() as stack:
        sequencer = await stack.enter_async_context(Sequencer(settings))
        traffic = await stack.enter_async_context(Traffic(TrafficSettings(sequencer.http_url)))
        lying_node = LyingNode(sequencer.http_url, LOOPBACK, ports.lying_node)
        await lying_node.start()
        stack.push_async_callback(lying_node.stop)
        chain = L2(sequencer, traffic, lying_node)
        await chain.build(2)
        yield chain


def verdicts(network: BlsNetwork, name: str = "verifier1") -> list[tuple[int, str]]:
    """Block number and verdict of everything in a verifier's log."""
    with closing(sqlite3.connect(network.layout.folder / "db" / f"{name}.sqlite")) as database:
        return database.execute("select block_number, verdict from verdicts order by block_number").fetchall()


async def verified_up_to(network: BlsNetwork, number: int, name: str = "verifier1") -> None:
    await network.eventually(lambda: (number, "VALID") in verdicts(network, name), f"block {number} is VALID", 60)


async def test_a_killed_verifier_resumes_without_gap_or_repetition(network: BlsNetwork, l2: L2) -> None:
    network.configure("verifier1", operators=[])
    await l2.build(6)
    await network.start("verifier1")
    await verified_up_to(network, 5)
    await network.kill("verifier1")
    head = await l2.build(6)
    await network.start("verifier1")
    await verified_up_to(network, head)
    assert network.seen("verifier1", "verifier.resumed")
    assert verdicts(network) == [(number, "VALID") for number in range(1, head + 1)]


async def test_verification_starts_only_from_the_pinned_parent(network: BlsNetwork, l2: L2) -> None:
    async with JsonRpcClient(l2.sequencer.http_url) as client:
        genesis = await client.call("eth_getBlockByNumber", "0x0", False)
    network.configure("verifier1", operators=[], start_parent_hash="0x" + "12" * 32)
    network.configure("verifier2", operators=[], start_parent_hash=genesis["hash"])
    await network.start("verifier1", "verifier2")
    await verified_up_to(network, 2, "verifier2")
    await network.eventually(lambda: bool(network.seen("verifier1", "verifier.waiting")), "it refuses to start")
    assert genesis["hash"] in network.seen("verifier1", "verifier.waiting")[0]["problem"]
    assert verdicts(network) == []


async def test_a_node_that_goes_away_is_waited_for(network: BlsNetwork, l2: L2) -> None:
    network.configure("verifier1", operators=[])
    await network.start("verifier1")
    await verified_up_to(network, 2)
    await l2.lying_node.stop()
    await network.eventually(lambda: bool(network.seen("verifier1", "verifier.waiting")), "it notices", 30)
    head = await l2.build(3)
    await l2.lying_node.start()
    await verified_up_to(network, head)
    assert {verdict for _, verdict in verdicts(network)} == {"VALID"}


async def test_a_reorganisation_is_followed_and_is_no_alert(network: BlsNetwork, l2: L2) -> None:
    network.configure("verifier1", operators=[])
    await network.start("verifier1")
    fork_point = l2.sequencer.head
    await l2.build(3)
    old_head = l2.sequencer.head
    await verified_up_to(network, old_head.number)
    await rebuild_on(l2.sequencer, fork_point)
    head = await l2.build(5)
    assert head > old_head.number
    await verified_up_to(network, head)
    (reorg,) = network.seen("verifier1", "verifier.reorg")
    assert reorg["fork_point"] == fork_point.number
    found = verdicts(network)
    assert {verdict for _, verdict in found} == {"VALID"}
    # both versions of the replaced heights are on record
    assert [number for number, _ in found].count(old_head.number) == 2


async def rebuild_on(sequencer: Sequencer, parent: Head) -> None:
    """Makes another block than the present one the head, on `parent`: everything above is reorganised away."""
    engine = sequencer._engine
    assert engine is not None
    attributes = replace(sequencer._attributes(parent, 0), prev_randao=b"\x07" * 32)
    payload_id = await engine.start_payload(parent.hash, attributes)
    payload = await engine.finish_payload(payload_id)
    await engine.import_payload(payload, attributes.parent_beacon_block_root)
    await engine.set_head(bytes.fromhex(payload["blockHash"][2:]))
    assert (await sequencer._read_head()).number == parent.number + 1


async def test_an_alert_that_nobody_could_take_is_delivered_after_restarts(network: BlsNetwork, l2: L2) -> None:
    network.configure("aggregator", late_signature_window_s=0)
    await network.start("verifier1")
    fault = Fault(FaultKind.STATE_ROOT, l2.sequencer.head.number + 2)
    l2.lying_node.set_fault(fault)
    head = await l2.build(4)
    await verified_up_to(network, head)
    (invalid,) = network.seen("verifier1", "block.invalid")
    assert invalid["block"] == fault.block_number
    await network.eventually(lambda: bool(network.seen("verifier1", "alert.operator_away")), "nobody takes it")
    await network.kill("verifier1")
    await network.start("operator1", "verifier1")
    await network.eventually(
        lambda: bool(network.seen("operator1", "alert.accepted", alert=invalid["alert"])), "the operator takes it"
    )
    network.events["verifier1"].clear()
    await network.kill("verifier1")
    await network.start("verifier1", "aggregator")
    await network.eventually(
        lambda: bool(network.seen("operator1", "alert.submitted", alert=invalid["alert"])), "the aggregator has it"
    )
    # the restarted verifier neither verifies nor reports the block again
    assert not network.seen("verifier1", "block.invalid")
    params: dict[str, Any] = {"state": "INVALID", "number": fault.block_number}
    assert verdicts(network).count((params["number"], params["state"])) == 1


async def test_two_verifiers_give_a_lie_the_same_alert(network: BlsNetwork, l2: L2) -> None:
    network.configure("verifier1", operators=[])
    network.configure("verifier2", operators=[])
    fault = Fault(FaultKind.TX_RESULT, l2.sequencer.head.number + 1)
    l2.lying_node.set_fault(fault)
    head = await l2.build(2)
    await network.start("verifier1", "verifier2")
    await asyncio.gather(verified_up_to(network, head), verified_up_to(network, head, "verifier2"))
    (first,), (second,) = (network.seen(name, "block.invalid") for name in ("verifier1", "verifier2"))
    assert first["alert"] == second["alert"]
    assert any(field.startswith("receipts[") for field in first["fields"])
