"""Opening databases: migrations with data and in a crowd, and what is said when a database is not as needed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event
from sqlalchemy.engine import make_url
from tests.unit.storage_batches import batch, hash_of, new_task, operator, replica
from tests.unit.test_storage_replicas import line_of, process

from mach.storage.aggregator_schema import aggregator_metadata
from mach.storage.database import open_database
from mach.storage.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    translated,
)
from mach.storage.migrating import head_revision, migration_config
from mach.storage.postgres_engine import PostgresEngine
from mach.storage.sqlite_engine import SqliteEngine
from mach.storage.task_queries import TaskFilter, TaskQueries

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection
    from tests.postgres_server import PostgresServer

    from mach.storage.database import Database


async def issue_3_database(url: str) -> None:
    """A database as Mach's first aggregator left it: a task in each state, signatures, a transaction."""
    engine: SqliteEngine | PostgresEngine = (
        SqliteEngine(make_url(url)) if url.startswith("sqlite") else PostgresEngine(make_url(url), "aggregator")
    )

    def fill(connection: Connection) -> None:
        config = migration_config("aggregator")
        config.attributes["connection"] = connection
        command.upgrade(config, "aggregator_0001")
        states = ("open", "quorum", "submitted", "confirmed", "failed", "expired")
        insert_task = sa.text(
            "INSERT INTO tasks VALUES (:index, :hash, 57, :quorums, :thresholds, :state, :created, :quorum, :finished, "
            ":tx, :reason, 2)"
        )
        for index, state in enumerate(states):
            values = {
                "index": index,
                "hash": hash_of("alert", index),
                "quorums": b"\0",
                "thresholds": b"\x42",
                "state": state,
                "created": 1_000.0 + index,
                "quorum": None if state in ("open", "expired") else 2_000.0,
                "finished": 3_000.0 if index > 2 else None,
                "tx": b"t" * 32 if index == 2 else None,
                "reason": "why" if index > 3 else None,
            }
            connection.execute(insert_task, values)
            for signer in range(index):
                connection.execute(
                    sa.text("INSERT INTO signatures VALUES (:index, :operator, :signature, 1500)"),
                    {"index": index, "operator": operator(signer), "signature": bytes([signer]) * 64},
                )
        connection.execute(
            sa.text("INSERT INTO submissions VALUES (:tx, 2, 7, :raw, 2500)"), {"tx": b"t" * 32, "raw": b"raw"}
        )

    await engine.transaction(fill)
    await engine.close()


async def test_a_database_of_the_first_aggregator_goes_on(database_url: str) -> None:
    await issue_3_database(database_url)
    async with replica(database_url) as (database, store):
        queries = TaskQueries(database)
        page = await queries.page(TaskFilter())
        assert [entry.signatures for entry in page.tasks] == [5, 4, 3, 2, 1, 0]
        detail = await queries.detail(2)
        assert detail is not None
        record = detail.record
        assert (record.state, record.round, record.attempts, record.submitted_at) == ("submitted", 0, 2, 2_500.0)
        assert (record.moved_at, record.mined_block, record.tx_hash) == (2_000.0, None, b"t" * 32)
        assert [(entry.nonce, entry.transaction, entry.epoch) for entry in detail.submissions] == [(7, b"raw", 0)]
        assert await store.signatures(1) == {operator(0): bytes(64)}
        assert (await store.reserve_indices(10)).first == 6
        outcome = await store.record_batch(batch([(0, 9), (6, 9)], tasks=[new_task(6, alert=5)]))
        assert (outcome.stored, outcome.refused) == (2, {})
        assert [task.record.task_index for task in await store.live_tasks_with_signers()] == [0, 1, 2, 6]


async def test_migrations_build_exactly_the_schema_on_both_engines(database_url: str) -> None:
    def compare(connection: Connection) -> tuple[str | None, list[Any]]:
        context = MigrationContext.configure(connection)
        return context.get_current_revision(), compare_metadata(context, aggregator_metadata)

    async with replica(database_url) as (database, _):
        assert await database.transaction(compare) == (head_revision("aggregator"), [])


async def test_replicas_may_open_a_new_database_at_the_same_time(database_url: str) -> None:
    async def opens() -> str:
        async with process("only_open", database_url) as child:
            return await line_of(child)

    assert await asyncio.gather(*(opens() for _ in range(4))) == ["open"] * 4


async def test_a_failed_migration_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mach.sqlite'}"
    await issue_3_database(url)
    with closing(sqlite3.connect(tmp_path / "mach.sqlite")) as raw, raw:
        raw.execute("CREATE TABLE submitter (in_the_way)")  # what the migration makes last
    with pytest.raises(DatabaseError, match="cannot be opened: table submitter already exists"):
        await open_database(url, "aggregator")
    with closing(sqlite3.connect(tmp_path / "mach.sqlite")) as raw, raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("aggregator_0001",)]
        assert raw.execute("SELECT count(*) FROM signatures").fetchone() == (15,)
        assert raw.execute("SELECT count(*) FROM pragma_table_info('tasks')").fetchone() == (12,)
        raw.execute("DROP TABLE submitter")
    async with replica(url) as (_, store):
        assert (await store.reserve_indices(1)).first == 6


async def test_only_the_aggregator_shares_a_server(postgres_url: str, postgres_server: PostgresServer) -> None:
    with pytest.raises(DatabaseError, match="the operator keeps its state in a file of its own") as caught:
        await open_database(postgres_url, "operator")
    assert postgres_server.password not in str(caught.value)


