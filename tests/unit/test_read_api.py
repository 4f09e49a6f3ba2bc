"""The aggregator's read API on a real socket over a real database, held to its own OpenAPI description."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry, Counter
from tests.unit.storage_batches import BLOCK, batch, hash_of, new_task, operator

from mach.aggregator.read_api import openapi, read_api
from mach.cli.tasks import NoSuchTaskError, tasks
from mach.storage.alert_tasks import AlertTaskStore
from mach.storage.database import Database, open_database
from mach.storage.errors import RetryRefusedError
from mach.storage.submission_journal import SubmissionJournal
from mach.storage.submitter_lease import acquire_lease
from mach.storage.task_queries import TaskQueries
from mach.storage.task_records import MinedIn
from mach.transport.listening import start_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Standing:
    """What the test says keeps the aggregator from its work."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def problems(self) -> list[str]:
        return self.told


@pytest.fixture
def standing() -> Standing:
    return Standing()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_database(f"sqlite+aiosqlite:///{tmp_path / 'aggregator.sqlite'}", "aggregator")
    yield database
    await database.close()


@pytest.fixture
async def base(database: Database, standing: Standing) -> AsyncIterator[str]:
    registry = CollectorRegistry()
    Counter("mach_test", "a metric", registry=registry).inc(3)
    async with AsyncExitStack() as stack:
        runner, port = await start_site(read_api(TaskQueries(database), registry, standing), "127.0.0.1", 0)
        stack.push_async_callback(runner.cleanup)
        yield f"http://127.0.0.1:{port}"


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


def checked(model: str, value: Any) -> Any:
    """The value, if it is as the description says."""
    description = openapi()
    schema = {"$ref": f"#/components/schemas/{model}", "components": description["components"]}
    Draft202012Validator(schema).validate(value)
    return value


async def three_tasks(database: Database) -> None:
    """Task 0 with one signature, 1 confirmed with two, 2 expired."""
    store = AlertTaskStore(database)
    await store.reserve_indices(3)
    made = [dataclasses.replace(new_task(index), created_at=1_000.0 + index) for index in (0, 1, 2)]
    await store.record_batch(batch([(0, 1), (1, 1), (1, 2), (2, 1)], tasks=made, quorum=[1, 2]))
    lease = await acquire_lease(database, "test", 1.0)
    assert lease is not None
    journal = SubmissionJournal(database, lease)
    await journal.record_submission(1, hash_of("transaction", 1), 7, b"signed")
    await journal.confirm(1, MinedIn(hash_of("transaction", 1), 60, hash_of("block", 60), 210_000))
    await journal.fail(2, "refused for good")
    await lease.release()


async def test_tasks_come_newest_first_in_pages_that_follow_each_other(base: str, database: Database) -> None:
    await three_tasks(database)
    status, first = await get(f"{base}/v1/tasks?limit=2")
    assert status == 200
    shown = checked("TaskPageView", first)["tasks"]
    assert [(task["task_index"], task["state"], task["signatures"]) for task in shown] == [
        (2, "failed", 1),
        (1, "confirmed", 2),
    ]
    _, rest = await get(f"{base}/v1/tasks?limit=2&before={first['next']}")
    assert [task["task_index"] for task in rest["tasks"]] == [0]
    assert rest["next"] is None


async def test_tasks_are_found_by_state_and_by_alert(base: str, database: Database) -> None:
    await three_tasks(database)
    _, found = await get(f"{base}/v1/tasks?state=open&state=failed")
    assert {task["task_index"] for task in found["tasks"]} == {0, 2}
    _, found = await get(f"{base}/v1/tasks?alert_hash=0x{new_task(1).message_hash.hex()}")
    assert [task["task_index"] for task in found["tasks"]] == [1]


async def test_one_task_shows_its_signatures_and_transactions(base: str, database: Database) -> None:
    await three_tasks(database)
    status, detail = await get(f"{base}/v1/tasks/1")
    assert status == 200
    checked("TaskDetailView", detail)
    assert detail["reference_block_number"] == BLOCK
    assert {entry["operator_id"] for entry in detail["signed_by"]} == {"0x" + operator(n).hex() for n in (1, 2)}
    assert [(entry["tx_hash"], entry["nonce"]) for entry in detail["submissions"]] == [
        ("0x" + hash_of("transaction", 1).hex(), 7)
    ]
    assert (detail["mined_block"], detail["gas_used"]) == (60, 210_000)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/tasks?state=lost", "state 'lost' is none of open, quorum"),
        ("/v1/tasks?limit=0", "limit '0' is not an integer of 1 to 1000"),
        ("/v1/tasks?limit=1e3", "limit '1e3'"),
        ("/v1/tasks?limit=99999999999999999999", "limit"),
        ("/v1/tasks?alert_hash=0x12", "is not 32 bytes in hex"),
        ("/v1/tasks?created_since=nan", "is not a time"),
        ("/v1/tasks?before=yesterday", "is not what a page's `next` gave"),
        ("/v1/tasks?limti=3", "there is no parameter 'limti'"),
        ("/v1/tasks/-1", "the task index '-1'"),
        ("/v1/tasks/4294967296", "the task index"),
    ],
)
async def test_a_malformed_question_is_told_what_is_wrong_with_it(base: str, path: str, told: str) -> None:
    status, problem = await get(base + path)
    assert status == 400
    assert told in checked("ProblemView", problem)["error"]


