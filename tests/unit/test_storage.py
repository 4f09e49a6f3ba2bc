"""The three stores: schema and migrations agree, states move only along their arrows, what was told is on disk."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, get_args

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import make_url

from mach.storage.aggregator_schema import aggregator_metadata
from mach.storage.chain_record import VERIFIED, ChainRecord, Equivocation, LabelledHead
from mach.storage.database import Database, open_database
from mach.storage.errors import DatabaseError
from mach.storage.migrating import Service, head_revision, migration_config
from mach.storage.outbox import Outbox
from mach.storage.schema import operator_metadata, verifier_metadata
from mach.storage.signing_journal import Claim
from mach.storage.sqlite_engine import SqliteEngine
from mach.storage.verdict_log import VerdictLog, VerdictRecord, delivery

if TYPE_CHECKING:
    from pathlib import Path

METADATA = {"aggregator": aggregator_metadata, "operator": operator_metadata, "verifier": verifier_metadata}
HASH, OTHER = b"\x01" * 32, b"\x02" * 32


async def opened(folder: Path, service: Service) -> Database:
    return await open_database(f"sqlite+aiosqlite:///{folder / 'db.sqlite'}", service)


@pytest.mark.parametrize("service", get_args(Service))
async def test_migrations_build_exactly_the_schema(tmp_path: Path, service: Service) -> None:
    database = await opened(tmp_path, service)
    await database.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'db.sqlite'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == head_revision(service)
        assert compare_metadata(context, METADATA[service]) == []
    engine.dispose()


async def test_a_database_of_a_newer_mach_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    await (await opened(tmp_path, "operator")).close()
    with closing(sqlite3.connect(tmp_path / "db.sqlite")) as raw, raw:
        raw.execute("update alembic_version set version_num = 'operator_9999'")
    with pytest.raises(DatabaseError, match="not of this version of Mach"):
        await opened(tmp_path, "operator")
    (tmp_path / "db.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        await opened(tmp_path, "operator")
    with pytest.raises(DatabaseError, match="driver mysql is not supported"):
        await open_database("mysql://x", "operator")
    with pytest.raises(DatabaseError, match="is not a database URL"):
        await open_database("nonsense", "operator")
    with pytest.raises(DatabaseError, match="cannot be opened"):
        await open_database("sqlite:////proc/nowhere/db.sqlite", "operator")


async def test_the_outbox_keeps_what_it_accepted(tmp_path: Path) -> None:
    database = await opened(tmp_path, "operator")
    outbox = Outbox(database)
    assert await outbox.accept(HASH, '{"method": "alert_blockHash"}', "re-execution")
    assert not await outbox.accept(HASH, "another text", "re-execution")
    await outbox.record_signature(HASH, 3, 57, b"s" * 64, claim=Claim("block 7", OTHER))
    await database.close()
    database = await opened(tmp_path, "operator")
    outbox = Outbox(database)
    (kept,) = await outbox.undelivered()
    assert (kept.state, kept.task_index, kept.reference_block_number, kept.signature) == ("signed", 3, 57, b"s" * 64)
    assert kept.statement == '{"method": "alert_blockHash"}'
    await outbox.record_submitted(HASH)
    assert await outbox.undelivered() == []
    assert [record.message_hash for record in await outbox.unfinished()] == [HASH]
    await outbox.record_finished(HASH, OTHER)
    assert await outbox.unfinished() == []
    await database.close()


def verdict(number: int, kind: str, block_hash: bytes = HASH) -> VerdictRecord:
    return VerdictRecord(number, block_hash, kind, block_hash, b"header", json.dumps([]), None, 1, 2, time.time(), 0.1)


async def test_a_final_verdict_stays_and_deliveries_come_with_it(tmp_path: Path) -> None:
    database = await opened(tmp_path, "verifier")
    log = VerdictLog(database)
    chain = ChainRecord(database)
    assert await log.record(verdict(5, "INCONCLUSIVE"))
    assert await log.canonical_at(5) is None
    await log.record(
        verdict(5, "INVALID"), [delivery("http://a", OTHER, 5, "m", "{}"), delivery("http://b", OTHER, 5, "m", "{}")]
    )
    assert not await log.record(verdict(5, "VALID"))
    (found,) = await log.at(5)
    assert found.verdict == "INVALID"
    await log.record(verdict(6, "VALID", OTHER), tip=LabelledHead(VERIFIED, 6, OTHER, b"header"))
    assert await chain.head(VERIFIED) == LabelledHead(VERIFIED, 6, OTHER, b"header")
    assert [record.canonical for number in (5, 6) for record in await log.at(number)] == [False, True]
    (pending,) = await log.pending("http://a")
    await log.settle(pending, "delivered", "{}")
    assert await log.pending("http://a") == []
    assert len(await log.pending("http://b")) == 1
    await database.close()


async def test_going_back_to_a_fork_point_replaces_what_is_above_it(tmp_path: Path) -> None:
    database = await opened(tmp_path, "verifier")
    log, chain = VerdictLog(database), ChainRecord(database)
    for number in range(1, 6):
        await log.record(verdict(number, "VALID", bytes([number]) * 32), tip=head(number, bytes([number]) * 32))
    await log.record(verdict(4, "VALID", OTHER))  # of another branch: it was never followed
    replaced = await chain.rewind(head(3, b"\x03" * 32), "safe")
    assert [(block.block_number, block.block_hash[0], block.seen_at_label) for block in replaced] == [
        (4, 4, "safe"),
        (5, 5, "safe"),
    ]
    assert await chain.head(VERIFIED) == head(3, b"\x03" * 32)
    assert [await log.canonical_at(number) is not None for number in range(1, 6)] == [True] * 3 + [False] * 2
    # the branch that was replaced comes back: it is followed again, and stays on record as once replaced
    await log.record(verdict(4, "VALID", b"\x04" * 32), tip=head(4, b"\x04" * 32))
    back = await log.canonical_at(4)
    assert back is not None
    assert back.block_hash == b"\x04" * 32
    assert await chain.replaced() == replaced
    assert await chain.replaced(5) == replaced[1:]
    assert await log.hashes_between(3, 4) == {3: {b"\x03" * 32}, 4: {b"\x04" * 32, OTHER}}
    found = await log.verified(4, OTHER)
    assert found is not None
    assert not found.canonical
    assert await log.verified(4, HASH) is None
    await database.close()


def head(number: int, block_hash: bytes) -> LabelledHead:
    return LabelledHead(VERIFIED, number, block_hash, b"header")


async def test_an_equivocation_is_recorded_once_whichever_block_comes_first(tmp_path: Path) -> None:
    database = await opened(tmp_path, "verifier")
    chain = ChainRecord(database)
    first = Equivocation(7, HASH, OTHER, b"one", b"two", "http://a", "http://b", 1.0)
    second = Equivocation(7, OTHER, HASH, b"two", b"one", "http://b", "http://a", 2.0)
    assert await chain.record_equivocation(first)
    assert not await chain.record_equivocation(first)
    assert not await chain.record_equivocation(second)
    assert await chain.equivocations() == [first]
    await database.close()


async def test_a_database_of_the_first_verifier_goes_on(tmp_path: Path) -> None:
    """Two versions of height 2 after a reorg, a lie at 3: the newest verdicts are the chain that was followed."""
    engine = SqliteEngine(make_url(f"sqlite:///{tmp_path / 'db.sqlite'}"))

    def fill(connection: sa.Connection) -> None:
        config = migration_config("verifier")
        config.attributes["connection"] = connection
        command.upgrade(config, "verifier_0001")
        rows = [(1, "11", "VALID", "11", 1.0), (2, "21", "VALID", "21", 2.0), (2, "22", "VALID", "22", 3.0)]
        rows += [(3, "31", "INVALID", "33", 4.0), (4, "41", "INCONCLUSIVE", None, 5.0)]
        for number, served, kind, computed, at in rows:
            connection.execute(
                sa.text("INSERT INTO verdicts VALUES (:n, :h, :v, :c, :header, '[]', NULL, 1, 1, :at, 0.1)"),
                {
                    "n": number,
                    "h": bytes.fromhex(served * 32),
                    "v": kind,
                    "c": computed and bytes.fromhex(computed * 32),
                    "header": computed and b"header",
                    "at": at,
                },
            )

    await engine.transaction(fill)
    await engine.close()
    database = await opened(tmp_path, "verifier")
    log, chain = VerdictLog(database), ChainRecord(database)
    assert await chain.head(VERIFIED) == head(3, b"\x33" * 32)
    canonical = [await log.canonical_at(number) for number in range(1, 5)]
    assert [entry and entry.block_hash[0] for entry in canonical] == [0x11, 0x22, 0x31, None]
    await database.close()
