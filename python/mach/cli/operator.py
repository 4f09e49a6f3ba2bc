"""`mach operator`: what an operator does on L1 before and after it signs, also under the original's command names."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from mach.chain import operators
from mach.chain.connection import connection
from mach.chain.sender import TransactionSender
from mach.cli.deploy import ADDRESS
from mach.config.loading import load
from mach.config.operator import OperatorConfig
from mach.errors import ConfigurationError
from mach.keys import load_ecdsa_keystore
from mach.operator.service import deployment_of, load_keys, password_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eth_account.signers.local import LocalAccount

    from mach.chain.deploy_output import DeployOutput

_PATH = click.Path(dir_okay=False, path_type=Path)

_config = click.option("--config", "config_path", type=_PATH, help="operator.yaml; here or before the command's name.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_quorums = click.option(
    "--quorum",
    "quorums",
    type=click.IntRange(0, 191),
    multiple=True,
    default=(0,),
    show_default=True,
    help="Number of the quorum; may be repeated.",
)


@click.group()
@click.option("--config", "config_path", type=_PATH, help="operator.yaml with keys, L1 and deployment.")
@click.pass_context
def operator(context: click.Context, config_path: Path | None) -> None:
    """Register an operator with EigenLayer and with Mach, and look at its standing."""
    context.obj = config_path


@operator.command("register-with-eigenlayer")
@_config
@_as_json
@click.pass_obj
def register_with_eigenlayer(group_config: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Become an EigenLayer operator."""
    config = _load(group_config, config_path)
    outcome = _send(
        config,
        _ecdsa_account(config),
        lambda sender, deployment: operators.register_with_eigenlayer(
            sender, deployment, metadata_uri=config.metadata_uri
        ),
    )
    _report(outcome, "registered with EigenLayer", "was registered with EigenLayer already", as_json=as_json)


@operator.command("deposit-into-strategy")
@_config
@click.option(
    "--strategy", "--strategy-addr", "strategy", type=ADDRESS, help="The strategy; the deployment's if not given."
)
@click.option(
    "--amount", "amount_wei", type=click.IntRange(min=1), required=True, help="Amount in the token's smallest unit."
)
@_as_json
@click.pass_obj
def deposit_into_strategy(
    group_config: Path | None, config_path: Path | None, strategy: str | None, amount_wei: int, as_json: bool
) -> None:
    """Deposit tokens as stake, on top of earlier deposits."""
    config = _load(group_config, config_path)
    outcome = _send(
        config,
        _ecdsa_account(config),
        lambda sender, deployment: operators.deposit_into_strategy(sender, deployment, amount_wei, strategy=strategy),
    )
    _report(outcome, f"deposited {amount_wei} wei", "nothing to deposit", as_json=as_json)


@operator.command("register-with-avs")
@_config
@_quorums
@_as_json
@click.pass_obj
def register_with_avs(
    group_config: Path | None, config_path: Path | None, quorums: tuple[int, ...], as_json: bool
) -> None:
    """Register the operator and its BLS key with Mach."""
    config = _load(group_config, config_path)
    account, bls_key = load_keys(config)
    outcome = _send(
        config,
        account,
        lambda sender, deployment: operators.register_with_avs(
            sender, deployment, bls_key, socket=config.operator_socket, quorum_numbers=_quorum_bytes(quorums)
        ),
    )
    _report(outcome, "registered with the AVS", "was registered with the AVS already", as_json=as_json)


@operator.command("deregister-from-avs")
@_config
@_quorums
@_as_json
@click.pass_obj
def deregister_from_avs(
    group_config: Path | None, config_path: Path | None, quorums: tuple[int, ...], as_json: bool
) -> None:
    """Leave Mach's quorums."""
    config = _load(group_config, config_path)
    outcome = _send(
        config,
        _ecdsa_account(config),
        lambda sender, deployment: operators.deregister_from_avs(
            sender, deployment, quorum_numbers=_quorum_bytes(quorums)
        ),
    )
    _report(outcome, "deregistered from the AVS", "was not registered with the AVS", as_json=as_json)


