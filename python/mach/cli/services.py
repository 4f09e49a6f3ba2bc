"""The services' commands: `mach-aggregator`, `mach-operator-signer` and `mach-verifier`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mach.cli.logs import LogFormat, configure_logging
from mach.cli.running import run_command, run_until_signal

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = click.Path(dir_okay=False, path_type=Path)


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every service takes."""
    for option in (
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info"),
        click.option("--log-format", type=click.Choice(["auto", "json", "console"]), default="auto"),
        click.option("--config", "config_path", type=PATH, required=True, help="YAML file with the settings."),
        click.version_option(package_name="mach-avs"),
    ):
        command = option(command)
    return command


@click.command("mach-aggregator")
@service_options
@click.option("--avs-deployment", type=PATH, help="machavs_deploy_output.json of the deployment.")
@click.option(
    "--ecdsa-private-key",
    help="Compatible with the original; other users of this machine can read it. Prefer --ecdsa-private-key-file.",
)
@click.option("--ecdsa-private-key-file", type=PATH, help="File that holds the key in hex.")
@click.option("--ecdsa-keystore", type=PATH, help="web3 V3 keystore; its password from file or environment.")
def aggregator_command(
    config_path: Path,
    log_format: LogFormat,
    log_level: str,
    avs_deployment: Path | None,
    ecdsa_private_key: str | None,
    ecdsa_private_key_file: Path | None,
    ecdsa_keystore: Path | None,
) -> None:
    """Collects operators' signatures over alerts and confirms the alerts on L1."""
    from mach.aggregator.service import run_aggregator
    from mach.config.aggregator import AggregatorConfig
    from mach.config.loading import load

    flags = {
        "avs_deployment": avs_deployment,
        "ecdsa_private_key": ecdsa_private_key,
        "ecdsa_private_key_file": ecdsa_private_key_file,
        "ecdsa_keystore_path": ecdsa_keystore,
    }
    config = load(AggregatorConfig, config_path, flags)
    configure_logging(log_format, log_level)
    run_until_signal(lambda: run_aggregator(config))


@click.command("mach-operator-signer")
@service_options
@click.option("--avs-deployment", type=PATH, help="machavs_deploy_output.json of the deployment.")
def operator_command(config_path: Path, log_format: LogFormat, log_level: str, avs_deployment: Path | None) -> None:
    """Signs the alerts of its verifier and submits them to the aggregator."""
    from mach.config.loading import load
    from mach.config.operator import OperatorConfig
    from mach.operator.service import run_operator

    config = load(OperatorConfig, config_path, {"avs_deployment": avs_deployment})
    configure_logging(log_format, log_level)
    run_until_signal(lambda: run_operator(config))


@click.command("mach-verifier")
@service_options
def verifier_command(config_path: Path, log_format: LogFormat, log_level: str) -> None:
    """Re-executes every block of a rollup and raises an alert for one that its inputs do not produce.

    With `verifier_mode: cross-check` it compares independent endpoints instead.
    """
    from mach.config.cross_check import CrossCheckConfig, load_verifier
    from mach.verifier.cross_check_service import run_cross_check
    from mach.verifier.service import run_verifier

    config = load_verifier(config_path)
    configure_logging(log_format, log_level)
    if isinstance(config, CrossCheckConfig):
        run_until_signal(lambda: run_cross_check(config))
    else:
        run_until_signal(lambda: run_verifier(config))


def aggregator() -> None:
    """Entry point of `mach-aggregator`."""
    run_command(aggregator_command)


def operator_signer() -> None:
    """Entry point of `mach-operator-signer`."""
    run_command(operator_command)


def verifier() -> None:
    """Entry point of `mach-verifier`."""
    run_command(verifier_command)