async def test_wrong_urls_are_told_apart_and_never_repeat_the_password(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    right = make_url(postgres_url)

    async def refused(url: str, match: str) -> None:
        with pytest.raises(DatabaseError, match=match) as caught:
            await open_database(url, "aggregator")
        assert "hunter2" not in str(caught.value)
        assert postgres_server.password not in str(caught.value)
        assert caught.value.__cause__ is None

    await refused(right.set(password="hunter2").render_as_string(hide_password=False), "correct user and password")
    await refused(right.set(database="nowhere").render_as_string(hide_password=False), "create the database")
    await refused(right.set(port=1).render_as_string(hide_password=False), "check that the server runs")
    await refused(f"{postgres_url}?sslmode=nonsense", "sslmode.*disable")
    await refused(f"{postgres_url}?no_such_setting=1", "no_such_setting")
    await refused("postgresql+asyncpg://me:hunter2@/db?host=localhost&port=hunter2", "cannot be read; write @")
    await refused("postgresql+asyncpg://me:hun@ter2@localhost/db", "%40 for an @")
    await refused("postgresql+asyncpg://me:hunter2@[half/db", "cannot be read; write @")
    await refused("postgresql+asyncpg://me:hunter2@localhost:port/db", "is not a database URL")
    await refused("oracle://me:hunter2@localhost/db", "driver oracle is not supported")


async def test_a_plain_postgresql_url_is_enough(postgres_url: str) -> None:
    async with replica(postgres_url.replace("postgresql+asyncpg://", "postgresql://")) as (database, _):
        assert database.dialect == "postgresql"


async def test_a_server_that_takes_no_writes_is_named(postgres_url: str, postgres_server: PostgresServer) -> None:
    async with replica(postgres_url) as (_, store):
        name = make_url(postgres_url).database
        await store.reserve_indices(1)
        await postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseReadOnlyError, match="name the primary server"):
        async with replica(postgres_url) as (_, store):
            await store.reserve_indices(1)


def with_pragma(database: Database, pragma: str) -> None:
    """Sets a pragma on every connection that is made from now on, after closing those that there are."""
    assert isinstance(database.engine, SqliteEngine)
    engine = database.engine._engine
    database.engine._drop_kept()
    engine.dispose()

    def apply(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", apply)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'mach.sqlite'}"


async def test_a_full_disk_is_named_and_what_was_durable_stays(sqlite_url: str) -> None:
    async with replica(sqlite_url) as (database, store):
        await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
        with_pragma(database, "max_page_count=40")  # as a disk without space: SQLite's own error for both
        big = batch([(1, signer) for signer in range(3_000)], tasks=[new_task(1)])
        with pytest.raises(DatabaseFullError, match="full; free space on its disk"):
            await store.record_batch(big)
        assert await store.count_by_state() == {"open": 1}
        assert (await store.record_batch(batch([(0, 2)]))).stored == 1


async def test_a_read_only_file_is_named(sqlite_url: str) -> None:
    async with replica(sqlite_url) as (database, store):
        with_pragma(database, "query_only=ON")  # root may write to any file: rights would prove nothing here
        with pytest.raises(DatabaseReadOnlyError, match="make the file and its folder writable"):
            await store.reserve_indices(1)


async def test_a_file_that_another_process_holds_is_named(sqlite_url: str, tmp_path: Path) -> None:
    async with replica(sqlite_url) as (database, store):
        with_pragma(database, "busy_timeout=20")
        with closing(sqlite3.connect(tmp_path / "mach.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseBusyError, match="end the process that holds the file"):
                await store.reserve_indices(1)
            other.execute("ROLLBACK")
        assert (await store.reserve_indices(1)).first == 0


def test_errors_of_servers_say_what_to_do() -> None:
    cases: list[tuple[Exception, type[DatabaseError], str]] = [
        (asyncpg.DiskFullError("could not extend file"), DatabaseFullError, "free space on the server's disk"),
        (asyncpg.TooManyConnectionsError("too many clients"), DatabaseUnavailableError, "max_connections"),
        (asyncpg.LockNotAvailableError("lock timeout"), DatabaseBusyError, "pg_locks"),
        (asyncpg.InsufficientPrivilegeError("permission denied"), DatabaseError, "grant the user"),
        (asyncpg.AdminShutdownError("terminating"), DatabaseUnavailableError, "check that the server runs"),
        (asyncpg.UndefinedTableError("no such table"), DatabaseError, "please report"),
        (TimeoutError(), DatabaseUnavailableError, "TimeoutError"),
        (ConnectionRefusedError("refused"), DatabaseUnavailableError, "check that the server runs"),
    ]
    for error, kind, words in cases:
        found = translated(error, "mach at host:5432")
        assert type(found) is kind
        assert str(found).startswith("database mach at host:5432: ")
        assert words in str(found)


async def test_commits_are_synced_and_the_log_is_used(sqlite_url: str) -> None:
    async with replica(sqlite_url) as (database, _):
        found = await database.transaction(
            lambda connection: [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        )
    assert found == ["wal", 2, 1]


async def test_a_cancelled_write_is_whole(sqlite_url: str) -> None:
    async with replica(sqlite_url) as (_, store):
        big = batch([(1, signer) for signer in range(2_000)], tasks=[new_task(1)])
        writing = asyncio.create_task(store.record_batch(big))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert (await store.record_batch(batch([(2, 1)], tasks=[new_task(2)]))).stored == 1
        for task in await store.live_tasks_with_signers():
            assert len(task.operator_ids) == {1: 64_000, 2: 32}[task.record.task_index]
