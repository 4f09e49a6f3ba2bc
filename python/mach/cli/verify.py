"""`mach verify`: re-execute blocks from files or from a node, and say what is wrong with them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mach.errors import ConfigurationError
from mach.rollup.block_profile import write_profile
from mach.rollup.node import RollupNode
from mach.rollup.single_block import BlockReport, read_chain_config, verify_from_node, verify_inputs
from mach.rollup.witness_files import BlockInputs, read_block_file, write_block_file
from mach.transport.jsonrpc_client import JsonRpcClient
from mach.transport.urls import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_CODES: Final = {"VALID": 0, "INVALID": 1, "INCONCLUSIVE": 3}
STYLES: Final = {"VALID": "green", "INVALID": "bold red", "INCONCLUSIVE": "yellow"}
MAX_BLOCKS: Final = 100_000
FETCH_AHEAD: Final = 4

_RPC_HELP = "Node to take the blocks and their witnesses from; it must serve the `debug` namespace."
_CONFIG_HELP = "The chain's rules, from a source you trust: genesis, its `config` object, or op-node's rollup config."
_FILE = click.Path(dir_okay=False, path_type=Path)
_rpc_timeout = click.option("--rpc-timeout", type=click.FloatRange(0.1, 3600), default=30.0, show_default=True)


@click.command()
@click.argument("subjects", nargs=-1, required=True, metavar="FILE…|BLOCK…")
@click.option("--rpc", metavar="URL", help=_RPC_HELP)
@click.option("--chain-config", "chain_config_path", type=_FILE, help=_CONFIG_HELP)
@click.option("--profile", "profile_path", type=_FILE, help="Draw where the time went: OUT.svg or OUT.html.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_rpc_timeout
def verify(
    subjects: tuple[str, ...],
    rpc: str | None,
    chain_config_path: Path | None,
    profile_path: Path | None,
    as_json: bool,
    rpc_timeout: float,
) -> int:
    """Re-execute blocks: from files, or with --rpc from a node, where BLOCK is a number, a range A..B or `latest`.

    Ends with 0 if every block is VALID, with 1 if one is INVALID, and else with 3 if one is INCONCLUSIVE.
    """
    if profile_path is not None and profile_path.suffix not in (".svg", ".html"):
        raise click.UsageError(f"--profile {profile_path}: give a name that ends in .svg or .html")
    if rpc is None:
        if chain_config_path is not None:
            raise click.UsageError("--chain-config goes with --rpc; a file holds its chain's configuration")
        reports = list(_from_files([Path(subject) for subject in subjects]))
    else:
        chain_config = _required_config(chain_config_path)
        reports = asyncio.run(_collect(rpc, subjects, chain_config, rpc_timeout))
    if profile_path is not None:
        write_profile(profile_path, reports)
    verdict = _worst(reports)
    if as_json:
        click.echo(json.dumps({"verdict": verdict, "blocks": [_as_json(report) for report in reports]}))
    else:
        _print_table(reports)
    return EXIT_CODES[verdict]


@click.group()
def witness() -> None:
    """Blocks with all that their verification needs, in files."""


@witness.command()
@click.argument("block")
@click.option("--rpc", metavar="URL", required=True, help=_RPC_HELP)
@click.option("--chain-config", "chain_config_path", type=_FILE, required=True, help=_CONFIG_HELP)
@click.option("-o", "--output", type=_FILE, required=True, help="File to write; gzipped if it ends in .gz.")
@_rpc_timeout
def record(block: str, rpc: str, chain_config_path: Path, output: Path, rpc_timeout: float) -> int:
    """Write BLOCK, a number or `latest`, with its witness to a file that `mach verify` reads on its own.

    The block is verified first, so that what the node's witness lacks is asked for. Ends as `mach verify` does; a block
    that cannot be judged is not written.
    """
    chain_config = _required_config(chain_config_path)

    async def fetch() -> tuple[BlockReport, BlockInputs]:
        async with JsonRpcClient(rpc, timeout_s=rpc_timeout) as client:
            node = RollupNode(client)
            await _check_chain(node, rpc, chain_config)
            numbers = await _numbers(node, [block])
            if len(numbers) != 1:
                raise click.UsageError(f"{block!r} is {len(numbers)} blocks; a file holds one")
            return await verify_from_node(node, numbers[0], chain_config)

    report, inputs = asyncio.run(fetch())
    if report.verdict == "INCONCLUSIVE":
        click.echo(f"block {report.number} is INCONCLUSIVE and was not written: {report.reason}", err=True)
    else:
        try:
            write_block_file(output, inputs)
        except OSError as error:
            raise ConfigurationError(f"cannot write {output}: {error.strerror}; name a file in a folder") from None
        size = sum(map(len, inputs.preimages))
        click.echo(
            f"wrote block {report.number} ({report.verdict}) to {output}: {report.transaction_count} transactions, "
            f"{len(inputs.preimages)} preimages of {size:,} bytes"
        )
    return EXIT_CODES[report.verdict]


def _required_config(path: Path | None) -> str:
    if path is None:
        raise click.UsageError("--rpc needs --chain-config: the rules are never taken from the node")
    return read_chain_config(path)


def _from_files(paths: Sequence[Path]) -> Iterator[BlockReport]:
    for path in paths:
        started = time.perf_counter()
        inputs = read_block_file(path)
        yield verify_inputs(str(path), inputs, time.perf_counter() - started)


async def _collect(rpc: str, subjects: Sequence[str], chain_config: str, timeout_s: float) -> list[BlockReport]:
    async with JsonRpcClient(rpc, timeout_s=timeout_s) as client:
        node = RollupNode(client)
        await _check_chain(node, rpc, chain_config)
        numbers = await _numbers(node, subjects)
        few = asyncio.Semaphore(FETCH_AHEAD)

        async def one(number: int) -> BlockReport:
            async with few:
                report, _ = await verify_from_node(node, number, chain_config)
                return report

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in numbers]
        return [task.result() for task in tasks]


async def _check_chain(node: RollupNode, rpc: str, chain_config: str) -> None:
    expected, served = json.loads(chain_config)["chainId"], await node.chain_id()
    if served != expected:
        raise ConfigurationError(
            f"{without_credentials(rpc)} serves chain id {served}, --chain-config is for {expected}; make them agree"
        )


async def _numbers(node: RollupNode, subjects: Sequence[str]) -> list[int]:
    numbers: list[int] = []
    for subject in subjects:
        spans = re.fullmatch(r"(\d+|latest)(?:\.\.(\d+|latest))?", subject)
        if spans is None:
            raise click.UsageError(f"{subject!r} is no block: give a number, a range A..B, or latest")
        ends = [await node.head_number() if end == "latest" else int(end) for end in (spans[1], spans[2] or spans[1])]
        first, last = ends
        if first < 1 or last < first or last - first >= MAX_BLOCKS:
            raise click.UsageError(f"{subject!r} is no range of 1 to {MAX_BLOCKS} blocks after the genesis")
        numbers += range(first, last + 1)
    return numbers


def _worst(reports: Sequence[BlockReport]) -> str:
    verdicts = {report.verdict for report in reports}
    return next(verdict for verdict in ("INVALID", "INCONCLUSIVE", "VALID") if verdict in verdicts)


def _as_json(report: BlockReport) -> dict[str, object]:
    return {
        "source": report.source,
        "number": report.number,
        "hash": "0x" + report.block_hash.hex(),
        "transactions": report.transaction_count,
        "gas_used": report.gas_used,
        "verdict": report.verdict,
        "fields": [
            {"field": mismatch.field, "served": mismatch.served, "computed": mismatch.computed}
            for mismatch in report.mismatches
        ],
        "reason": report.reason,
        "missing": None if report.missing is None else "0x" + report.missing.hex(),
        "milliseconds": {stage: round(seconds * 1000, 3) for stage, seconds in report.seconds.items()},
    }


def _print_table(reports: Sequence[BlockReport]) -> None:
    table = Table("block", "txs", "gas", "verdict", "fields", "ms")
    for column in (1, 2, 5):
        table.columns[column].justify = "right"
    for report in reports:
        table.add_row(
            str(report.number),
            f"{report.transaction_count:,}",
            f"{report.gas_used:,}",
            Text(report.verdict, STYLES[report.verdict]),
            Text(", ".join(mismatch.field for mismatch in report.mismatches)),
            f"{sum(report.seconds.values()) * 1000:,.1f}",
        )
    console = Console()
    console.print(table)
    for report in reports:
        if report.verdict == "VALID":
            continue
        # Values come from strangers and may be long; markup and soft wraps would change them.
        console.print(Text(f"{report.source}: {report.reason}"), soft_wrap=True)
        for mismatch in report.mismatches:
            served, computed = _short(mismatch.served), _short(mismatch.computed)
            console.print(Text(f"  {mismatch.field}: served {served}, should be {computed}"), soft_wrap=True)


def _short(value: str) -> str:
    return value if len(value) <= 160 else f"{value[:120]}… ({len(value)} characters)"
