"""Settings of `mach-aggregator`; the original's keys and environment names are accepted unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator

from mach.config.loading import ServiceConfig
from mach.config.values import ChainId, CommaSeparated, FilePath, HexAddress, HttpUrl, Listen, ListenAddress, Seconds


class AggregatorConfig(ServiceConfig):
    """One aggregator: one settlement chain (layer 1), one rollup (layer 2)."""

    environment: Literal["production", "development"] = "production"
    eth_rpc_url: HttpUrl
    eth_ws_url: str | None = Field(default=None, description="accepted for compatibility; L1 is followed over HTTP")
    layer1_chain_id: ChainId
    layer2_chain_id: ChainId
    quorum_nums: Annotated[list[Annotated[int, Field(ge=0, le=191)]], CommaSeparated] = Field(default=[0], min_length=1)

    avs_deployment: FilePath = Field(default=Path("machavs_deploy_output.json"))
    avs_registry_coordinator_address: HexAddress | None = Field(
        default=None, description="overrides the deployment file"
    )
    operator_state_retriever_address: HexAddress | None = Field(
        default=None, description="overrides the deployment file"
    )

    aggregator_jsonrpc_server_ip_port_address: Listen = Field(
        default=ListenAddress("127.0.0.1", 8290),
        validation_alias=AliasChoices("aggregator_jsonrpc_server_ip_port_address", "aggregator_jsonrpc_server_url"),
    )
    aggregator_grpc_server_ip_port_address: Listen | None = Field(
        default=None,
        validation_alias=AliasChoices("aggregator_grpc_server_ip_port_address", "aggregator_grpc_server_url"),
        description="gRPC; off when not given",
    )
    aggregator_server_ip_port_address: Listen | None = Field(
        default=None,
        validation_alias=AliasChoices("aggregator_server_ip_port_address", "aggregator_server_url"),
        description="Go's net/rpc; off when not given",
    )
    metrics_ip_port_address: Listen | None = Field(
        default=None, description="/metrics, /healthz, /readyz and the read API under /v1; off when not given"
    )
    rpc_vhosts: Annotated[list[str], CommaSeparated] = Field(
        default=["localhost", "127.0.0.1"], description="Host headers that are answered"
    )
    rpc_cors: Annotated[list[str], CommaSeparated] = Field(default=[], description="origins a browser may call from")

    ecdsa_private_key: SecretStr | None = Field(default=None, repr=False)
    ecdsa_private_key_file: FilePath | None = None
    ecdsa_keystore_path: FilePath | None = None
    ecdsa_keystore_password: SecretStr | None = Field(default=None, repr=False)
    ecdsa_keystore_password_file: FilePath | None = None

    database_url: str = Field(
        default="sqlite+aiosqlite:///mach-aggregator.sqlite",
        repr=False,
        description="postgresql+asyncpg://USER:PASSWORD@HOST/NAME lets several replicas share the work",
    )
    late_signature_window_s: Annotated[float, Field(ge=0, le=60)] = Field(
        default=0.3,
        description="how long to wait for the rest after the quorum: fewer non-signers, less gas",
    )
    task_expiry_s: Seconds = Field(default=1200.0, description="a task without its quorum by then expires")
    task_expiry_blocks: Annotated[int, Field(ge=1)] = Field(
        default=900, description="the same in L1 blocks behind the head, whichever comes first"
    )
    confirmations: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="L1 blocks from the transaction's own on until an alert counts as confirmed"
    )
    resend_after_s: Seconds = Field(default=24.0, description="a transaction not mined by then is sent with more fee")
    max_fee_gwei: Annotated[float, Field(gt=0)] = Field(
        default=500.0, description="no transaction offers more per gas; tasks wait while L1 costs more"
    )
    l1_poll_interval_s: Annotated[float, Field(ge=0.001, le=60)] = Field(
        default=0.5, description="how often L1 is asked for a new head"
    )

    max_open_tasks: Annotated[int, Field(ge=1)] = 10_000
    max_unsigned_tasks_per_peer: Annotated[int, Field(ge=1)] = Field(
        default=1_000, description="tasks nobody has signed yet, by the address that asked for them"
    )
    max_queued_signatures: Annotated[int, Field(ge=1)] = 20_000
    bad_signature_cool_down_s: Annotated[float, Field(ge=0)] = Field(
        default=30.0, description="how long an operator's signatures are checked last and alone after a bad one"
    )
    max_connections: Annotated[int, Field(ge=1)] = 2_000
    max_connections_per_peer: Annotated[int, Field(ge=1)] = 500
    requests_per_second_per_peer: Annotated[float, Field(gt=0)] = 50_000.0
    worker_threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="threads that serve requests; as many as cores when not given"
    )
    tokens_file: FilePath | None = Field(
        default=None, description="bearer tokens, one a line, of which every request must carry one"
    )
    tls_certificate_file: FilePath | None = Field(default=None, description="PEM; with it all transports speak TLS")
    tls_key_file: FilePath | None = Field(default=None, description="PEM")
    tls_client_ca_file: FilePath | None = Field(
        default=None, description="PEM; clients must show a certificate of it (mutual TLS)"
    )

    @field_validator("quorum_nums")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        if sorted(set(value)) != value:
            raise ValueError("must be ascending without repetition")
        return value
