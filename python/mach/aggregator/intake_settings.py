"""From the aggregator's settings to those of its intake and transports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mach.chain.addresses import address_bytes
from mach.errors import ConfigurationError
from mach.transport.intake import IntakeSettings

if TYPE_CHECKING:
    from mach.chain.deploy_output import DeployOutput
    from mach.config.aggregator import AggregatorConfig


def intake_settings(
    config: AggregatorConfig, deployment: DeployOutput, thresholds: bytes, *, shared: bool
) -> IntakeSettings:
    """What the intake of a configured aggregator is told; `thresholds` holds one percentage a quorum.

    Raises `ConfigurationError` for settings that do not go together.
    """
    return IntakeSettings(
        quorum_numbers=bytes(config.quorum_nums),
        quorum_threshold_percentages=thresholds,
        rollup_chain_id=config.layer2_chain_id,
        layer1_chain_id=config.layer1_chain_id,
        operator_state_retriever=address_bytes(deployment.operator_state_retriever),
        registry_coordinator=address_bytes(deployment.registry_coordinator),
        servers=server_settings(config),
        max_open_tasks=config.max_open_tasks,
        max_unsigned_per_peer=config.max_unsigned_tasks_per_peer,
        cool_down_s=config.bad_signature_cool_down_s,
        queue_bound=config.max_queued_signatures,
        shared=shared,
    )


def server_settings(config: AggregatorConfig) -> dict[str, Any]:
    """The transports' settings as `mach_rpc` reads them."""
    listeners = {
        "jsonrpc": config.aggregator_jsonrpc_server_ip_port_address,
        "grpc": config.aggregator_grpc_server_ip_port_address,
        "net_rpc": config.aggregator_server_ip_port_address,
    }
    rate = {"requests_per_second": config.requests_per_second_per_peer, "burst": _burst(config)}
    connections = min(config.max_connections_per_peer, config.max_connections)
    settings: dict[str, Any] = {
        "listeners": {name: str(address) for name, address in listeners.items() if address is not None},
        "workers": config.worker_threads or max(os.cpu_count() or 1, 1),
        "rpc_vhosts": config.rpc_vhosts,
        "rpc_cors": config.rpc_cors,
        "limits": {
            "max_connections": config.max_connections,
            "peer": {"connections": connections, **rate},
            # Everything on this machine has one address, a proxy in front of all operators perhaps.
            "loopback": {"connections": config.max_connections, **rate},
        },
        "token_files": [] if config.tokens_file is None else [str(config.tokens_file)],
    }
    if (config.tls_certificate_file is None) != (config.tls_key_file is None):
        raise ConfigurationError("`tls_certificate_file` and `tls_key_file` belong together: give both or none")
    if config.tls_client_ca_file is not None and config.tls_certificate_file is None:
        raise ConfigurationError("`tls_client_ca_file` needs `tls_certificate_file` and `tls_key_file`")
    if config.tls_certificate_file is not None:
        settings["tls"] = {
            "certificate_file": str(config.tls_certificate_file),
            "private_key_file": str(config.tls_key_file),
            "client_ca_file": None if config.tls_client_ca_file is None else str(config.tls_client_ca_file),
        }
    return settings


def _burst(config: AggregatorConfig) -> int:
    """Two seconds' worth may come at once."""
    return max(int(2 * config.requests_per_second_per_peer), 1)
