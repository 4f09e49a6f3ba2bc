"""Settings of `mach-verifier`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mach.config.loading import ServiceConfig
from mach.config.values import (
    ChainId,
    CommaSeparated,
    FilePath,
    HexHash,
    HttpUrl,
    Listen,
    Seconds,
    ServerUrl,
    WebSocketUrl,
)

WitnessSourceName = Literal["execution-witness", "proofs", "files"]


class VerifierConfig(ServiceConfig):
    """One verifier: one rollup, followed over the RPC of one or several nodes that serve the `debug` namespace."""

    l2_rpc_url: Annotated[list[HttpUrl], CommaSeparated, Field(min_length=1)] = Field(
        description="one or several nodes: the first that answers is followed, all are compared block by block"
    )
    l2_ws_url: Annotated[list[WebSocketUrl], CommaSeparated] = Field(
        default=[],
        description="websockets that announce new heads; when none is given, each l2_rpc_url is tried as one",
    )
    layer2_chain_id: ChainId
    l2_chain_config: FilePath = Field(
        description="JSON: the `config` object of the rollup's genesis, from a source you trust (never from the node)"
    )
    operators: Annotated[list[ServerUrl], CommaSeparated] = Field(
        default=[], description="operator signers that are told of an INVALID block"
    )
    database_url: str = "sqlite+aiosqlite:///mach-verifier.sqlite"
    start_block: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="first block to verify on an empty database; the head at start when not given"
    )
    start_parent_hash: HexHash | None = Field(
        default=None,
        description="hash of the block before start_block: what verification builds on; else taken on trust",
    )
    witness_sources: Annotated[list[WitnessSourceName], CommaSeparated, Field(min_length=1)] = Field(
        default=["execution-witness", "proofs"],
        description="in the order in which they are tried: debug_executionWitness; prestateTracer and eth_getProof; "
        "recorded files",
    )
    witness_folder: FilePath | None = Field(
        default=None, description="recorded blocks for the source `files`: NUMBER.json or NUMBER.json.gz"
    )
    poll_interval_s: Seconds = Field(default=0.25, description="how often a node is asked for its head")
    label_poll_interval_s: Seconds = Field(
        default=2.0, description="how often a node is asked for its safe and finalized heads"
    )
    rpc_timeout_s: Seconds = 10.0
    operator_timeout_s: Seconds = Field(default=20.0, description="how long an operator may take over one alert")
    max_blocks_in_flight: Annotated[int, Field(ge=1, le=256)] = Field(
        default=4, description="blocks that are fetched and re-executed at the same time while catching up"
    )
    max_lag_s: Seconds = Field(
        default=60.0, description="how long a block may wait for its verdict before the alarm is raised"
    )
    metrics_ip_port_address: Listen | None = Field(
        default=None, description="/metrics, /healthz and /readyz; off when not given"
    )

    @field_validator("l2_rpc_url", "witness_sources")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("must not name the same one twice")
        return value

    @model_validator(mode="after")
    def _folder_for_files(self) -> Self:
        if "files" in self.witness_sources and self.witness_folder is None:
            raise ValueError("witness_sources names `files`: set witness_folder to the folder that holds them")
        return self
