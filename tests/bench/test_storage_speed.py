"""`make bench`: what durability costs a signature, in batches as the intake makes them, on both engines.

`extra_info` of each result has the CPU time of this process for one signature in microseconds.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import pytest
from tests.postgres_server import MISSING, PostgresServer, server_programs

from mach.storage.alert_tasks import AlertTaskStore
from mach.storage.announcement_board import AnnouncementBoard
from mach.storage.database import Database, open_database
from mach.storage.task_records import NewTask, Proposal, SignatureBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

BLOCK = 57
ROUNDS = 50


@pytest.fixture(scope="module")
def durable_server() -> Iterator[PostgresServer]:
    """A server that waits for the disk, as one in use does."""
    programs = server_programs()
    if programs is None:
        pytest.skip(MISSING)
    server = PostgresServer(programs)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def durable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'mach.sqlite'}"
    server: PostgresServer = request.getfixturevalue("durable_server")
    name = f"bench_{secrets.token_hex(6)}"
    asyncio.run(server.execute(f"CREATE DATABASE {name}"))
    return server.url(name)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def database(loop: asyncio.AbstractEventLoop, durable_url: str) -> Iterator[Database]:
    database = loop.run_until_complete(open_database(durable_url, "aggregator"))
    yield database
    loop.run_until_complete(database.close())


def batches(size: int, operators: int) -> Callable[[], SignatureBatch]:
    """A source of batches of `size` signatures, `operators` for each new task."""
    ids = [secrets.token_bytes(32) for _ in range(operators)]
    next_index = 0

    def make() -> SignatureBatch:
        nonlocal next_index
        indices = range(next_index, next_index + max(size // operators, 1))
        next_index = indices.stop
        new = [NewTask(index, secrets.token_bytes(32), BLOCK, b"\0", b"\x42", time.time()) for index in indices]
        signed = [index for index in indices for _ in range(operators)][:size]
        return SignatureBatch(
            tasks=new,
            task_indices=signed,
            reference_blocks=[BLOCK] * len(signed),
            operator_ids=b"".join(ids[position % operators] for position in range(len(signed))),
            signatures=secrets.token_bytes(64 * len(signed)),
            quorum_reached=list(indices),
        )

    return make


@pytest.mark.parametrize(("size", "operators"), [(100, 50), (1_000, 50), (1_000, 3)])
def test_record_batch(
    benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, database: Database, size: int, operators: int
) -> None:
    store = AlertTaskStore(database)
    make = batches(size, operators)
    spent_s, stored = 0.0, 0

    def record(batch: SignatureBatch) -> None:
        nonlocal spent_s, stored
        started = time.process_time()
        outcome = loop.run_until_complete(store.record_batch(batch))
        spent_s += time.process_time() - started
        stored += outcome.stored
        assert outcome.stored == len(batch.task_indices)

    benchmark.group = f"{size} signatures durable, {operators} for each task"
    benchmark.pedantic(record, setup=lambda: ((make(),), {}), rounds=ROUNDS, warmup_rounds=3)
    benchmark.extra_info["cpu_us_per_signature"] = round(spent_s / stored * 1e6, 2)


def test_announce_one_hundred_alerts(
    benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, database: Database
) -> None:
    board = AnnouncementBoard(database, 10_000)

    def proposals() -> tuple[tuple[list[Proposal]], dict[str, object]]:
        return ([Proposal(secrets.token_bytes(32), index, BLOCK) for index in range(100)],), {}

    def announce(asked: list[Proposal]) -> None:
        assert len(loop.run_until_complete(board.announce(asked, 0))) == 100

    benchmark.pedantic(announce, setup=proposals, rounds=ROUNDS, warmup_rounds=3)


def test_restart_with_ten_thousand_tasks_of_two_hundred_signatures(
    benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, database: Database
) -> None:
    store = AlertTaskStore(database)
    make = batches(20_000, 200)
    turns = 100 if benchmark.enabled else 1  # where nothing is measured, a hundred tasks show that it works
    for _ in range(turns):
        loop.run_until_complete(store.record_batch(make()))

    def restart() -> None:
        live = loop.run_until_complete(store.live_tasks_with_signers())
        assert len(live) == 100 * turns
        assert all(len(task.operator_ids) == 32 * 200 for task in live)

    benchmark.pedantic(restart, rounds=3)
