"""`make bench`: a real `mach-aggregator` under load, as `tests.loaded_aggregator` sets it up."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from tests.loaded_aggregator import SIGNERS, LoadedAggregator, build_load_client, loaded_aggregator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

TASKS = 3_000
CONNECTIONS = (1, 8, 32, 400)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def aggregator(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner) -> Iterator[LoadedAggregator]:
    client = build_load_client()
    stack = AsyncExitStack()
    context = loaded_aggregator(tmp_path_factory.mktemp("aggregator"), client)
    try:
        yield runner.run(stack.enter_async_context(context))
    finally:
        runner.run(stack.aclose())


@pytest.mark.parametrize("connections", CONNECTIONS)
def test_signatures_through_http(
    benchmark: BenchmarkFixture, aggregator: LoadedAggregator, runner: asyncio.Runner, connections: int
) -> None:
    # One connection waits for the disk with each signature.
    tasks = min(TASKS, 300 * connections) if benchmark.enabled else 30
    figures = benchmark.pedantic(
        lambda: runner.run(aggregator.sign(connections, "--tasks", str(tasks), "--seconds", "60")), rounds=1
    )
    benchmark.extra_info.update(figures)
    print(f"\nsignatures, {connections} connections: {figures}")
    assert figures["requests"] == tasks * SIGNERS
    assert not figures["errors"], figures


def test_create_task_through_http(
    benchmark: BenchmarkFixture, aggregator: LoadedAggregator, runner: asyncio.Runner
) -> None:
    figures = benchmark.pedantic(
        lambda: runner.run(aggregator.create(32, 20_000 if benchmark.enabled else 100)), rounds=1
    )
    benchmark.extra_info.update(figures)
    print(f"\ncreateTask, 32 connections: {figures}")
    assert not figures["errors"], figures
