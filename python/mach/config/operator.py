"""Settings of `mach-operator-signer`; the original's keys and environment names are accepted unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr

from mach.config.loading import ServiceConfig
from mach.config.values import (
    ChainId,
    CommaSeparated,
    FilePath,
    HexAddress,
    HttpUrl,
    Listen,
    ListenAddress,
    Seconds,
    ServerUrl,
)


class OperatorConfig(ServiceConfig):
    """One operator signer: one pair of keys, one rollup."""

    production: bool = Field(default=False, validation_alias=AliasChoices("production", "operator_production"))
    avs_name: str = "mach"
    eth_rpc_url: HttpUrl
    eth_ws_url: str | None = Field(default=None, description="accepted for compatibility; L1 is read over HTTP")
    layer1_chain_id: ChainId
    layer2_chain_id: ChainId
    signature_scheme: Literal["mach-v2", "mach-v1"] = Field(
        default="mach-v2",
        description="mach-v1 leaves the rollup chain id out of the signed hash (aggregators of the older contract)",
    )

    ecdsa_private_key_store_path: FilePath = Field(
        validation_alias=AliasChoices("ecdsa_private_key_store_path", "ecdsa_private_key_path")
    )
    bls_private_key_store_path: FilePath = Field(
        validation_alias=AliasChoices("bls_private_key_store_path", "bls_private_key_path")
    )
    operator_ecdsa_key_password: SecretStr | None = Field(default=None, repr=False)
    operator_ecdsa_key_password_file: FilePath | None = None
    operator_bls_key_password: SecretStr | None = Field(default=None, repr=False)
    operator_bls_key_password_file: FilePath | None = None
    operator_ecdsa_address: HexAddress | None = Field(
        default=None, description="checked against the keystore when given"
    )

    avs_deployment: FilePath = Field(default=Path("machavs_deploy_output.json"))
    avs_registry_coordinator_address: HexAddress | None = None
    operator_state_retriever_address: HexAddress | None = None
    metadata_uri: str = ""
    operator_socket: str = ""

    aggregator_jsonrpc_server_ip_port_address: Annotated[list[ServerUrl], CommaSeparated] = Field(
        default=["http://127.0.0.1:8290"],
        min_length=1,
        validation_alias=AliasChoices("aggregator_jsonrpc_server_ip_port_address", "aggregator_jsonrpc_server_url"),
        description="one aggregator; several addresses are replicas of it, of which any that answers is used",
    )
    aggregator_token_file: FilePath | None = Field(default=None, description="bearer token, if the aggregator asks one")
    aggregator_ca_file: FilePath | None = Field(default=None, description="PEM; the system's authorities otherwise")
    aggregator_client_certificate_file: FilePath | None = Field(default=None, description="PEM, for mutual TLS")
    aggregator_client_key_file: FilePath | None = Field(default=None, description="PEM, for mutual TLS")
    aggregator_grpc_server_ip_port_address: str | None = Field(
        default=None,
        validation_alias=AliasChoices("aggregator_grpc_server_ip_port_address", "aggregator_grpc_server_url"),
        description="accepted for compatibility; this release submits over JSON-RPC",
    )
    aggregator_server_ip_port_address: str | None = Field(
        default=None,
        validation_alias=AliasChoices("aggregator_server_ip_port_address", "aggregator_server_url"),
        description="accepted for compatibility; this release submits over JSON-RPC",
    )

    operator_server_ip_port_addr: Listen = Field(
        default=ListenAddress("127.0.0.1", 8091),
        validation_alias=AliasChoices("operator_server_ip_port_addr", "operator_server_url"),
    )
    enable_metrics: bool = True
    eigen_metrics_ip_port_address: Listen = Field(
        default=ListenAddress("127.0.0.1", 9090),
        validation_alias=AliasChoices("eigen_metrics_ip_port_address", "eigen_metrics_url"),
    )
    enable_node_api: bool = True
    node_api_ip_port_address: Listen = Field(
        default=ListenAddress("127.0.0.1", 9010),
        validation_alias=AliasChoices("node_api_ip_port_address", "node_api_url"),
    )

    database_url: str = "sqlite+aiosqlite:///mach-operator.sqlite"
    submit_deadline_s: Seconds = Field(
        default=10.0, description="how long an alert call waits for the aggregator before it answers `queued`"
    )
    max_pending_alerts: Annotated[int, Field(ge=1)] = Field(
        default=10_000, description="alerts that its own verifier found and the aggregator has not taken yet"
    )

    verdict_database_url: str | None = Field(
        default=None,
        description="the own verifier's database on this machine (read only): only what it found is signed",
    )
    verdict_api_url: HttpUrl | None = Field(
        default=None, description="the own verifier's verdict API, in place of its database"
    )
    verdict_api_token_file: FilePath | None = Field(
        default=None, description="the verifier's token file: it proves both sides to each other"
    )
    verdict_timeout_s: Seconds = 3.0
    verdict_recheck_s: Seconds = Field(
        default=0.5, description="how often the verdict of an unconfirmed alert is looked for; after a minute, a tenth"
    )
    unconfirmed_expiry_s: Seconds = Field(
        default=3600.0, description="an alert that the own verifier has not found by then is dropped"
    )
    max_unconfirmed_alerts: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1_000, description="beyond it the oldest unconfirmed alerts are dropped; confirmed ones never are"
    )
    sign_agreement: bool = Field(
        default=False,
        description="also sign what the own verifier found by agreement of endpoints only (cross-check mode)",
    )
    trust_alerts: bool = Field(
        default=False,
        description="sign whatever is raised at the alert port, as the original does: dangerous",
    )
