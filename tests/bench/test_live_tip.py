"""`make bench`: how late verdicts are at a live tip, and how fast a gap is caught up.

At a live tip: from a block that the node makes its head to a verdict that is on disk.

op-geth, a verifier in a process of its own, and blocks with traffic one after the other. A block counts as available
when the Engine API's call that makes it the head is sent; its verdict is there when the verifier logs it, which it does
after the commit, and the line has been read here.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import yaml
from tests.e2e.verifier_run import VerifierRun, running_l2

from mach.devnet.processes import ManagedProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

BLOCKS = 200
WARM_UP = 5
TRANSACTIONS = 12
GAP = 150
IN_FLIGHT = 4
DEADLINE_S = 60.0


def test_from_head_to_verdict(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    latencies, stages = benchmark.pedantic(lambda: asyncio.run(measure(tmp_path)), rounds=1)
    hundredths = quantiles(latencies, n=100)
    benchmark.extra_info |= {
        "blocks": len(latencies),
        "p50_ms": round(hundredths[49] * 1000, 1),
        "p90_ms": round(hundredths[89] * 1000, 1),
        "p99_ms": round(hundredths[98] * 1000, 1),
        "mean_ms_by_stage": {stage: round(seconds / len(latencies) * 1000, 3) for stage, seconds in stages.items()},
    }
    print(f"\nfrom head to verdict: {benchmark.extra_info}")


def test_a_gap_is_caught_up(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The same blocks with one and with several in flight, in one run."""
    seconds = benchmark.pedantic(lambda: asyncio.run(measure_gap(tmp_path)), rounds=1)
    benchmark.extra_info |= {
        f"blocks_per_s_{flights}_in_flight": round(GAP / took) for flights, took in seconds.items()
    }
    benchmark.extra_info["ratio"] = round(seconds[1] / seconds[IN_FLIGHT], 2)
    print(f"\ncatching up: {benchmark.extra_info}")


async def measure_gap(folder: Path) -> dict[int, float]:
    """Seconds from the start of verification to the verdict of the last block, by blocks in flight."""
    seconds = {}
    async with running_l2(folder / "l2") as l2:
        await l2.build(GAP, TRANSACTIONS)
        for flights in (1, IN_FLIGHT):
            process = await started(folder / str(flights), VerifierRun(l2, folder / str(flights), [l2.url]), flights)
            try:
                await process.wait_for(lambda event: event.get("event") == "verifier.anchored", DEADLINE_S)
                began = time.perf_counter()
                await process.wait_for(lambda event: event.get("block") == GAP, DEADLINE_S)
                seconds[flights] = time.perf_counter() - began
            finally:
                await process.stop()
    return seconds


async def started(
    folder: Path, run: VerifierRun, flights: int, listener: Callable[[dict[str, Any]], None] | None = None
) -> ManagedProcess:
    """A verifier in a process of its own."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    config = folder / "verifier.yaml"
    config.write_text(yaml.safe_dump(run.config() | {"max_blocks_in_flight": flights, "poll_interval_s": 0.25}))
    process = ManagedProcess("verifier", folder / "verifier.log")
    if listener is not None:
        process.listen(listener)
    script = str(Path(sys.executable).with_name("mach-verifier"))
    await process.start([script, "--config", str(config), "--log-format", "json"])
    return process


async def measure(folder: Path) -> tuple[list[float], dict[str, float]]:
    """Seconds from head to verdict of each block, and seconds spent by stage."""
    latencies = []
    async with running_l2(folder / "l2") as l2:
        run = VerifierRun(l2, folder, [l2.url])
        verdicts: asyncio.Queue[tuple[int, float]] = asyncio.Queue()

        def listen(event: dict[str, Any]) -> None:
            if event.get("event") == "block.valid":
                verdicts.put_nowait((event["block"], time.perf_counter()))

        available: list[float] = []
        engine = l2.sequencer._engine
        assert engine is not None
        set_head = engine.set_head

        async def timed_set_head(block_hash: bytes) -> None:
            available.append(time.perf_counter())
            await set_head(block_hash)

        engine.set_head = timed_set_head
        process = await started(folder, run, IN_FLIGHT, listen)
        try:
            await process.wait_for(lambda event: event.get("event") == "subscription.open", DEADLINE_S)
            for number in range(1, WARM_UP + BLOCKS + 1):
                head = await l2.build(1, TRANSACTIONS)
                async with asyncio.timeout(DEADLINE_S):
                    block, seen = await verdicts.get()
                assert block == head == number
                if number > WARM_UP:
                    latencies.append(seen - available[-1])
            names = ("fetch", "decode", "witness", "senders", "execute", "state_root", "commitments")
            stages = {name: await run.metric("mach_verifier_stage_seconds_sum", stage=name) for name in names}
        finally:
            await process.stop()
    return latencies, stages
