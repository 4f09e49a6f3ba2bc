"""The `mach` command. Subcommands are imported when they are called, so that `mach --help` is instant."""

from __future__ import annotations

import importlib
from typing import Final

import click

from mach.cli.running import run_command

SUBCOMMANDS: Final = {
    "conformance": ("mach.cli.conformance:conformance", "Run blockchain tests of ethereum/tests through the verifier."),
    "deploy": ("mach.cli.deploy:deploy", "Deploy Mach's contracts (on a devnet EigenLayer's too)."),
    "devnet": ("mach.cli.devnet:devnet", "A whole network on this machine: up, status, down, demo."),
    "keys": ("mach.cli.keys:keys", "Create, import and show ECDSA and BLS keystores."),
    "operator": ("mach.cli.operator:operator", "Register an operator with EigenLayer and with Mach."),
    "tasks": ("mach.cli.tasks:tasks", "An aggregator's tasks: list, show, retry."),
    "verify": ("mach.cli.verify:verify", "Re-execute blocks from files or from a node."),
    "witness": ("mach.cli.verify:witness", "Record a block with all that its verification needs."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand only to run it."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted(SUBCOMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in SUBCOMMANDS:
            return None
        module, _, attribute = SUBCOMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a click command")
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUBCOMMANDS[name][1]) for name in self.list_commands(_context)])


@click.group(cls=LazyGroup)
@click.version_option(package_name="mach-avs")
def mach() -> None:
    """Fast finality for Ethereum rollups and a circuit breaker for RPC nodes."""


def main() -> None:
    """Entry point of `mach`."""
    run_command(mach)
