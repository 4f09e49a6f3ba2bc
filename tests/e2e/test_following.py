"""A verifier over several endpoints of a live op-geth: lies, reorgs, outages, gaps, kill -9, and how late it is."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mach.devnet.faults import Fault, FaultKind
from mach.devnet.layout import LOOPBACK
from mach.devnet.lying_node import LyingNode
from mach.devnet.processes import ManagedProcess
from mach.protocol.hashing import keccak256
from mach.rollup.node import parent_hash_in
from mach.transport.jsonrpc_client import JsonRpcClient

from .verifier_run import L2, RewritingNode, VerifierRun, refused, running_l2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mach.devnet.sequencer import Head, Sequencer


@pytest.fixture
async def l2(tmp_path: Path) -> AsyncIterator[L2]:
    async with running_l2(tmp_path / "l2") as chain:
        yield chain


def passed_on(_method: str, _params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
    return answer


async def rebuild_on(
    sequencer: Sequencer, parent: Head, randao: bytes = b"\x07", *, finalized: bytes | None = None
) -> None:
    """Makes another block than the present one the head, on `parent`: everything above is reorganised away.

    It is safe at once, and finalized, too, unless another block is to be.
    """
    engine = sequencer._engine
    assert engine is not None
    attributes = replace(sequencer._attributes(parent, 0), prev_randao=randao * 32)
    payload_id = await engine.start_payload(parent.hash, attributes)
    payload = await engine.finish_payload(payload_id)
    await engine.import_payload(payload, attributes.parent_beacon_block_root)
    new = payload["blockHash"]
    if finalized is None:
        await engine.set_head(bytes.fromhex(new[2:]))
    else:
        state = {"headBlockHash": new, "safeBlockHash": new, "finalizedBlockHash": "0x" + finalized.hex()}
        answer = await engine.call("engine_forkchoiceUpdatedV3", state, None)
        assert answer["payloadStatus"]["status"] == "VALID"
    await sequencer._read_head()


@pytest.mark.parametrize("liar_first", [True, False], ids=["the followed one lies", "the other one lies"])
async def test_two_blocks_of_one_height_are_evidence_and_the_lie_is_found(
    l2: L2, tmp_path: Path, liar_first: bool
) -> None:
    async with LyingNode(l2.url, LOOPBACK, 0) as liar:
        liar.set_fault(Fault(FaultKind.STATE_ROOT, 3))
        urls = [liar.url, l2.url] if liar_first else [l2.url, liar.url]
        async with VerifierRun(l2, tmp_path, urls) as run:
            head = await l2.build(5)
            await run.reaches(head)

            async def found() -> bool:
                async with run.chain() as chain:
                    return bool(await chain.equivocations())

            await run.eventually(found, "the equivocation is on record")
            async with run.chain() as chain:
                (evidence,) = await chain.equivocations()
            assert liar.lie is not None
            assert evidence.block_number == 3
            hashes = {evidence.first_hash, evidence.second_hash}
            assert hashes == {bytes.fromhex(text[2:]) for text in (liar.lie.told_hash, liar.lie.true_hash)}
            assert keccak256(evidence.first_header) == evidence.first_hash
            assert keccak256(evidence.second_header) == evidence.second_hash
            assert (evidence.first_endpoint, evidence.second_endpoint) == tuple(urls)
            verdicts = await run.summary(head)
            assert sorted(verdicts) == sorted([*((n, "VALID") for n in range(1, head + 1)), (3, "INVALID")])
            assert await run.metric("mach_verifier_equivocations_total") == 1
            assert await run.metric("mach_verifier_blocks_total", verdict="INVALID") == 1


async def test_a_chain_that_goes_on_from_a_lie_is_left_for_one_that_does_not(l2: L2, tmp_path: Path) -> None:
    """The node builds on its own lie: each later block names the false parent, and hashes to something false itself."""
    head = await l2.build(6)
    async with LyingNode(l2.url, LOOPBACK, 0) as liar, JsonRpcClient(liar.url) as told:
        liar.set_fault(Fault(FaultKind.GAS_USED, 3))
        false_hashes = {3: keccak256(bytes.fromhex((await told.call("debug_getRawHeader", "0x3"))[2:])).hex()}
        replaced = {}
        for number in range(4, head + 1):
            header = (await told.call("debug_getRawHeader", hex(number)))[2:]
            true_parent = parent_hash_in(bytes.fromhex(header)).hex()
            replaced[number] = (true_parent, false_hashes[number - 1])
            false_hashes[number] = keccak256(bytes.fromhex(header.replace(true_parent, false_hashes[number - 1]))).hex()

        def rewrite(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
            if method not in ("debug_getRawHeader", "debug_getRawBlock") or int(params[0], 16) not in replaced:
                return answer
            return answer | {"result": answer["result"].replace(*replaced[int(params[0], 16)])}

        async with (
            RewritingNode(liar.url, rewrite) as false,
            VerifierRun(l2, tmp_path, [false.url, l2.url], {"max_blocks_in_flight": 1}) as run,
        ):
            await run.reaches(head)
            await run.eventually(lambda: _compared(run, [false.url, l2.url], head), "both are compared")
            found = await run.summary(head)
            assert sorted(found) == sorted([*((number, "VALID") for number in range(1, head + 1)), (3, "INVALID")])
            async with run.chain() as chain:
                assert [evidence.block_number for evidence in await chain.equivocations()] == [3]
                assert await chain.replaced() == []


async def test_a_reorg_is_followed_recorded_and_no_alert(l2: L2, tmp_path: Path) -> None:
    async with RewritingNode(l2.url, passed_on) as second, VerifierRun(l2, tmp_path, [l2.url, second.url]) as run:
        await l2.build(2)
        fork_point = l2.sequencer.head
        await l2.build(3)
        old_head = l2.sequencer.head
        await run.reaches(old_head.number)
        await rebuild_on(l2.sequencer, fork_point)
        head = await l2.build(4)
        await run.reaches(head)
        records = await run.records(head)
        assert {record.verdict for record in records} == {"VALID"}
        canonical = [record for record in records if record.canonical]
        assert [record.block_number for record in canonical] == list(range(1, head + 1))
        for parent, child in itertools.pairwise(canonical):
            assert child.computed_header is not None
            assert parent_hash_in(child.computed_header) == parent.block_hash
        async with run.chain() as chain:
            replaced = await chain.replaced()
            assert [block.block_number for block in replaced] == [3, 4, 5]
            assert replaced[-1].block_hash == old_head.hash
            assert await chain.equivocations() == []


async def test_a_fork_of_two_good_chains_is_an_equivocation_and_no_alert(tmp_path: Path) -> None:
    """Two nodes with one past: each goes on with a block of its own, which is as its inputs make it."""
    folders = tmp_path / "one", tmp_path / "two"
    async with running_l2(folders[0]) as l2:
        await l2.build(2)
    await asyncio.to_thread(shutil.copytree, *folders)
    async with (
        running_l2(folders[0]) as one,
        running_l2(folders[1]) as two,
        VerifierRun(one, tmp_path, [one.url, two.url]) as run,
    ):
        await rebuild_on(one.sequencer, one.sequencer.head, randao=b"\x01")
        await rebuild_on(two.sequencer, two.sequencer.head, randao=b"\x02")
        assert one.sequencer.head.hash != two.sequencer.head.hash
        await run.reaches(3)

        async def found() -> bool:
            async with run.chain() as chain:
                return [entry.block_number for entry in await chain.equivocations()] == [3]

        await run.eventually(found, "the fork is on record")
        await run.eventually(lambda: _have_verdicts(run, 4), "both blocks are verified")
        assert await run.summary(3) == [(1, "VALID"), (2, "VALID"), (3, "VALID"), (3, "VALID")]


async def _have_verdicts(run: VerifierRun, count: int) -> bool:
    return len(await run.summary()) == count


async def test_the_safe_head_tells_of_a_block_that_no_other_was_built_on(l2: L2, tmp_path: Path) -> None:
    async with VerifierRun(l2, tmp_path, [l2.url]) as run:
        head = await l2.build(3)
        await run.reaches(head)
        before = l2.sequencer.head
        async with run.chain() as chain:

            async def safe_is(number: int, block_hash: bytes) -> bool:
                safe = await chain.head("safe")
                return safe is not None and (safe.block_number, safe.block_hash) == (number, block_hash)

            await run.eventually(lambda: safe_is(head, before.hash), "the safe head is followed")
            parent = await l2.sequencer._engine.call("eth_getBlockByNumber", hex(head - 1), False)  # type: ignore[union-attr]
            fork_point = replace(
                before,
                number=head - 1,
                hash=bytes.fromhex(parent["hash"][2:]),
                timestamp=int(parent["timestamp"], 16),
            )
            # Not finalized yet: which of two labels moving at once is seen first is chance.
            await rebuild_on(l2.sequencer, fork_point, finalized=fork_point.hash)
            after = l2.sequencer.head
            assert after.number == before.number
            await run.eventually(lambda: safe_is(head, after.hash), "the replacement is verified and safe")
            (replaced,) = await chain.replaced()
            assert (replaced.block_hash, replaced.seen_at_label) == (before.hash, "safe")
            await l2.sequencer._engine.set_head(after.hash)  # type: ignore[union-attr]
            await run.eventually(lambda: _is(chain, "finalized", after.hash), "the finalized head is followed")


async def _is(chain: Any, label: str, block_hash: bytes) -> bool:
    head = await chain.head(label)
    return head is not None and head.block_hash == block_hash


async def test_an_endpoint_that_goes_away_is_replaced_and_compared_when_it_is_back(l2: L2, tmp_path: Path) -> None:
    async with RewritingNode(l2.url, passed_on) as first, VerifierRun(l2, tmp_path, [first.url, l2.url]) as run:
        head = await l2.build(2)
        await run.reaches(head)
        await first.stop()
        head = await l2.build(3)
        await run.reaches(head)
        records = await run.records(head)
        assert (records[0].served_by, records[-1].served_by) == (first.url, l2.url)
        assert (await run.get("readyz"))[0] == 200
        await first.start()

        head = await l2.build(1)
        await run.eventually(lambda: _compared(run, [first.url, l2.url], head), "both are compared up to the head")
        assert await run.metric("mach_verifier_endpoint_failures_total", endpoint=first.url) > 0


async def _compared(run: VerifierRun, urls: list[str], number: int) -> bool:
    async with run.chain() as chain:
        heads = [await chain.head(f"endpoint/{keccak256(url.encode())[:8].hex()}") for url in urls]
    return all(found is not None and found.block_number == number for found in heads)


async def test_new_heads_come_by_websocket(l2: L2, tmp_path: Path) -> None:
    await l2.build(1)
    async with VerifierRun(l2, tmp_path, [l2.url], {"poll_interval_s": 3600.0}) as run:
        await run.reaches(1)
        for _ in range(3):
            head = await l2.build(1)
            await run.reaches(head)


async def test_a_gap_is_caught_up_in_parallel_within_the_bound(l2: L2, tmp_path: Path) -> None:
    head = await l2.build(16, 2)
    async with (
        RewritingNode(l2.url, passed_on) as node,
        VerifierRun(l2, tmp_path, [node.url], {"max_blocks_in_flight": 6}) as run,
    ):
        await run.reaches(head)
        assert await run.summary(head) == [(number, "VALID") for number in range(1, head + 1)]
        assert 2 <= node.most_at_once["debug_executionWitness"] <= 6


async def test_kill_9_anywhere_loses_and_repeats_nothing(l2: L2, tmp_path: Path) -> None:
    head = await l2.build(12, 2)
    run = VerifierRun(l2, tmp_path, [l2.url])
    config = tmp_path / "verifier.yaml"
    config.write_text(yaml.safe_dump({key: value for key, value in run.config().items() if "metrics" not in key}))
    script = str(Path(sys.executable).with_name("mach-verifier"))
    for victim in range(4):
        events: list[Any] = []
        process = ManagedProcess(f"verifier{victim}", tmp_path / f"verifier{victim}.log")
        process.listen(events.append)
        await process.start([script, "--config", str(config), "--log-format", "json"])
        wanted = range(3 * (victim + 1), head + 1)
        await process.wait_for(partial(_is_valid, numbers=wanted), 60.0)
        await process.kill()
        resumed = [event["block"] for event in events if event.get("event") == "verifier.resumed"]
        assert bool(resumed) == (victim > 0)
        valid = [event["block"] for event in events if event.get("event") == "block.valid"]
        assert valid == list(range(valid[0], valid[-1] + 1))
        assert valid[0] == (resumed[0] + 1 if resumed else 1)
    records = await run.records(head)
    assert [record.block_number for record in records] == list(range(1, len(records) + 1))
    assert all(record.canonical for record in records)


def _is_valid(event: dict[str, Any], numbers: range) -> bool:
    return event.get("event") == "block.valid" and event["block"] in numbers


async def test_a_block_that_waits_too_long_raises_the_alarm_until_it_is_verified(l2: L2, tmp_path: Path) -> None:
    blind = True

    def rewrite(method: str, _params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return refused(answer) if blind and method == "debug_executionWitness" else answer

    settings = {"max_lag_s": 0.2, "witness_sources": ["execution-witness"]}
    async with RewritingNode(l2.url, rewrite) as node, VerifierRun(l2, tmp_path, [node.url], settings) as run:
        head = await l2.build(2)

        async def alarmed() -> bool:
            values = [await run.metric(f"mach_verifier_lag_{name}") for name in ("alarm", "blocks")]
            return values == [1, head]

        await run.eventually(alarmed, "the alarm is raised")
        status, body = await run.get("readyz")
        assert status == 503
        assert any("block 1 has waited" in problem for problem in json.loads(body)["problems"])
        blind = False
        await run.reaches(head)
        await run.eventually(lambda: _ready(run), "the alarm is over")


async def _ready(run: VerifierRun) -> bool:
    return (await run.get("readyz"))[0] == 200


async def test_an_endpoint_of_another_chain_is_refused(l2: L2, tmp_path: Path) -> None:
    def rewrite(method: str, _params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"result": "0x1"} if method == "eth_chainId" else answer

    async with RewritingNode(l2.url, rewrite) as other:
        run = VerifierRun(l2, tmp_path, [l2.url, other.url])
        with pytest.raises(Exception, match="serves chain id 1, layer2_chain_id is 901"):
            async with run, asyncio.timeout(30):
                await run.reaches(10)
