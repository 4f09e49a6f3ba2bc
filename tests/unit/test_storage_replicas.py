"""Several processes on one database: races, kill -9, the lease and its fence, lost connections, wake-ups."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url
from tests.unit.storage_batches import BLOCK, batch, hash_of, new_task, operator, replica
from tests.unit.storage_process import SIGNERS

from mach.storage.change_feed import ChangeFeed
from mach.storage.change_hub import ChangeSet, Inbox
from mach.storage.database import open_database
from mach.storage.errors import DatabaseError, DatabaseUnavailableError, FencedOutError
from mach.storage.submission_journal import SubmissionJournal
from mach.storage.submitter_lease import acquire_lease, current_holder
from mach.storage.task_queries import TaskQueries
from mach.storage.task_records import MinedIn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.postgres_server import PostgresServer

    from mach.storage.alert_tasks import AlertTaskStore

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0


@asynccontextmanager
async def process(role: str, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replica of `storage_process.py`; what is left of it at the end is killed."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.unit.storage_process",
        role,
        url,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'python'}{os.pathsep}{REPOSITORY}"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def line_of(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        return (await child.stdout.readline()).decode().strip()


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_S} s: {what}")


# ---- races ---


async def test_of_two_tasks_for_one_alert_one_wins_everywhere(database_url: str) -> None:
    async with replica(database_url) as (_, one), replica(database_url) as (_, two):
        for turn in range(20):
            alert = 1_000 + turn
            pair = (2 * turn, 2 * turn + 1)
            outcomes = await asyncio.gather(
                *(
                    store.record_batch(batch([(index, index)], tasks=[new_task(index, alert=alert)]))
                    for store, index in zip((one, two), pair, strict=True)
                )
            )
            winner = await one.live_task(hash_of("alert", alert))
            assert winner is not None
            for index, outcome in zip(pair, outcomes, strict=True):
                won = index == winner.task_index
                assert (outcome.stored, outcome.refused) == ((1, {}) if won else (0, {index: winner}))


async def test_replicas_that_write_the_same_tasks_in_any_order_do_not_block_each_other(database_url: str) -> None:
    async with replica(database_url) as (_, one), replica(database_url) as (_, two):
        for turn in range(10):
            indices = range(turn * 50, turn * 50 + 50)
            orders = (indices, list(reversed(indices)))
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(
                    *(
                        store.record_batch(
                            batch([(index, who) for index in order], tasks=[new_task(index) for index in order])
                        )
                        for who, (store, order) in enumerate(zip((one, two), orders, strict=True))
                    )
                )
        live = await one.live_tasks_with_signers()
        assert len(live) == 500
        assert all(len(task.operator_ids) == 64 for task in live)


async def test_who_completes_a_quorum_hears_of_the_others_signatures(database_url: str) -> None:
    async with replica(database_url) as (_, one), replica(database_url) as (_, two):
        for index in range(20):
            outcomes = await asyncio.gather(
                *(
                    store.record_batch(batch([(index, who)], tasks=[new_task(index)]))
                    for who, store in enumerate((one, two))
                )
            )
            heard = [outcome.elsewhere.get(index) for outcome in outcomes]
            # Whichever was second knows both signatures, and can decide.
            assert sorted(heard, key=bool) in ([None, operator(0)], [None, operator(1)])
            moved = await asyncio.gather(*(store.reach_quorum(index, BLOCK) for store in (one, two)))
            assert sorted(moved) == [False, True]


# ---- kill -9 ---


async def test_a_writer_killed_in_mid_transaction_leaves_nothing_behind(database_url: str) -> None:
    async with process("stop_before_commit", database_url) as child:
        assert await line_of(child) == "written"
        child.kill()
        await child.wait()
        async with replica(database_url) as (_, store):
            assert await store.live_tasks_with_signers() == []
            outcome = await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
            assert outcome.stored == 1


async def test_what_a_killed_writer_said_is_durable_and_what_it_did_not_is_whole(database_url: str) -> None:
    async with process("write_for_ever", database_url) as child:
        told = [int(await line_of(child)) for _ in range(5)]
        child.kill()
        rest, _ = await child.communicate()
        told += [int(line) for line in rest.split(b"\n")[:-1]]
    async with replica(database_url) as (_, store):
        kept = {task.record.task_index: task for task in await store.live_tasks_with_signers()}
        assert set(told) <= set(kept)
        assert len(kept) - len(told) <= 1
        for task in kept.values():
            assert (task.record.state, len(task.operator_ids)) == ("quorum", 32 * SIGNERS)
        assert (await store.reserve_indices(1)).first >= max(kept) + 1


# ---- the lease ---


async def test_only_one_replica_submits(database_url: str) -> None:
    async with replica(database_url) as (one, store), replica(database_url) as (two, _):
        assert await current_holder(one) is None
        first = await acquire_lease(one, "replica one", 0)
        assert first is not None
        assert await acquire_lease(two, "replica two", 0) is None
        waiting = asyncio.create_task(acquire_lease(two, "replica two", DEADLINE_S))
        await store.record_batch(batch([(0, 1)], tasks=[new_task(0)], quorum=[0]))
        assert await SubmissionJournal(one, first).record_submission(0, b"t" * 32, 1, b"raw") is not None
        assert not first.lost.is_set()
        await first.release()
        second = await waiting
        assert second is not None
        assert (first.epoch, second.epoch, first.lost.is_set()) == (1, 2, True)
        holder = await current_holder(one)
        assert holder is not None
        assert holder[:2] == ("replica two", 2)
        await second.release()


async def test_a_late_writer_is_fenced_out_whatever_it_writes(database_url: str) -> None:
    async with replica(database_url) as (one, store), replica(database_url) as (two, _):
        first = await acquire_lease(one, "replica one", 0)
        assert first is not None
        await store.record_batch(batch([(0, 1)], tasks=[new_task(0)], quorum=[0]))
        before = await store.task(0)
        assert before is not None
        await first.release()
        second = await acquire_lease(two, "replica two", 0)
        assert second is not None
        late = SubmissionJournal(one, first)
        mined = MinedIn(b"t" * 32, 60, b"b" * 32, 1)
        for write in (
            late.record_submission(0, b"t" * 32, 1, b"raw"),
            late.record_mined(0, mined),
            late.confirm(0, mined),
            late.reorged(0, b"b" * 32),
            late.retry(0, "x"),
            late.fail(0, "x"),
            late.begin_round(before, 90, "x"),
        ):
            with pytest.raises(FencedOutError, match="replica one held submitter epoch 1, but replica two has taken"):
                await write
        assert await store.task(0) == before
        assert await late.submissions(0) == []
        assert (await SubmissionJournal(two, second).confirm(0, mined)) is not None
        await second.release()


async def test_a_killed_holder_hands_over(database_url: str) -> None:
    async with process("hold_lease", database_url) as child:
        assert await line_of(child) == "1"
        async with replica(database_url) as (database, _):
            assert await acquire_lease(database, "survivor", 0) is None
            child.kill()
            lease = await acquire_lease(database, "survivor", DEADLINE_S)
            assert lease is not None
            assert lease.epoch == 2
            await lease.release()


async def test_a_frozen_holder_loses_the_lease_and_notices_when_it_thaws(postgres_url: str) -> None:
    async with process("hold_lease_until_lost", postgres_url) as child:
        assert await line_of(child) == "1"
        async with replica(postgres_url) as (database, _):
            assert await acquire_lease(database, "survivor", 1.5) is None  # its heartbeats keep it
            child.send_signal(signal.SIGSTOP)
            lease = await acquire_lease(database, "survivor", DEADLINE_S)
            assert lease is not None
            assert lease.epoch == 2
            child.send_signal(signal.SIGCONT)
            assert await line_of(child) == "lost"
            await lease.release()


async def test_nobody_takes_over_in_the_middle_of_a_write(postgres_url: str, postgres_server: PostgresServer) -> None:
    name = str(make_url(postgres_url).database)
    async with replica(postgres_url) as (one, _), replica(postgres_url) as (two, _):
        first = await acquire_lease(one, "replica one", 0)
        assert first is not None
        admin, watcher = await postgres_server.admin(name), await postgres_server.admin(name)
        writing = admin.transaction()
        await writing.start()
        # What `SubmitterLease.check` does at the start of each write.
        await admin.fetchval("SELECT 1 FROM submitter WHERE epoch = 1 FOR SHARE")
        await first.release()
        taking = asyncio.create_task(acquire_lease(two, "replica two", DEADLINE_S))

        async def waits() -> bool:
            query = "SELECT query LIKE 'UPDATE submitter%' FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return bool(await watcher.fetchval(query))

        await eventually(waits, "the new holder waits for the old one's write")
        assert not taking.done()
        await writing.commit()
        second = await taking
        assert second is not None
        await second.release()
        await admin.close()
        await watcher.close()


# ---- lost connections ---


async def cut_all(server: PostgresServer, url: str) -> None:
    """Ends every session of a database."""
    query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{make_url(url).database}'"
    await server.execute(query)


async def test_a_lost_connection_is_a_lost_lease_at_once(postgres_url: str, postgres_server: PostgresServer) -> None:
    async with replica(postgres_url) as (database, store):
        lease = await acquire_lease(database, "replica", 0)
        assert lease is not None
        await cut_all(postgres_server, postgres_url)
        async with asyncio.timeout(1.0):
            await lease.lost.wait()
        # The pool's dead connections are replaced without anybody noticing.
        assert (await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))).stored == 1
        again = await acquire_lease(database, "replica", DEADLINE_S)
        assert again is not None
        assert again.epoch == lease.epoch + 1
        await lease.release()
        await again.release()


async def test_a_server_that_is_away_is_named_and_comes_back(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    async with replica(postgres_url) as (database, store):
        lease = await acquire_lease(database, "replica", 0)
        assert lease is not None
        await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
        await asyncio.to_thread(postgres_server.kill)
        try:
            with pytest.raises(DatabaseUnavailableError, match="check that the server runs") as caught:
                await store.record_batch(batch([(0, 2)]))
            assert postgres_server.password not in str(caught.value)
            assert f"127.0.0.1:{postgres_server.port}" in str(caught.value)
            with pytest.raises(DatabaseUnavailableError):
                await acquire_lease(database, "replica", 5.0)
            with pytest.raises(DatabaseError, match="cannot be opened") as caught:
                await open_database(postgres_url, "aggregator")
            assert postgres_server.password not in str(caught.value)
            async with asyncio.timeout(DEADLINE_S):
                await lease.lost.wait()
        finally:
            await asyncio.to_thread(postgres_server.start)
        assert (await store.record_batch(batch([(0, 1), (0, 2)]))).repeated == (0,)
        await lease.release()


async def test_a_server_that_crashes_has_all_that_was_said_to_be_durable(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    said: list[int] = []
    async with replica(postgres_url) as (_, one), replica(postgres_url) as (_, two):

        async def write(store: AlertTaskStore) -> None:
            while True:
                index = (await store.reserve_indices(1)).first
                await store.record_batch(batch([(index, 1), (index, 2)], tasks=[new_task(index)], quorum=[index]))
                said.append(index)

        async def enough() -> bool:
            return len(said) > 20

        writing = [asyncio.create_task(write(store)) for store in (one, two, one, two)]
        await eventually(enough, "some batches are durable")
        await asyncio.to_thread(postgres_server.kill)
        ended = await asyncio.gather(*writing, return_exceptions=True)
        await asyncio.to_thread(postgres_server.start)
        assert all(isinstance(error, DatabaseUnavailableError) for error in ended), ended
        live = {task.record.task_index: task for task in await one.live_tasks_with_signers()}
        assert set(said) <= set(live)
        assert all((task.record.state, len(task.operator_ids)) == ("quorum", 64) for task in live.values())
        assert (await two.reserve_indices(1)).first > max(live)


# ---- wake-ups ---


async def told(feed: ChangeFeed, condition: Callable[[ChangeSet], bool]) -> ChangeSet:
    """The first change that fulfils a condition."""
    async with asyncio.timeout(DEADLINE_S):
        async for changes in feed:
            if condition(changes):
                return changes
    raise AssertionError("a feed does not end")


async def test_a_process_hears_of_its_own_moves(database_url: str) -> None:
    async with replica(database_url) as (database, store), ChangeFeed(database) as feed:
        await store.record_batch(batch([(0, 1), (1, 1)], tasks=[new_task(0), new_task(1)], quorum=[1]))
        changes = await told(feed, lambda changes: bool(changes.moved))
        assert (changes.moved, changes.signed) == ({1}, frozenset())
        assert not await feed.next(timeout_s=0)


async def test_replicas_wake_each_other(postgres_url: str) -> None:
    async with replica(postgres_url) as (one, store), replica(postgres_url) as (_, other), ChangeFeed(one) as feed:
        assert (await told(feed, lambda changes: True)).missed
        await feed.listening.wait()
        await other.record_batch(batch([(0, 1), (1, 1)], tasks=[new_task(0), new_task(1)], quorum=[1]))
        signed, moved = set[int](), set[int]()
        while signed != {0, 1} or moved != {1}:
            changes = await told(feed, bool)
            assert not changes.missed
            signed |= changes.signed
            moved |= changes.moved
        assert [len(task.operator_ids) for task in await store.signers(signed)] == [32, 32]
        many = [new_task(index) for index in range(10, 2_000)]
        await other.record_batch(batch([(task.task_index, 1) for task in many], tasks=many))
        while len(signed) < 1_992:
            signed |= (await told(feed, bool)).signed


async def test_a_feed_that_lost_its_connection_says_so_and_listens_again(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    async with (
        replica(postgres_url) as (one, _),
        replica(postgres_url) as (_, other),
        ChangeFeed(one, poll_s=0.05) as feed,
    ):
        await feed.listening.wait()
        await feed.next()
        await cut_all(postgres_server, postgres_url)
        assert (await told(feed, lambda changes: changes.missed)).missed

        async def listens() -> bool:
            return feed.listening.is_set()

        await eventually(listens, "the feed listens again")
        await other.record_batch(batch([(7, 1)], tasks=[new_task(7)]))
        await told(feed, lambda changes: 7 in changes.signed)


async def test_a_notice_of_a_later_version_means_missed(postgres_url: str, postgres_server: PostgresServer) -> None:
    name = str(make_url(postgres_url).database)
    async with replica(postgres_url) as (database, _), ChangeFeed(database) as feed:
        await feed.listening.wait()
        await feed.next()
        for payload in ("not json", json.dumps({"of": "another form"}), json.dumps([1])):
            await postgres_server.execute(f"SELECT pg_notify('mach_tasks_public', '{payload}')", name)
            assert (await told(feed, bool)).missed


async def test_a_retry_asked_for_by_another_process_is_heard(database_url: str) -> None:
    async with replica(database_url) as (database, store):
        lease = await acquire_lease(database, "replica", 0)
        assert lease is not None
        await store.record_batch(batch([(0, 1)], tasks=[new_task(0)], quorum=[0]))
        await SubmissionJournal(database, lease).fail(0, "gave up")
        async with ChangeFeed(database, poll_s=0.05) as feed:
            await feed.listening.wait()
            async with process("ask_for_retry", database_url) as child:
                assert await line_of(child) == "quorum"
                changes = await told(feed, lambda changes: 0 in changes.moved)
                assert changes.signed == frozenset()
            assert [task.task_index for task in await store.tasks_in("quorum")] == [0]
        await lease.release()


async def test_a_feed_that_broke_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with replica(f"sqlite:///{tmp_path / 'mach.sqlite'}") as (database, _):

        async def broken(_work: object) -> object:
            raise ZeroDivisionError

        monkeypatch.setattr(database, "snapshot", broken)
        with pytest.raises(ZeroDivisionError):
            async with ChangeFeed(database) as feed:
                await feed.next()


async def test_a_slow_reader_is_told_that_it_missed_something() -> None:
    inbox = Inbox(max_pending=10)
    inbox.put(moved=range(6), signed=range(4))
    assert await inbox.take() == ChangeSet(frozenset(range(4)), frozenset(range(6)))
    inbox.put(moved=range(11))
    inbox.put(moved=[1])
    assert await inbox.take() == ChangeSet(frozenset(), frozenset({1}), missed=True)
    assert not await inbox.take(timeout_s=0)


async def test_a_read_only_question_needs_no_lease(database_url: str) -> None:
    async with replica(database_url) as (one, store), replica(database_url) as (two, _):
        lease = await acquire_lease(one, "replica one", 0)
        assert lease is not None
        await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
        detail = await TaskQueries(two).detail(0)
        assert detail is not None
        assert detail.record == await store.task(0)
        await lease.release()
