"""Settings of `mach-verifier`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mach.config.loading import ServiceConfig
from mach.config.values import ChainId, CommaSeparated, FilePath, HexHash, HttpUrl, Seconds, ServerUrl


class VerifierConfig(ServiceConfig):
    """One verifier: one rollup, followed over the RPC of a node that serves the `debug` namespace."""

    l2_rpc_url: HttpUrl
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
    poll_interval_s: Seconds = 0.25
    rpc_timeout_s: Seconds = 10.0
    operator_timeout_s: Seconds = Field(default=20.0, description="how long an operator may take over one alert")
    max_blocks_in_flight: Annotated[int, Field(ge=1, le=256)] = 4
