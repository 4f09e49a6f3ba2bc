"""Tasks and signatures in batches, on SQLite and PostgreSQL: what is durable, what counts once, what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.storage_batches import BLOCK, batch, hash_of, new_task, operator, replica, signature

from mach.storage.aggregator_schema import index_ranges, tasks
from mach.storage.alert_tasks import INDEX_BOUND, AlertTaskStore
from mach.storage.announcement_board import AnnouncementBoard
from mach.storage.database import Database, open_database
from mach.storage.errors import IndicesExhaustedError, RetryRefusedError
from mach.storage.submission_journal import SubmissionJournal
from mach.storage.submitter_lease import SubmitterLease, acquire_lease
from mach.storage.task_queries import TaskFilter, TaskQueries
from mach.storage.task_records import TASK_COLUMNS, MinedIn, Proposal, SignatureBatch, TaskRecord, TaskState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MINED = MinedIn(hash_of("transaction", 1), 60, hash_of("block", 60), 210_000)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await open_database(database_url, "aggregator")
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> AlertTaskStore:
    return AlertTaskStore(database)


@pytest.fixture
async def lease(database: Database) -> AsyncIterator[SubmitterLease]:
    lease = await acquire_lease(database, "test", 10.0)
    assert lease is not None
    yield lease
    await lease.release()


@pytest.fixture
def journal(database: Database, lease: SubmitterLease) -> SubmissionJournal:
    return SubmissionJournal(database, lease)


async def state_of(store: AlertTaskStore, index: int) -> TaskState:
    found = await store.task(index)
    assert found is not None
    return found.state


async def in_quorum(store: AlertTaskStore, index: int = 0) -> TaskRecord:
    await store.record_batch(batch([(index, 1), (index, 2)], tasks=[new_task(index)], quorum=[index]))
    found = await store.task(index)
    assert found is not None
    assert found.state == "quorum"
    return found


def test_a_record_has_a_field_for_every_column() -> None:
    assert {column.name for column in TASK_COLUMNS} == set(tasks.c.keys())


# ---- indices ---


async def test_reserved_ranges_never_overlap(database_url: str) -> None:
    async with replica(database_url) as (_, first), replica(database_url) as (_, second):
        ranges = await asyncio.gather(*(store.reserve_indices(7) for store in (first, second) * 20))
    taken = [index for entry in ranges for index in range(entry.first, entry.first + entry.count)]
    assert sorted(taken) == list(range(280))
    assert all(entry.high_water == entry.first + 7 for entry in ranges)
    async with replica(database_url) as (_, again):
        assert (await again.reserve_indices(1)).first == 280


async def test_indices_end_where_the_contract_can_count_no_further(database: Database, store: AlertTaskStore) -> None:
    await database.transaction(
        lambda connection: connection.execute(index_ranges.update().values(next_index=INDEX_BOUND - 2))
    )
    assert (await store.reserve_indices(2)).high_water == INDEX_BOUND
    with pytest.raises(IndicesExhaustedError, match="fewer than 1 of the 4294967296"):
        await store.reserve_indices(1)
    with pytest.raises(ValueError, match="at least one"):
        await store.reserve_indices(0)


async def test_the_highest_index_and_block_numbers_are_kept(store: AlertTaskStore) -> None:
    task = dataclasses.replace(new_task(INDEX_BOUND - 1), reference_block_number=2**32 - 1)
    await store.record_batch(batch([(INDEX_BOUND - 1, 1)], tasks=[task], block=2**32 - 1))
    assert list(await store.signatures(INDEX_BOUND - 1)) == [operator(1)]


# ---- batches ---


async def test_a_batch_is_durable_as_a_whole(database_url: str) -> None:
    async with replica(database_url) as (_, store):
        signed = [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]
        outcome = await store.record_batch(batch(signed, tasks=[new_task(0), new_task(1)], quorum=[0]))
    assert (outcome.stored, outcome.repeated, outcome.not_stored) == (5, (), ())
    assert (outcome.refused, outcome.quorum, outcome.elsewhere) == ({}, (0,), {})
    async with replica(database_url) as (database, store):
        kept = await store.task(0)
        assert kept is not None
        assert (kept.message_hash, kept.reference_block_number, kept.round) == (hash_of("alert", 0), BLOCK, 0)
        assert (kept.state, kept.attempts, kept.quorum_at == kept.moved_at) == ("quorum", 0, True)
        assert await state_of(store, 1) == "open"
        assert await store.signatures(0) == {operator(n): signature(0, BLOCK, n) for n in (1, 2, 3)}
        assert [task.task_index for task in await store.tasks([1, 0, 7])] == [0, 1]
        assert await store.live_task(hash_of("alert", 1)) == await store.task(1)
        assert await store.count_by_state() == {"open": 1, "quorum": 1}
        assert await store.task(9) is None
        assert database.name


async def test_a_repeated_batch_changes_nothing_and_says_so(store: AlertTaskStore) -> None:
    sent = batch([(0, 1), (0, 2), (1, 1)], tasks=[new_task(0), new_task(1)], quorum=[0])
    await store.record_batch(sent)
    again = await store.record_batch(sent)
    assert (again.stored, again.repeated, again.refused, again.quorum) == (0, (0, 1, 2), {}, ())
    mixed = await store.record_batch(batch([(0, 3), (0, 2), (1, 4), (0, 3), (1, 1)]))
    assert (mixed.stored, mixed.repeated) == (2, (1, 3, 4))
    assert len(await store.signatures(0)) == 3


async def test_the_first_signature_of_an_operator_stays(store: AlertTaskStore) -> None:
    await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
    other = dataclasses.replace(batch([(0, 1)]), signatures=b"\7" * 64)
    assert (await store.record_batch(other)).repeated == (0,)
    assert await store.signatures(0) == {operator(1): signature(0, BLOCK, 1)}


async def test_an_alert_has_one_task(store: AlertTaskStore) -> None:
    await store.record_batch(batch([(5, 1)], tasks=[new_task(5, alert=1)]))
    outcome = await store.record_batch(
        batch([(6, 2), (7, 2), (6, 3)], tasks=[new_task(6, alert=1), new_task(7, alert=2)], quorum=[6, 7])
    )
    assert (outcome.stored, outcome.not_stored, outcome.quorum) == (1, (0, 2), (7,))
    assert outcome.refused == {6: await store.task(5)}
    assert await store.task(6) is None
    assert await store.signatures(7) == {operator(2): signature(7, BLOCK, 2)}


async def test_an_index_has_one_alert_and_a_task_one_set_of_quorums(store: AlertTaskStore) -> None:
    await store.record_batch(batch([(5, 1)], tasks=[new_task(5)]))
    outcome = await store.record_batch(batch([(5, 2)], tasks=[new_task(5, alert=99)]))
    assert (outcome.stored, outcome.refused) == (0, {5: None})
    stricter = dataclasses.replace(new_task(5), quorum_threshold_percentages=b"\x64")
    outcome = await store.record_batch(batch([(5, 2)], tasks=[stricter]))
    assert (outcome.stored, outcome.refused) == (0, {5: await store.task(5)})


async def test_what_nobody_knows_or_what_ended_takes_no_signature(store: AlertTaskStore) -> None:
    await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
    (expired,) = await store.expire(time.time() + 1, 0)
    outcome = await store.record_batch(batch([(0, 2), (44, 1)]))
    assert (outcome.stored, outcome.not_stored, outcome.refused) == (0, (0, 1), {0: expired, 44: None})
    again = await store.record_batch(batch([(1, 1)], tasks=[new_task(1, alert=0)]))
    assert (again.stored, again.refused) == (1, {})


async def test_an_empty_batch_and_one_without_signatures_are_fine(store: AlertTaskStore) -> None:
    assert (await store.record_batch(batch())).stored == 0
    assert (await store.record_batch(batch(tasks=[new_task(0)]))).refused == {}
    assert await state_of(store, 0) == "open"


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="needs columns of"):
        SignatureBatch((), [1, 2], [1, 1], b"\0" * 64, b"\0" * 64)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12), min_size=1, max_size=6))
async def test_any_order_of_signatures_counts_each_once(
    database: Database, store: AlertTaskStore, batches: list[list[tuple[int, int]]]
) -> None:
    base = (await store.reserve_indices(4)).first
    await store.record_batch(batch(tasks=[new_task(base + number) for number in range(4)]))
    seen: set[tuple[int, int]] = set()
    for signed in batches:
        outcome = await store.record_batch(batch([(base + task, signer) for task, signer in signed]))
        expected = []
        for position, pair in enumerate(signed):
            if pair in seen:
                expected.append(position)
            seen.add(pair)
        assert (outcome.stored, outcome.repeated) == (len(signed) - len(expected), tuple(expected))
    for task in range(4):
        kept = await store.signatures(base + task)
        assert kept == {
            operator(signer): signature(base + task, BLOCK, signer) for number, signer in seen if number == task
        }


async def test_live_tasks_come_back_with_their_signers(store: AlertTaskStore, journal: SubmissionJournal) -> None:
    new = [new_task(index) for index in range(5)]
    await store.record_batch(
        batch([(index, signer) for index in range(4) for signer in range(index)], tasks=new, quorum=[2, 3])
    )
    await journal.confirm(3, MINED)
    live = {task.record.task_index: task for task in await store.live_tasks_with_signers()}
    assert sorted(live) == [0, 1, 2, 4]
    for index, task in live.items():
        ids = {task.operator_ids[at : at + 32] for at in range(0, len(task.operator_ids), 32)}
        assert ids == ({operator(signer) for signer in range(index)} if index < 4 else set())
        assert task.record == await store.task(index)
    (confirmed,) = await store.signers([3])
    assert (confirmed.record.state, len(confirmed.operator_ids)) == ("confirmed", 96)
    assert [task.task_index for task in await store.confirmed_since(0.0, 10)] == [3]
    assert await store.confirmed_since(time.time() + 60, 10) == []


# ---- states ---


async def test_a_task_goes_to_l1_and_keeps_its_times(store: AlertTaskStore, journal: SubmissionJournal) -> None:
    await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
    assert await journal.record_submission(0, b"t" * 32, 7, b"raw") is None
    assert await store.reach_quorum(0, BLOCK + 1) is False
    assert await store.reach_quorum(0, BLOCK) is True
    assert await store.reach_quorum(0, BLOCK) is False
    sent = await journal.record_submission(0, b"t" * 32, 7, b"raw")
    assert sent is not None
    assert (sent.state, sent.tx_hash) == ("submitted", b"t" * 32)
    replaced = await journal.record_submission(0, b"u" * 32, 7, b"raw with more fee")
    assert replaced is not None
    assert (replaced.submitted_at, replaced.tx_hash) == (sent.submitted_at, b"u" * 32)
    assert await journal.record_submission(0, b"u" * 32, 7, b"raw with more fee") is not None
    kept = await journal.submissions(0)
    assert [(entry.tx_hash, entry.nonce, entry.transaction) for entry in kept] == [
        (b"t" * 32, 7, b"raw"),
        (b"u" * 32, 7, b"raw with more fee"),
    ]
    assert {entry.epoch for entry in kept} == {1}
    assert await journal.highest_nonce() == 7
    mined = await journal.record_mined(0, MINED)
    assert mined is not None
    assert (mined.state, mined.mined_block, mined.mined_hash, mined.finished_at) == (
        "submitted",
        60,
        MINED.block_hash,
        None,
    )
    assert (mined.tx_hash, mined.gas_used) == (MINED.tx_hash, 210_000)
    confirmed = await journal.confirm(0, MINED)
    assert confirmed is not None
    assert (confirmed.state, confirmed.mined_at) == ("confirmed", mined.mined_at)
    times = (
        confirmed.created_at,
        confirmed.quorum_at,
        confirmed.submitted_at,
        confirmed.mined_at,
        confirmed.finished_at,
    )
    assert list(times) == sorted(times)  # type: ignore[type-var]
    assert await journal.highest_nonce() is None


async def test_states_move_only_along_their_arrows(store: AlertTaskStore, journal: SubmissionJournal) -> None:
    record = await in_quorum(store)
    assert (await journal.confirm(0, MINED)) is not None
    assert await journal.confirm(0, MINED) is None
    assert await journal.retry(0, "x") is None
    assert await journal.fail(0, "x") is None
    assert await journal.record_mined(0, MINED) is None
    assert await journal.record_submission(0, b"t" * 32, 1, b"raw") is None
    assert await journal.begin_round(record, 90, "x") is None
    assert await store.reach_quorum(0, BLOCK) is False
    assert await store.expire(time.time() + 60, 1_000) == []
    assert await journal.submissions(0) == []
    await in_quorum(store, 1)
    failed = await journal.fail(1, "gave up")
    assert failed is not None
    assert (failed.state, failed.reason) == ("failed", "gave up")
    assert await journal.confirm(1, MINED) is None
    assert await journal.retry(77, "no such task") is None


async def test_a_block_that_goes_away_takes_the_confirmation_along(
    store: AlertTaskStore, journal: SubmissionJournal
) -> None:
    await in_quorum(store)
    await journal.record_submission(0, MINED.tx_hash, 1, b"raw")
    await journal.record_mined(0, MINED)
    assert await journal.reorged(0, hash_of("another block")) is None
    back = await journal.reorged(0, MINED.block_hash)
    assert back is not None
    assert (back.state, back.mined_block, back.mined_at, back.gas_used) == ("submitted", None, None, None)
    await journal.confirm(0, MINED)
    back = await journal.reorged(0, MINED.block_hash)
    assert back is not None
    assert (back.state, back.finished_at, back.tx_hash) == ("submitted", None, MINED.tx_hash)
    # Confirmed by somebody else's transaction: there is nothing of ours to wait for.
    await in_quorum(store, 1)
    await journal.confirm(1, MINED)
    back = await journal.reorged(1, MINED.block_hash)
    assert back is not None
    assert back.state == "quorum"
    await store.record_batch(batch([(2, 1)], tasks=[new_task(2)]))
    await journal.confirm(2, MINED)
    back = await journal.reorged(2, MINED.block_hash)
    assert back is not None
    assert back.state == "open"


async def test_attempts_are_counted(store: AlertTaskStore, journal: SubmissionJournal) -> None:
    await in_quorum(store)
    await journal.record_submission(0, MINED.tx_hash, 1, b"raw")
    await journal.record_mined(0, MINED)
    for attempts in (1, 2):
        task = await journal.retry(0, "reverted")
        assert task is not None
        assert (task.state, task.attempts, task.reason, task.mined_block) == ("quorum", attempts, "reverted", None)


async def test_a_new_round_keeps_the_old_signatures_apart(
    database: Database, store: AlertTaskStore, journal: SubmissionJournal
) -> None:
    before = await in_quorum(store)
    task = await journal.begin_round(before, 90, "stakes moved")
    assert task is not None
    assert (task.state, task.round, task.reference_block_number, task.quorum_at) == ("open", 1, 90, None)
    assert await journal.begin_round(before, 95, "twice") is None
    assert await store.signatures(0) == {}
    # Signatures that were on their way over the old block are not counted in the new round.
    late = await store.record_batch(batch([(0, 3)], quorum=[0]))
    assert (late.stored, late.not_stored, late.quorum, late.refused) == (0, (0,), (), {0: task})
    mixed = SignatureBatch(
        (),
        [0, 0],
        [BLOCK, 90],
        operator(3) + operator(4),
        signature(0, BLOCK, 3) + signature(0, 90, 4),
        quorum_reached=[0],
    )
    outcome = await store.record_batch(mixed)
    assert (outcome.stored, outcome.not_stored, outcome.quorum, outcome.refused) == (1, (0,), (), {0: task})
    assert await store.signatures(0) == {operator(4): signature(0, 90, 4)}
    assert (await store.record_batch(batch([(0, 1)], quorum=[0], block=90))).quorum == (0,)
    detail = await TaskQueries(database).detail(0)
    assert detail is not None
    assert {entry.operator_id for entry in detail.signatures} == {operator(1), operator(4)}
    (old,) = detail.past_rounds
    assert (old.round, old.reference_block_number, old.reason) == (0, BLOCK, "stakes moved")
    assert old.signatures == {operator(n): signature(0, BLOCK, n) for n in (1, 2)}
    (live,) = await store.live_tasks_with_signers()
    assert len(live.operator_ids) == 64


async def test_any_replica_may_renew_an_open_task(store: AlertTaskStore) -> None:
    await store.record_batch(batch([(0, 1)], tasks=[new_task(0)]))
    task = await store.task(0)
    assert task is not None
    begun = await store.begin_round(task, 90, "block too old")
    assert begun is not None
    assert begun.round == 1
    quorum = await in_quorum(store, 1)
    assert await store.begin_round(quorum, 90, "not the store's to move") is None


async def test_open_tasks_expire_by_time_and_by_block(store: AlertTaskStore) -> None:
    old, young = new_task(0, block=10), new_task(1, block=50)
    await store.record_batch(batch(tasks=[old, young]))
    assert await store.expire(0.0, 10) == []
    (expired,) = await store.expire(0.0, 11)
    assert (expired.task_index, expired.state, expired.reason) == (0, "expired", "not enough signatures in time")
    assert [task.task_index for task in await store.expire(young.created_at + 1, 0)] == [1]
    assert await store.count_by_state() == {"expired": 2}


# ---- people ---


async def test_pages_go_from_the_newest_to_the_oldest(database: Database, store: AlertTaskStore) -> None:
    start = time.time() - 100
    new = [dataclasses.replace(new_task(index), created_at=start + index // 2) for index in range(9)]
    await store.record_batch(batch([(8, 1), (8, 2), (4, 1)], tasks=new, quorum=[4]))
    queries = TaskQueries(database)
    seen, before = [], None
    while True:
        page = await queries.page(TaskFilter(), limit=4, before=before)
        seen += [(entry.record.task_index, entry.signatures) for entry in page.tasks]
        before = page.next_before
        if before is None:
            break
    assert seen == [(8, 2), (7, 0), (6, 0), (5, 0), (4, 1), (3, 0), (2, 0), (1, 0), (0, 0)]

    async def found(wanted: TaskFilter) -> list[int]:
        return [entry.record.task_index for entry in (await queries.page(wanted)).tasks]

    assert await found(TaskFilter(states=["quorum"])) == [4]
    assert await found(TaskFilter(states=["open"], created_since=start + 3)) == [8, 7, 6]
    assert await found(TaskFilter(message_hash=hash_of("alert", 3))) == [3]
    assert await found(TaskFilter(moved_since=start + 50)) == [4]
    assert await found(TaskFilter(states=[])) == []
    with pytest.raises(ValueError, match="1 to 1000"):
        await queries.page(TaskFilter(), limit=0)
    assert await queries.detail(77) is None


async def test_people_may_ask_for_another_try(
    database: Database, store: AlertTaskStore, journal: SubmissionJournal
) -> None:
    queries = TaskQueries(database)
    await in_quorum(store, 0)
    with pytest.raises(RetryRefusedError, match="task 0 is quorum; only failed and expired"):
        await queries.request_retry(0)
    await journal.retry(0, "reverted")
    await journal.fail(0, "gave up")
    task = await queries.request_retry(0)
    assert (task.state, task.attempts, task.finished_at) == ("quorum", 0, None)
    await journal.fail(0, "gave up again")
    task = await queries.request_retry(0, reference_block_number=99)
    assert (task.state, task.round, task.reference_block_number, task.attempts) == ("open", 1, 99, 0)
    await store.expire(time.time() + 1, 0)
    assert (await queries.request_retry(0)).state == "open"
    await store.expire(time.time() + 1, 0)
    await store.record_batch(batch([(1, 1)], tasks=[new_task(1, alert=0)]))
    with pytest.raises(RetryRefusedError, match="task 1 has the alert of task 0 and is open"):
        await queries.request_retry(0)
    with pytest.raises(RetryRefusedError, match="there is no task 5"):
        await queries.request_retry(5)


# ---- announcements ---


async def test_an_announced_alert_has_the_same_task_everywhere(database_url: str) -> None:
    async with replica(database_url) as (one, store), replica(database_url) as (two, _):
        first, second = AnnouncementBoard(one, 100), AnnouncementBoard(two, 100)
        mine = [Proposal(hash_of("alert", n), n, BLOCK) for n in (3, 1, 2)]
        theirs = [Proposal(hash_of("alert", n), n + 100, BLOCK + 1) for n in (1, 2, 4, 1)]
        told = await first.announce(mine, 0)
        assert [(entry.task_index, entry.reference_block_number, entry.record) for entry in told] == [
            (3, BLOCK, None),
            (1, BLOCK, None),
            (2, BLOCK, None),
        ]
        told = await second.announce(theirs, 0)
        assert [entry.task_index for entry in told] == [1, 2, 104, 1]
        assert await first.announce([], 0) == []
        # Durable tasks come first; one that ended gives way, and so does an announcement over an old block.
        await store.record_batch(batch([(1, 1)], tasks=[new_task(1)]))
        (durable,) = await second.announce([Proposal(hash_of("alert", 1), 50, BLOCK)], 0)
        assert durable.record == await store.task(1)
        await store.expire(time.time() + 1, 0)
        (fresh,) = await second.announce([Proposal(hash_of("alert", 1), 51, BLOCK)], 0)
        assert (fresh.task_index, fresh.record) == (51, None)
        (renewed,) = await first.announce([Proposal(hash_of("alert", 4), 60, BLOCK + 9)], BLOCK + 2)
        assert (renewed.task_index, renewed.reference_block_number) == (60, BLOCK + 9)


async def test_announcements_are_bounded_and_the_oldest_go_first(database: Database) -> None:
    board = AnnouncementBoard(database, 32)
    for start in range(0, 400, 8):
        await board.announce([Proposal(hash_of("alert", n), n, BLOCK) for n in range(start, start + 8)], 0)
        assert await board.count() <= 34
    (kept,) = await board.announce([Proposal(hash_of("alert", 399), 1_000, BLOCK)], 0)
    assert kept.task_index == 399
    (gone,) = await board.announce([Proposal(hash_of("alert", 0), 1_001, BLOCK)], 0)
    assert gone.task_index == 1_001


async def test_replicas_that_announce_at_once_agree(database_url: str) -> None:
    async with replica(database_url) as (one, _), replica(database_url) as (two, _):
        boards = [AnnouncementBoard(one, 1_000), AnnouncementBoard(two, 1_000)]
        for turn in range(10):
            alerts = [hash_of("turn", turn, n) for n in range(20)]
            told = await asyncio.gather(
                *(
                    board.announce([Proposal(alert, 1_000 * which + n, BLOCK) for n, alert in enumerate(order)], 0)
                    for which, board in enumerate(boards)
                    for order in (alerts, alerts[::-1])
                )
            )
            tasks_by_alert: dict[bytes, set[int]] = {}
            for entry in (entry for answer in told for entry in answer):
                tasks_by_alert.setdefault(entry.message_hash, set()).add(entry.task_index)
            assert all(len(indices) == 1 for indices in tasks_by_alert.values())
