"""Settings of `mach-verifier`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mach.config.loading import ServiceConfig
from mach.config.values import (
    ChainId,
    CommaSeparated,
    FilePath,
    HexAddress,
    HexHash,
    HttpUrl,
    Listen,
    ListenAddress,
    LoopbackListen,
    Seconds,
    ServerUrl,
    WebSocketUrl,
)

WitnessSourceName = Literal["execution-witness", "proofs", "files"]


class VerifierConfig(ServiceConfig):
    """One verifier: one rollup, followed over the RPC of one or several nodes that serve the `debug` namespace."""

    verifier_mode: Literal["re-execution"] = Field(
        default="re-execution", description="`cross-check` is another set of settings: see below"
    )
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

    eth_rpc_url: HttpUrl | None = Field(
        default=None, description="the L1 on which output roots are proposed; needed only to watch those"
    )
    layer1_chain_id: ChainId | None = Field(default=None, description="checked against the L1 node when given")
    l2_output_oracle: HexAddress | None = Field(
        default=None, description="L2OutputOracle whose proposals are compared with the verified blocks"
    )
    dispute_game_factory: HexAddress | None = Field(
        default=None, description="DisputeGameFactory whose games are compared with the verified blocks"
    )
    oracle_poll_interval_s: Seconds = Field(default=2.0, description="how often L1 is asked for new proposals")
    oracle_confirmations: Annotated[int, Field(ge=1, le=64)] = Field(
        default=3,
        description="L1 blocks, its own included, that a proposal must be in before it is judged: an alert over one "
        "that a reorganisation takes back would be a false one",
    )
    oracle_lookback_blocks: Annotated[int, Field(ge=1)] = Field(
        default=7200, description="how far back, in L1 blocks, proposals are read on an empty database"
    )
    early_alert_contract: HexAddress | None = Field(
        default=None,
        description="contract that is told of a false output of l2_output_oracle at once, by its "
        "alertBlockOutputOracleMismatch",
    )
    early_alert_ecdsa_keystore_path: FilePath | None = Field(
        default=None, description="web3 V3 keystore of the account that sends early alerts"
    )
    early_alert_ecdsa_keystore_password_file: FilePath | None = None

    @field_validator("l2_rpc_url", "witness_sources")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("must not name the same one twice")
        return value

    @model_validator(mode="after")
    def _l1_for_oracles(self) -> Self:
        watched = self.l2_output_oracle is not None or self.dispute_game_factory is not None
        if watched and self.eth_rpc_url is None:
            raise ValueError("l2_output_oracle or dispute_game_factory is set: set eth_rpc_url to a node of their L1")
        if self.early_alert_contract is not None:
            if self.l2_output_oracle is None:
                raise ValueError("early_alert_contract is set: set l2_output_oracle, whose outputs it is told about")
            if self.early_alert_ecdsa_keystore_path is None:
                raise ValueError("early_alert_contract is set: set early_alert_ecdsa_keystore_path to the sender's key")
        return self

    canary_targets: Annotated[list[HttpUrl], CommaSeparated] = Field(
        default=[], description="what users use: asked as users ask, and compared with what was verified"
    )
    canary_interval_s: Seconds = Field(
        default=15.0, description="mean time between two questions to a target; they come at random (Poisson)"
    )
    canary_settle_s: Seconds = Field(
        default=12.0, description="so long an answer may be ahead of verification, or about to be reorganised"
    )
    canary_profile: FilePath | None = Field(
        default=None, description="YAML: the clients, methods and habits of your users; a usual mix when not given"
    )

    verdict_api_token_file: FilePath | None = Field(
        default=None, description="turns the verdict API on: a secret of 32 or more characters, shared with operators"
    )
    verdict_api_ip_port_address: LoopbackListen = Field(
        default=ListenAddress("127.0.0.1", 8391), description="where operators ask before they sign; loopback only"
    )

    @model_validator(mode="after")
    def _folder_for_files(self) -> Self:
        if "files" in self.witness_sources and self.witness_folder is None:
            raise ValueError("witness_sources names `files`: set witness_folder to the folder that holds them")
        return self
