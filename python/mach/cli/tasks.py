"""`mach tasks`: an aggregator's tasks, straight from its database, whether it runs or not."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.table import Table

from mach.aggregator.task_views import TaskDetailView, TaskPageView, TaskView
from mach.chain.connection import connection
from mach.config.aggregator import AggregatorConfig
from mach.config.loading import load
from mach.errors import MachError
from mach.storage.database import open_database
from mach.storage.task_queries import MAX_PAGE, TaskFilter, TaskQueries, TaskSummary
from mach.storage.task_records import TASK_STATES, TaskState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STYLES: Final[dict[TaskState, str]] = {
    "open": "cyan",
    "quorum": "yellow",
    "submitted": "yellow",
    "confirmed": "green",
    "failed": "bold red",
    "expired": "dim",
}

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="aggregator.yaml: whose database is read.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_INDEX = click.argument("index", type=click.IntRange(0, 2**32 - 1))


class NoSuchTaskError(MachError):
    """There is no task with the given index."""


@click.group()
def tasks() -> None:
    """The aggregator's tasks: which alerts are on their way to L1, and what became of them."""


@tasks.command("list")
@_CONFIG
@_JSON
@click.option("--state", "states", type=click.Choice(TASK_STATES), multiple=True, help="Only these; may be repeated.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True)
def list_tasks(config_path: Path, as_json: bool, states: tuple[TaskState, ...], limit: int) -> None:
    """Show the newest tasks."""
    page = _ask(config_path, lambda queries: queries.page(TaskFilter(states=states or None), limit=limit))
    views = [TaskView.of(task) for task in page.tasks]
    if as_json:
        click.echo(TaskPageView(tasks=views, next=None).model_dump_json())
        return
    table = Table("task", "alert", "state", "signatures", "created", "transaction", "reason")
    for view in views:
        table.add_row(
            str(view.task_index),
            _short(view.alert_hash),
            f"[{STYLES[view.state]}]{view.state}[/]",
            str(view.signatures),
            _ago(view.created_at),
            _short(view.tx_hash or ""),
            view.reason or "",
        )
    console = Console()
    if views:
        console.print(table)
    else:
        console.print("no tasks" if not states else f"no tasks that are {' or '.join(states)}")


@tasks.command()
@_CONFIG
@_JSON
@_INDEX
def show(config_path: Path, as_json: bool, index: int) -> None:
    """Show everything that is kept about one task."""
    detail = _ask(config_path, lambda queries: queries.detail(index))
    if detail is None:
        raise NoSuchTaskError(f"there is no task {index}; `mach tasks list` shows all")
    view = TaskDetailView.of_detail(detail)
    if as_json:
        click.echo(view.model_dump_json())
        return
    table = Table(show_header=False)
    for name, value in view.model_dump(exclude={"signed_by", "submissions", "past_rounds"}).items():
        if value is not None:
            table.add_row(name, _ago(value) if name.endswith("_at") else str(value))
    for signature in view.signed_by:
        table.add_row("signed by", f"{signature.operator_id}, {_ago(signature.received_at)}")
    for sent in view.submissions:
        table.add_row("transaction", f"{sent.tx_hash}, nonce {sent.nonce}, {_ago(sent.sent_at)}")
    for past in view.past_rounds:
        table.add_row(
            f"round {past.round}", f"{len(past.signatures)} signatures, ended {_ago(past.ended_at)}: {past.reason}"
        )
    Console().print(table)


@tasks.command()
@_CONFIG
@_JSON
@_INDEX
@click.option(
    "--fresh-signatures", is_flag=True, help="Ask operators to sign anew over the present L1 block, not the task's."
)
def retry(config_path: Path, as_json: bool, index: int, fresh_signatures: bool) -> None:
    """Try a failed or expired task again. The running aggregator takes it up within a second or two."""
    config = load(AggregatorConfig, config_path)

    async def ask(queries: TaskQueries) -> TaskView:
        block = await _reference_block(config) if fresh_signatures else None
        record = await queries.request_retry(index, block)
        return TaskView.of(TaskSummary(record, 0))

    view = _ask(config_path, ask)
    if as_json:
        click.echo(json.dumps({"task_index": view.task_index, "state": view.state, "round": view.round}))
    else:
        click.echo(f"task {view.task_index} is {view.state} again")


async def _reference_block(config: AggregatorConfig) -> int:
    async with connection(config.eth_rpc_url, config.layer1_chain_id) as w3:
        return max(int(await w3.eth.block_number) - 1, 0)


def _ask(config_path: Path, question: Callable[[TaskQueries], Awaitable[Any]]) -> Any:
    config = load(AggregatorConfig, config_path)

    async def ask() -> Any:
        database = await open_database(config.database_url, "aggregator")
        try:
            return await question(TaskQueries(database))
        finally:
            await database.close()

    return asyncio.run(ask())


def _short(value: str) -> str:
    return value if len(value) <= 20 else f"{value[:12]}…{value[-6:]}"


def _ago(at: float) -> str:
    seconds = time.time() - at
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit} ago"
    return f"{max(seconds, 0):.1f} s ago"