async def test_what_is_not_there_is_404_and_nothing_can_be_changed(base: str) -> None:
    status, problem = await get(f"{base}/v1/tasks/9")
    assert (status, checked("ProblemView", problem)["error"]) == (404, "there is no task 9")
    assert (await get(f"{base}/v1/other"))[0] == 404
    async with aiohttp.ClientSession() as session, session.post(f"{base}/v1/tasks") as response:
        assert response.status == 405
        checked("ProblemView", await response.json())


async def test_a_database_that_cannot_be_read_is_a_503_and_the_process_stays(
    base: str, database: Database, tmp_path: Path
) -> None:
    await three_tasks(database)
    with sqlite3.connect(tmp_path / "aggregator.sqlite") as other:
        other.execute("ALTER TABLE tasks RENAME TO elsewhere")
    status, problem = await get(f"{base}/v1/tasks")
    assert status == 503
    checked("ProblemView", problem)
    assert (await get(f"{base}/healthz"))[0] == 200


async def test_health_readiness_and_metrics(base: str, standing: Standing) -> None:
    assert (await get(f"{base}/healthz"))[0] == 200
    assert await get(f"{base}/readyz") == (200, {"status": "ready", "problems": []})
    standing.told = ["the L1 node has not answered for 61 s"]
    assert await get(f"{base}/readyz") == (503, {"status": "not ready", "problems": standing.told})
    assert (await get(f"{base}/healthz"))[0] == 200
    async with aiohttp.ClientSession() as session, session.get(f"{base}/metrics") as response:
        assert "mach_test_total 3.0" in await response.text()


async def test_the_description_is_openapi_and_names_every_path(base: str) -> None:
    status, description = await get(f"{base}/openapi.json")
    assert status == 200
    assert description["openapi"].startswith("3.1")
    assert {"/healthz", "/readyz", "/metrics", "/v1/tasks", "/v1/tasks/{index}"} == set(description["paths"])
    for model in description["components"]["schemas"].values():
        Draft202012Validator.check_schema(model)


# ---- `mach tasks` ----


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "aggregator.yaml"
    path.write_text(
        "eth_rpc_url: http://127.0.0.1:1\nlayer1_chain_id: 1\nlayer2_chain_id: 901\n"
        f"database_url: sqlite+aiosqlite:///{tmp_path / 'aggregator.sqlite'}\n"
    )
    return path


@pytest.fixture
async def filled(database: Database, config: Path) -> Path:
    await three_tasks(database)
    return config


async def run(*arguments: str) -> Any:
    """The command in a thread of its own, as it brings its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, tasks, arguments)


async def test_list_and_show_print_tables_and_json(filled: Path) -> None:
    shown = await run("list", "--config", str(filled))
    assert shown.exit_code == 0, shown.output
    assert all(state in shown.output for state in ("open", "confirmed", "failed"))
    listed = await run("list", "--config", str(filled), "--json", "--state", "confirmed")
    assert [task["task_index"] for task in checked("TaskPageView", json.loads(listed.output))["tasks"]] == [1]
    detail = await run("show", "1", "--config", str(filled), "--json")
    assert len(checked("TaskDetailView", json.loads(detail.output))["signed_by"]) == 2
    table = await run("show", "1", "--config", str(filled))
    assert "nonce 7" in table.output
    absent = await run("show", "9", "--config", str(filled))
    assert isinstance(absent.exception, NoSuchTaskError)


async def test_retry_puts_a_failed_task_back_and_refuses_others(filled: Path) -> None:
    tried = await run("retry", "2", "--config", str(filled))
    assert "task 2 is quorum again" in tried.output
    again = await run("retry", "2", "--config", str(filled))
    assert isinstance(again.exception, RetryRefusedError)
    done = await run("retry", "1", "--config", str(filled))
    assert isinstance(done.exception, RetryRefusedError)
    assert "only failed and expired tasks" in str(done.exception)
