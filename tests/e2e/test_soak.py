"""Ten minutes at half the top rate: what an aggregator needs does not grow."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from rich.table import Table

from tests.loaded_aggregator import LoadedAggregator, build_load_client, loaded_aggregator

if TYPE_CHECKING:
    from pathlib import Path

CONNECTIONS = 32
SOAK_S = float(os.environ.get("MACH_SOAK_S", "600"))
WARM_UP_S = SOAK_S / 4
"""Caches fill and the first tasks expire; what comes after is the steady state."""
SAMPLE_S = SOAK_S / 120
MOST_MIB_A_MINUTE = 1.0


async def sample(aggregator: LoadedAggregator, samples: list[tuple[float, float, int]]) -> None:
    """Minutes, resident MiB and open files, over and over."""
    started = time.monotonic()
    while True:
        samples.append(((time.monotonic() - started) / 60, aggregator.resident_mib(), aggregator.open_files()))
        await asyncio.sleep(SAMPLE_S)


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_memory_and_files_stay_as_they_are(tmp_path: Path) -> None:
    client = await asyncio.to_thread(build_load_client)
    # Tasks that nobody completes expire, as fast as new ones come.
    async with loaded_aggregator(tmp_path, client, task_expiry_s=30.0) as aggregator:
        top = await aggregator.sign(CONNECTIONS, "--tasks", "600", "--seconds", "60")
        assert not top["errors"], top
        rate = top["requests_per_second"] / 2
        samples: list[tuple[float, float, int]] = []
        sampling = asyncio.create_task(sample(aggregator, samples))
        try:
            steady = await aggregator.sign(
                CONNECTIONS, "--rate", str(rate), "--seconds", str(SOAK_S), deadline_s=SOAK_S + 120
            )
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
    settled = [entry for entry in samples if entry[0] * 60 >= WARM_UP_S]
    minutes, mib, files = (list(column) for column in zip(*settled, strict=True))
    slope = statistics.linear_regression(minutes, mib).slope
    table = Table(title=f"soak: {SOAK_S:.0f} s at half the top rate, the first {WARM_UP_S:.0f} s left out")
    for heading in ("what", "figure"):
        table.add_column(heading, justify="right" if heading == "figure" else "left")
    for what, figure in (
        ("top rate, signatures a second", f"{top['requests_per_second']:.0f}"),
        ("rate held", f"{steady['requests_per_second']:.0f}"),
        ("signatures", str(steady["requests"])),
        ("errors", str(sum(steady["errors"].values()))),
        ("resident memory, MiB, least and most", f"{min(mib):.1f}, {max(mib):.1f}"),
        ("slope, MiB a minute", f"{slope:+.3f}"),
        ("open files, least and most", f"{min(files)}, {max(files)}"),
    ):
        table.add_row(what, figure)
    Console(width=100).print(table)
    assert not steady["errors"], steady
    assert slope < MOST_MIB_A_MINUTE
    assert files[-1] <= files[0] + 2
