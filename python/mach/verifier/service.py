"""`mach-verifier` put together: database, node, dispatcher, follower."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import structlog

from mach.errors import ConfigurationError, EnvironmentFaultError
from mach.rollup.node import RollupNode
from mach.storage.database import open_database
from mach.storage.verdict_log import VerdictLog
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError
from mach.transport.urls import without_credentials
from mach.verifier.dispatcher import AlertDispatcher
from mach.verifier.follower import ChainFollower

if TYPE_CHECKING:
    from pathlib import Path

    from mach.config.verifier import VerifierConfig

log = structlog.get_logger()


async def run_verifier(config: VerifierConfig) -> None:
    """Verifies until cancelled. Raises a `MachError` when the configuration does not fit the node."""
    chain_config = read_chain_config(config.l2_chain_config, config.layer2_chain_id)
    async with JsonRpcClient(
        config.l2_rpc_url, timeout_s=config.rpc_timeout_s, max_connections=2 * config.max_blocks_in_flight + 2
    ) as client:
        node = RollupNode(client)
        await check_node(node, config)
        database = await open_database(config.database_url, "verifier")
        try:
            verdicts = VerdictLog(database)
            dispatcher = AlertDispatcher(verdicts, config.operators, timeout_s=config.operator_timeout_s)
            follower = ChainFollower(
                node,
                verdicts,
                dispatcher,
                chain_config,
                start_block=config.start_block,
                start_parent_hash=config.start_parent_hash,
                poll_interval_s=config.poll_interval_s,
                blocks_in_flight=config.max_blocks_in_flight,
            )
            log.info(
                "verifier.started",
                l2=without_credentials(config.l2_rpc_url),
                chain_id=config.layer2_chain_id,
                operators=[without_credentials(url) for url in config.operators],
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(dispatcher.run())
                group.create_task(follower.run())
        finally:
            await database.close()


def read_chain_config(path: Path, chain_id: int) -> str:
    """The rollup's chain configuration as JSON text, checked for its chain id."""
    try:
        text = path.read_text(encoding="utf-8")
        document: Any = json.loads(text)
    except FileNotFoundError:
        raise ConfigurationError(
            f"l2_chain_config {path} does not exist; name the rollup's chain configuration"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"l2_chain_config {path} is not readable JSON: {error}") from None
    if isinstance(document, dict) and isinstance(document.get("config"), dict):
        document = document["config"]  # a whole genesis file holds it under this key
    if not isinstance(document, dict) or document.get("chainId") != chain_id:
        found = document.get("chainId") if isinstance(document, dict) else None
        raise ConfigurationError(
            f"l2_chain_config {path} is for chain id {found}, layer2_chain_id is {chain_id}; make them agree"
        )
    return json.dumps(document)


async def check_node(node: RollupNode, config: VerifierConfig) -> None:
    """Raises `EnvironmentFaultError` unless the node answers, for the right chain, with the calls that are needed."""
    try:
        chain_id = await node.chain_id()
        if chain_id != config.layer2_chain_id:
            raise EnvironmentFaultError(
                f"l2_rpc_url {without_credentials(config.l2_rpc_url)} serves chain id {chain_id}, "
                f"layer2_chain_id is {config.layer2_chain_id}; name the rollup's own node"
            )
        await node.raw_header(await node.head_number())
    except PeerUnavailableError as error:
        raise EnvironmentFaultError(f"l2_rpc_url: {error}; start the node or correct the URL") from None
    except PeerRefusedError as error:
        raise EnvironmentFaultError(f"l2_rpc_url: {error}; the node must serve the `debug` namespace") from None