@operator.command("status")
@_config
@_as_json
@click.pass_obj
def status(group_config: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Show what L1 knows of the operator."""
    config = _load(group_config, config_path)
    # The address is public: a keystore is opened only where the settings do not name it.
    address = config.operator_ecdsa_address or _ecdsa_account(config).address

    async def read() -> operators.OperatorStatus:
        async with connection(config.eth_rpc_url, config.layer1_chain_id) as w3:
            return await operators.operator_status(w3, deployment_of(config), address)

    known = asyncio.run(read())
    if as_json:
        click.echo(json.dumps(_status_json(known)))
        return
    table = Table("what", "value", title=f"Operator {known.address}")
    for name, value in _status_json(known).items():
        if name != "quorums":
            table.add_row(name.replace("_", " "), "–" if value is None else str(value))
    for quorum in known.quorums:
        table.add_row(
            f"quorum {quorum.quorum_number}",
            f"{'member' if quorum.registered else 'not a member'}, stake {quorum.current_stake_wei} wei "
            f"(available {quorum.available_stake_wei}, minimum {quorum.minimum_stake_wei})",
        )
    Console().print(table)


def _alias(command: click.Command, *names: str) -> None:
    """Makes a command answer to the original's names, too, without showing them."""
    for name in names:
        operator.add_command(
            click.Command(name, params=command.params, callback=command.callback, help=command.help, hidden=True)
        )


_alias(register_with_eigenlayer, "register-operator-with-eigenlayer", "rel")
_alias(deposit_into_strategy, "d")
_alias(register_with_avs, "register-operator-with-avs", "r")
_alias(deregister_from_avs, "deregister-operator-with-avs")
_alias(status, "print-operator-status", "s")


def _load(group_config: Path | None, config_path: Path | None) -> OperatorConfig:
    path = config_path or group_config
    if path is None:
        raise ConfigurationError("no settings given: add --config operator.yaml")
    return load(OperatorConfig, path)


def _ecdsa_account(config: OperatorConfig) -> LocalAccount:
    password = password_of(
        config.operator_ecdsa_key_password, config.operator_ecdsa_key_password_file, "OPERATOR_ECDSA_KEY_PASSWORD"
    )
    return load_ecdsa_keystore(config.ecdsa_private_key_store_path, password)


def _quorum_bytes(quorums: tuple[int, ...]) -> bytes:
    return bytes(sorted(set(quorums)))


def _send(
    config: OperatorConfig,
    account: LocalAccount,
    action: Callable[[TransactionSender, DeployOutput], Awaitable[operators.Outcome]],
) -> operators.Outcome:
    deployment = deployment_of(config)

    async def run() -> operators.Outcome:
        async with connection(config.eth_rpc_url, config.layer1_chain_id) as w3:
            return await action(TransactionSender(w3, account, config.layer1_chain_id), deployment)

    return asyncio.run(run())


def _report(outcome: operators.Outcome, done: str, unchanged: str, *, as_json: bool) -> None:
    transaction_hash = None if outcome.receipt is None else f"0x{outcome.receipt.transaction_hash.hex()}"
    if as_json:
        click.echo(json.dumps({"changed": outcome.changed, "transaction_hash": transaction_hash}))
    elif outcome.changed:
        click.echo(f"{done}, transaction {transaction_hash}")
    else:
        click.echo(unchanged)


def _status_json(known: operators.OperatorStatus) -> dict[str, Any]:
    return {
        "address": known.address,
        "balance_wei": known.balance_wei,
        "registered_with_eigenlayer": known.registered_with_eigenlayer,
        "strategy_shares_wei": known.strategy_shares_wei,
        "allowlist_enabled": known.allowlist_enabled,
        "allowlisted": known.allowlisted,
        "avs_status": known.avs_status.name.lower(),
        "operator_id": None if known.operator_id is None else f"0x{known.operator_id.hex()}",
        "quorums": [
            {
                "quorum_number": quorum.quorum_number,
                "registered": quorum.registered,
                "current_stake_wei": quorum.current_stake_wei,
                "available_stake_wei": quorum.available_stake_wei,
                "minimum_stake_wei": quorum.minimum_stake_wei,
            }
            for quorum in known.quorums
        ],
    }
