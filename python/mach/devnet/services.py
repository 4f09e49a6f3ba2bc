"""A devnet's services: their settings, in the same YAML files that a user writes, and their start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import L1_CHAIN_ID, LOOPBACK, OPERATORS, Layout, Ports
from mach.devnet.processes import Event, ManagedProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from mach.devnet.output_contracts import OutputContracts

READY_DEADLINE_S: Final = 60.0
EARLY_ALERTER: Final = "verifier1"
"""The one verifier that also raises early alerts."""


def service_names() -> list[str]:
    """The services in the order in which they start."""
    operators = [f"operator{number}" for number in range(1, OPERATORS + 1)]
    return ["aggregator", *operators, *(f"verifier{number}" for number in range(1, OPERATORS + 1))]


def command_of(name: str) -> str:
    """The console script that runs a service of this name."""
    if name.startswith("aggregator"):
        return "mach-aggregator"
    return "mach-operator-signer" if name.startswith("operator") else "mach-verifier"


async def start_service(name: str, layout: Layout, listener: Callable[[Event], None]) -> ManagedProcess:
    """Starts a service with its settings file; returns when it says that it has started.

    Raises `ProcessFailedError` with the service's own last words when it ends instead.
    """
    process = ManagedProcess(name, layout.log(name))
    process.listen(listener)
    script = Path(sys.executable).with_name(command_of(name))
    try:
        await process.start([str(script), "--config", str(layout.config(name)), "--log-format", "json"])
        await process.wait_for(lambda event: str(event.get("event", "")).endswith(".started"), READY_DEADLINE_S)
    except BaseException:
        await process.stop()
        raise
    return process


def write_configs(layout: Layout, ports: Ports, outputs: OutputContracts | None = None) -> None:
    """One file a service. Verifiers watch the output roots that are proposed to `outputs`, if there are such."""
    for name in service_names():
        _write(layout.config(name), _settings(name, layout, ports, outputs))


def _settings(name: str, layout: Layout, ports: Ports, outputs: OutputContracts | None) -> dict[str, Any]:
    number = int(name[-1]) if name[-1].isdigit() else 0
    l1 = {
        "eth_rpc_url": f"http://{LOOPBACK}:{ports.l1}",
        "layer1_chain_id": L1_CHAIN_ID,
        "layer2_chain_id": L2_CHAIN_ID,
        "avs_deployment": str(layout.deployment),
        "database_url": layout.database_url(name),
    }
    if name == "aggregator":
        return l1 | {
            "environment": "development",
            "aggregator_jsonrpc_server_ip_port_address": f"{LOOPBACK}:{ports.aggregator}",
            "ecdsa_keystore_path": str(layout.ecdsa_key(name)),
            "ecdsa_keystore_password_file": str(layout.password(name)),
        }
    if name.startswith("operator"):
        return l1 | {
            "ecdsa_private_key_store_path": str(layout.ecdsa_key(name)),
            "operator_ecdsa_key_password_file": str(layout.password(name)),
            "bls_private_key_store_path": str(layout.bls_key(name)),
            "operator_bls_key_password_file": str(layout.password(name)),
            "aggregator_jsonrpc_server_ip_port_address": f"{LOOPBACK}:{ports.aggregator}",
            "operator_server_ip_port_addr": f"{LOOPBACK}:{ports.operators[number - 1]}",
            "verdict_database_url": layout.database_url(f"verifier{number}"),
            # three operators on one machine: the fixed ports of both would collide
            "enable_metrics": False,
            "enable_node_api": False,
        }
    verifier = {
        "l2_rpc_url": f"http://{LOOPBACK}:{ports.lying_node}",
        "layer2_chain_id": L2_CHAIN_ID,
        "l2_chain_config": str(layout.chain_config),
        "operators": [f"http://{LOOPBACK}:{ports.operators[number - 1]}"],
        "database_url": layout.database_url(name),
        "start_block": 1,
    }
    if outputs is None:
        return verifier
    verifier |= {
        "eth_rpc_url": l1["eth_rpc_url"],
        "layer1_chain_id": L1_CHAIN_ID,
        "l2_output_oracle": outputs.l2_output_oracle,
        "dispute_game_factory": outputs.dispute_game_factory,
        "oracle_poll_interval_s": 0.25,
    }
    if name == EARLY_ALERTER:
        verifier |= {
            "early_alert_contract": outputs.early_alerts,
            "early_alert_ecdsa_keystore_path": str(layout.ecdsa_key(name)),
            "early_alert_ecdsa_keystore_password_file": str(layout.password(name)),
        }
    return verifier


def _write(path: Path, settings: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    partial.replace(path)
