"""`mach deploy`: puts Mach's contracts on a settlement chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from mach.chain.addresses import checksum_address
from mach.chain.connection import connection, request
from mach.chain.deployment import (
    DEFAULT_QUORUM_THRESHOLD_PERCENT,
    CoreAddresses,
    DeployOutput,
    MachParameters,
    QuorumParameters,
    allow_operators,
)
from mach.chain.deployment import deploy as deploy_contracts
from mach.chain.eigenlayer_middleware import MULTIPLIER_ONE
from mach.chain.sender import TransactionSender
from mach.errors import ConfigurationError
from mach.keys import ecdsa_key_from_bytes, load_ecdsa_keystore, read_private_key, resolve_password

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

PASSWORD_VARIABLE = "MACH_KEY_PASSWORD"  # noqa: S105  the name of a variable

_PATH = click.Path(dir_okay=False, path_type=Path)


class AddressType(click.ParamType[str]):
    """A 20-byte address in hex, in checksum form afterwards."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The checksummed address, or a usage error."""
        try:
            return checksum_address(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


ADDRESS = AddressType()


@click.command("deploy")
@click.option("--rpc-url", default="http://127.0.0.1:8545", show_default=True, help="JSON-RPC URL of the L1.")
@click.option("--chain-id", type=click.IntRange(min=1), help="The chain id that the L1 must have.")
@click.option("--key-file", type=_PATH, help="File that holds the deployer's private key in hex.")
@click.option("--keystore", type=_PATH, help="The deployer's web3 V3 keystore.")
@click.option(
    "--password-file", type=_PATH, help=f"File with the keystore's password; else {PASSWORD_VARIABLE}, else a prompt."
)
@click.option(
    "--rollup-chain-id",
    "rollup_chain_ids",
    type=click.IntRange(min=1),
    multiple=True,
    required=True,
    help="Chain id of a rollup to watch; may be repeated.",
)
@click.option(
    "--output", type=_PATH, default="machavs_deploy_output.json", show_default=True, help="Deployment file to write."
)
@click.option("--overwrite", is_flag=True, help="Replace the deployment file if there is one.")
@click.option("--alert-confirmer", type=ADDRESS, help="The aggregator's address; the deployer if not given.")
@click.option("--whitelister", type=ADDRESS, help="Who may allow operators; the deployer if not given.")
@click.option("--allow-operator", "operators", type=ADDRESS, multiple=True, help="Operator to allow; may be repeated.")
@click.option(
    "--quorum-threshold",
    type=click.IntRange(1, 100),
    default=DEFAULT_QUORUM_THRESHOLD_PERCENT,
    show_default=True,
    help="Percent of stake that confirms an alert.",
)
@click.option(
    "--minimum-stake-wei",
    type=click.IntRange(min=0),
    default=QuorumParameters().minimum_stake_wei,
    show_default=True,
    help="Least stake of an operator.",
)
@click.option(
    "--max-operators",
    type=click.IntRange(min=1),
    default=QuorumParameters().max_operator_count,
    show_default=True,
    help="Most operators in the quorum.",
)
@click.option("--delegation-manager", type=ADDRESS, help="EigenLayer's DelegationManager on this chain.")
@click.option("--strategy-manager", type=ADDRESS, help="EigenLayer's StrategyManager on this chain.")
@click.option("--avs-directory", type=ADDRESS, help="EigenLayer's AVSDirectory on this chain.")
@click.option(
    "--strategy", "strategies", type=ADDRESS, multiple=True, help="Strategy that counts as stake; may be repeated."
)
@click.option("--allow-core", is_flag=True, help="Deploy EigenLayer's core on a chain other than 31337, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the deployment as JSON.")
def deploy(
    rpc_url: str,
    chain_id: int | None,
    key_file: Path | None,
    keystore: Path | None,
    password_file: Path | None,
    rollup_chain_ids: tuple[int, ...],
    output: Path,
    overwrite: bool,
    alert_confirmer: str | None,
    whitelister: str | None,
    operators: tuple[str, ...],
    quorum_threshold: int,
    minimum_stake_wei: int,
    max_operators: int,
    delegation_manager: str | None,
    strategy_manager: str | None,
    avs_directory: str | None,
    strategies: tuple[str, ...],
    allow_core: bool,
    as_json: bool,
) -> None:
    """Deploy Mach's contracts and write where they stand.

    On a development chain (id 31337) EigenLayer's core contracts are deployed first. Elsewhere name the existing ones
    with --delegation-manager, --strategy-manager, --avs-directory and --strategy.
    """
    if output.exists() and not overwrite:
        raise ConfigurationError(f"{output} exists: give another --output, or --overwrite to replace it")
    core = _existing_core(delegation_manager, strategy_manager, avs_directory, strategies)
    mach = MachParameters(rollup_chain_ids, quorum_threshold, alert_confirmer, whitelister)
    quorum = QuorumParameters(
        minimum_stake_wei=minimum_stake_wei,
        max_operator_count=max_operators,
        strategies=tuple((strategy, MULTIPLIER_ONE) for strategy in strategies),
    )
    account = _deployer(key_file, keystore, password_file)
    if operators and whitelister not in {None, account.address}:
        raise ConfigurationError(
            f"--allow-operator needs the whitelister's key: {whitelister} is not the deployer {account.address}"
        )

    async def run() -> DeployOutput:
        async with connection(rpc_url, chain_id) as w3:
            served_chain_id = await request(w3, w3.eth.chain_id, "read the chain id")
            sender = TransactionSender(w3, account, served_chain_id)
            deployment = await deploy_contracts(sender, mach, core=core, quorums=(quorum,), allow_core=allow_core)
            # Before anything else can fail: what is on chain must not be lost.
            deployment.write(output)
            if operators:
                await allow_operators(sender, deployment, operators)
            return deployment

    deployment = asyncio.run(run())
    if as_json:
        click.echo(json.dumps(deployment.to_json()))
        return
    table = Table("contract", "address", title=f"Mach on chain {deployment.settlement_chain_id}")
    for name, value in deployment.to_json().items():
        if isinstance(value, str) and value.startswith("0x"):
            table.add_row(name, value)
    console = Console()
    console.print(table)
    console.print(f"written to {output}")


def _existing_core(
    delegation_manager: str | None, strategy_manager: str | None, avs_directory: str | None, strategies: tuple[str, ...]
) -> CoreAddresses | None:
    given = {
        "--delegation-manager": delegation_manager,
        "--strategy-manager": strategy_manager,
        "--avs-directory": avs_directory,
        "--strategy": strategies[0] if strategies else None,
    }
    missing = [option for option, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if delegation_manager is None or strategy_manager is None or avs_directory is None or not strategies:
        raise ConfigurationError(f"an existing EigenLayer core needs {', '.join(missing)} too: give all four options")
    return CoreAddresses(delegation_manager, strategy_manager, avs_directory, strategies[0], token=None)


def _deployer(key_file: Path | None, keystore: Path | None, password_file: Path | None) -> LocalAccount:
    if (key_file is None) == (keystore is None):
        raise ConfigurationError("the deployer's key must come from exactly one of --key-file and --keystore")
    if keystore is None:
        return ecdsa_key_from_bytes(read_private_key(file=key_file))
    password = resolve_password(file=password_file, env=PASSWORD_VARIABLE, prompt=f"Password of {keystore}")
    return load_ecdsa_keystore(keystore, password)
