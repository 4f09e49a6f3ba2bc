"""`mach devnet`: a whole network on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from mach.cli.logs import configure_logging
from mach.cli.running import run_until_signal
from mach.devnet.demo import DemoResult, run_demo
from mach.devnet.faults import Fault, ProposerFault, parse_fault
from mach.devnet.l2_stacks import L2Kind
from mach.devnet.layout import LOOPBACK, Layout, Ports
from mach.devnet.live_view import LiveView
from mach.devnet.story import Story
from mach.devnet.supervisor import Devnet, DevnetOptions, running_devnet
from mach.errors import ConfigurationError, EnvironmentFaultError
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError

NO_FAULT: Final = "none"
DOWN_DEADLINE_S: Final = 30.0

FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".devnet"),
    show_default=True,
    help="Where the devnet keeps its files.",
)
FAULT = click.option(
    "--fault",
    default=NO_FAULT,
    show_default=True,
    metavar="KIND[@BLOCK]",
    help="The lie: state-root, receipts-root, gas-used or tx-result of a block as verifiers are served it, "
    "output-root of a block as it is proposed on L1, or none.",
)

L2 = click.option(
    "--l2",
    "l2_kind",
    type=click.Choice([kind.value for kind in L2Kind]),
    default=L2Kind.OP_STACK.value,
    show_default=True,
    help="The L2: op-geth with deposits, withdrawals and output roots, or geth. The first time, its node is built.",
)


@click.group()
def devnet() -> None:
    """A whole network on this machine: L1 with EigenLayer, L2, operators, verifiers, aggregator."""


@devnet.command()
@FOLDER
@FAULT
@L2
@click.option("--only", type=click.Choice(["chains"]), help="Leave Mach's services out, to run them by hand.")
@click.option("--free-ports", is_flag=True, help="Take any free ports instead of the usual ones.")
@click.option(
    "--block-time", type=click.FloatRange(0.05, 60), default=1.0, show_default=True, help="Of the L2, seconds."
)
def up(folder: Path, fault: str, l2_kind: str, only: str | None, free_ports: bool, block_time: float) -> None:
    """Start the devnet and show what happens until Ctrl-C."""
    lie = read_fault(fault)
    if lie is not None and lie.block_number is None:
        raise ConfigurationError(f"--fault {fault} needs the block to lie about: {fault}@BLOCK, for example {fault}@20")
    options = DevnetOptions(
        folder,
        Ports.free() if free_ports else Ports(),
        l2_block_time_s=block_time,
        services=only != "chains",
        fault=lie,
        l2_kind=L2Kind(l2_kind),
    )
    configure_logging("auto", "error")
    run_until_signal(lambda: _up(options))


async def _up(options: DevnetOptions) -> None:
    story = Story()
    with LiveView(story, "Mach devnet (Ctrl-C ends it)") as view:
        async with Devnet(options, view.note) as net:
            ports = options.ports
            addresses = f"L1 :{ports.l1}, L2 :{ports.l2}, L2 as verifiers see it :{ports.lying_node}"
            story.say("devnet", f"files in {net.layout.folder}; {addresses}")
            view.refresh()
            await net.watch()


@devnet.command()
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(folder: Path, as_json: bool) -> None:
    """Say whether a devnet is up, and how far its chains are. Exit code 1 when none is."""
    found = running_devnet(Layout(folder.absolute()))
    if found is None:
        click.echo(json.dumps({"up": False}) if as_json else f"no devnet is up in {folder}")
        raise click.exceptions.Exit(1)
    heads = asyncio.run(_heads(found.ports))
    if as_json:
        click.echo(json.dumps({"up": True, "pid": found.pid, "ports": asdict(found.ports), "heads": heads}))
        return
    table = Table(title=f"devnet in {folder}, process {found.pid}")
    for heading in ("part", "address", "head"):
        table.add_column(heading)
    for name, port in asdict(found.ports).items():
        for one in port if isinstance(port, (list, tuple)) else (port,):
            table.add_row(name, f"{LOOPBACK}:{one}", str(heads.get(name, "")))
    Console().print(table)


async def _heads(ports: Ports) -> dict[str, Any]:
    heads: dict[str, Any] = {}
    for name in ("l1", "l2", "lying_node"):
        async with JsonRpcClient(f"http://{LOOPBACK}:{getattr(ports, name)}", timeout_s=2.0) as client:
            try:
                heads[name] = int(await client.call("eth_blockNumber"), 16)
            except (PeerUnavailableError, PeerRefusedError) as error:
                heads[name] = f"away: {error}"
    return heads


@devnet.command()
@FOLDER
def down(folder: Path) -> None:
    """End the devnet that is up in the folder."""
    layout = Layout(folder.absolute())
    found = running_devnet(layout)
    if found is None:
        click.echo(f"no devnet is up in {folder}")
        return
    os.kill(found.pid, signal.SIGTERM)
    end = time.monotonic() + DOWN_DEADLINE_S
    while running_devnet(layout) is not None:
        if time.monotonic() > end:
            raise EnvironmentFaultError(
                f"the devnet (process {found.pid}) did not end within {DOWN_DEADLINE_S:g} s; kill it by its id"
            )
        time.sleep(0.1)
    click.echo("the devnet is down")


@devnet.command()
@FOLDER
@FAULT
@L2
@click.option("--mode", type=click.Choice(["bls"]), default="bls", show_default=True, help="How alerts are confirmed.")
@click.option(
    "--block-time", type=click.FloatRange(0.05, 60), default=1.0, show_default=True, help="Of the L2, seconds."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result for programs.")
def demo(folder: Path, fault: str, l2_kind: str, mode: str, block_time: float, as_json: bool) -> None:
    """Catch a lie about an L2 block or its output root, up to AlertConfirmed on L1, then end everything."""
    del mode  # one so far; click has checked it
    lie = read_fault(fault)
    options = DevnetOptions(folder, Ports.free(), l2_block_time_s=block_time, l2_kind=L2Kind(l2_kind), fault=lie)
    configure_logging("auto", "error")
    results: list[DemoResult] = []
    console = Console(stderr=True) if as_json else Console()

    async def run() -> None:
        results.append(await run_demo(options, lie, console))

    run_until_signal(run)
    if not results:
        raise click.Abort
    show_result(results[0], as_json)


def read_fault(text: str) -> Fault | ProposerFault | None:
    """The fault of `--fault`; None for `none`."""
    return None if text == NO_FAULT else parse_fault(text)


def show_result(result: DemoResult, as_json: bool) -> None:
    """What the demo showed, for a program or a person."""
    if as_json:
        fields = {**asdict(result), "fault": str(result.fault) if result.fault else None}
        click.echo(json.dumps(fields))
        return
    table = Table(title="read back from the contract", show_header=False, title_style="bold")
    table.add_column()
    table.add_column(overflow="fold")
    rows = {
        "blocks found VALID by all verifiers": f"{result.blocks_verified} ({result.transactions} transactions)",
        "alerts on L1": str(result.alerts_on_chain),
    }
    if result.outputs_agree:
        rows["output roots on L1 found true by all"] = str(result.outputs_agree)
    if result.fault is not None:
        rows |= {
            "the lie": str(result.fault),
            "verdict": ("FALSE OUTPUT · " if isinstance(result.fault, ProposerFault) else "INVALID · ")
            + "\n".join(result.fields),
            "alert": str(result.alert_hash),
            "signed by": ", ".join(result.signers),
            "L1 transaction": str(result.tx_hash),
            "L1 block, gas": f"{result.l1_block}, {result.gas_used}",
        }
        if result.early_alerts:
            rows["early alert"] = ", ".join(result.early_alerts)
    rows["seconds from start"] = f"{result.seconds:.1f}"
    for label, value in rows.items():
        table.add_row(label, str(value))
    Console().print(table)
