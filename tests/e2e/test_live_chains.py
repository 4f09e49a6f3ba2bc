"""Blocks with random traffic, built by real nodes: op-geth through Jovian, geth through Osaka.

All must be VALID, to the bit, whichever way their witnesses come.

The seed is a new one each time and stands in the failure's message; the short run is part of every test run, the long
ones are slow (and build geth the first time).
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.l2_stacks import L2Kind
from mach.devnet.layout import Layout, Ports
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.services import start_service
from mach.devnet.traffic import MESSAGE_PASSER, Traffic, TrafficSettings
from mach.transport.jsonrpc_client import JsonRpcClient

if TYPE_CHECKING:
    from pathlib import Path

    from mach.devnet.processes import Event

SOURCES = {"verifier1": "execution-witness", "verifier2": "proofs"}
TRANSACTIONS_A_BLOCK = 6
EMPTY_REQUESTS = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The SHA-256 of nothing (EIP-7685)."""


async def verify(layout: Layout, sequencer: Sequencer, blocks: int, deadline_s: float) -> None:
    """Runs a verifier for each witness source over the whole chain; fails unless all blocks are VALID for both."""
    events: dict[str, list[Event]] = {name: [] for name in SOURCES}
    async with AsyncExitStack() as stack:
        for name, source in SOURCES.items():
            settings = {
                "l2_rpc_url": sequencer.http_url,
                "layer2_chain_id": L2_CHAIN_ID,
                "l2_chain_config": str(layout.chain_config),
                "database_url": layout.database_url(name),
                "start_block": 1,
                "witness_sources": [source],
                "rpc_timeout_s": 60.0,
            }
            layout.config(name).parent.mkdir(parents=True, exist_ok=True)
            layout.config(name).write_text(yaml.safe_dump(settings))
            process = await start_service(name, layout, events[name].append)
            stack.push_async_callback(process.stop)
        for name in SOURCES:
            try:
                async with asyncio.timeout(deadline_s):
                    while sum(event.get("event") == "block.valid" for event in events[name]) < blocks:
                        wrong = [event for event in events[name] if event.get("event") == "block.invalid"]
                        assert not wrong, wrong[0]
                        await asyncio.sleep(0.1)
            except TimeoutError:
                pytest.fail(f"{name} is not through after {deadline_s:g} s: {events[name][-3:]}")
    for name in SOURCES:
        with closing(sqlite3.connect(layout.folder / "db" / f"{name}.sqlite")) as database:
            rows = database.execute("select block_number, verdict, block_hash = computed_hash from verdicts").fetchall()
        assert sorted(rows) == [(number, "VALID", 1) for number in range(1, blocks + 1)]


async def seen_in(client: JsonRpcClient, blocks: int) -> Counter[str]:
    """What the chain's blocks held."""
    seen: Counter[str] = Counter()
    for number in range(1, blocks + 1):
        block: dict[str, Any] = await client.call("eth_getBlockByNumber", hex(number), False)
        for receipt in await client.call("eth_getBlockReceipts", hex(number)):
            result = "ok" if receipt["status"] == "0x1" else "failed"
            seen[f"{receipt['type']} {result}"] += 1
            seen["created"] += receipt["contractAddress"] is not None
            seen["withdrawal started"] += receipt["to"] == MESSAGE_PASSER and bool(receipt["logs"])
        seen["withdrawn from the consensus layer"] += len(block["withdrawals"])
        seen["requests"] += block["requestsHash"] != EMPTY_REQUESTS
    return seen


async def run(folder: Path, kind: L2Kind, blocks: int, deadline_s: float) -> Counter[str]:
    """Builds a chain, verifies it, and says what was in it."""
    layout, ports, seed = Layout(folder), Ports.free(), secrets.randbits(32)
    print(f"{kind}, traffic seed {seed}")
    settings = SequencerSettings(folder, http_port=ports.l2, auth_port=ports.l2_auth, kind=kind)
    async with (
        Sequencer(settings) as sequencer,
        Traffic(TrafficSettings(sequencer.http_url, kind=kind, seed=seed)) as traffic,
        JsonRpcClient(sequencer.http_url, timeout_s=60.0) as client,
    ):
        for _ in range(blocks):
            await traffic.submit(TRANSACTIONS_A_BLOCK)
            await sequencer.produce_block()
        await verify(layout, sequencer, blocks, deadline_s)
        return await seen_in(client, blocks)


async def test_twenty_blocks_of_op_geth_are_valid_from_both_witness_sources(tmp_path: Path) -> None:
    seen = await run(tmp_path, L2Kind.OP_STACK, 20, 120)
    assert seen["0x7e ok"] >= 20
    assert seen["0x2 ok"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_five_hundred_blocks_of_op_geth_are_valid_from_both_witness_sources(tmp_path: Path) -> None:
    seen = await run(tmp_path, L2Kind.OP_STACK, 500, 900)
    kinds = ("0x0 ok", "0x1 ok", "0x2 ok", "0x2 failed", "0x4 ok", "0x7e ok", "0x7e failed")
    assert all(seen[kind] for kind in (*kinds, "created", "withdrawal started")), seen


@pytest.mark.slow
@pytest.mark.timeout(2400)
async def test_five_hundred_blocks_of_geth_are_valid_from_both_witness_sources(tmp_path: Path) -> None:
    seen = await run(tmp_path, L2Kind.ETHEREUM, 500, 900)
    kinds = ("0x0 ok", "0x1 ok", "0x2 ok", "0x2 failed", "0x3 ok", "0x4 ok")
    assert all(seen[kind] for kind in (*kinds, "created", "requests", "withdrawn from the consensus layer")), seen
