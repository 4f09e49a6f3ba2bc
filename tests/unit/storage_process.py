"""A replica in a process of its own, for tests that kill it: `python storage_process.py ROLE URL`.

Says on standard output what it has done, a line each.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from typing import TYPE_CHECKING

from tests.unit.storage_batches import batch, new_task

from mach.storage.alert_tasks import AlertTaskStore
from mach.storage.batch_recorder import BatchRecorder
from mach.storage.database import Database, open_database
from mach.storage.submitter_lease import acquire_lease
from mach.storage.task_queries import TaskQueries

if TYPE_CHECKING:
    from sqlalchemy import Connection

SIGNERS = 20


def say(text: object) -> None:
    print(text, flush=True)


async def stop_before_commit(database: Database) -> None:
    """Writes a batch and never commits it."""

    def work(connection: Connection) -> None:
        whole = batch([(0, signer) for signer in range(SIGNERS)], tasks=[new_task(0)], quorum=[0])
        BatchRecorder(connection, database.dialect, database.replica, time.time(), whole).run(shared=True)
        say("written")
        threading.Event().wait()

    await database.transaction(work)


async def write_for_ever(database: Database) -> None:
    """Records a task after another and names those that are durable."""
    store = AlertTaskStore(database, shared=True)
    for _ in itertools.count():
        index = (await store.reserve_indices(1)).first
        signed = [(index, signer) for signer in range(SIGNERS)]
        await store.record_batch(batch(signed, tasks=[new_task(index)], quorum=[index]))
        say(index)


async def hold_lease(database: Database) -> None:
    """Takes the lease and keeps it."""
    lease = await acquire_lease(database, "held by a process", 10.0)
    assert lease is not None
    say(lease.epoch)
    await asyncio.Event().wait()


async def hold_lease_until_lost(database: Database) -> None:
    """Takes a lease that a frozen holder loses after a second."""
    lease = await acquire_lease(database, "held by a process", 10.0, frozen_after_s=1.0)
    assert lease is not None
    say(lease.epoch)
    await lease.lost.wait()
    say("lost")


async def ask_for_retry(database: Database) -> None:
    """What `mach tasks retry` does beside a running aggregator."""
    say((await TaskQueries(database).request_retry(0)).state)


async def only_open(_database: Database) -> None:
    """Opening is all."""
    say("open")


ROLES = {
    role.__name__: role
    for role in (stop_before_commit, write_for_ever, hold_lease, hold_lease_until_lost, ask_for_retry, only_open)
}


async def main(role: str, url: str) -> None:
    database = await open_database(url, "aggregator")
    try:
        await ROLES[role](database)
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
