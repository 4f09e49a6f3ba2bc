"""`mach-verifier` put together: database, node, dispatcher, follower."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog

from mach.errors import ConfigurationError, EnvironmentFaultError
from mach.rollup.node import RollupNode
from mach.storage.chain_record import ChainRecord
from mach.storage.database import open_database
from mach.storage.verdict_log import VerdictLog
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError
from mach.transport.listening import start_site
from mach.transport.status_page import status_page
from mach.transport.urls import without_credentials
from mach.verifier.conclusion import VerdictDesk
from mach.verifier.dispatcher import AlertDispatcher
from mach.verifier.follower import ChainFollower
from mach.verifier.metrics import VerifierMetrics
from mach.verifier.readiness import VerifierReadiness
from mach.verifier.verdict_feed import VerdictFeed

if TYPE_CHECKING:
    from pathlib import Path

    from mach.config.verifier import VerifierConfig

log = structlog.get_logger()


async def run_verifier(config: VerifierConfig) -> None:
    """Verifies until cancelled. Raises a `MachError` when the configuration does not fit the nodes."""
    chain_config = read_chain_config(config.l2_chain_config, config.layer2_chain_id)
    metrics = VerifierMetrics()
    async with AsyncExitStack() as stack:
        connections = 2 * config.max_blocks_in_flight + 2
        nodes = [
            RollupNode(
                await stack.enter_async_context(
                    JsonRpcClient(url, timeout_s=config.rpc_timeout_s, max_connections=connections)
                )
            )
            for url in config.l2_rpc_url
        ]
        for node in nodes:
            await check_node(node, config)
        database = await open_database(config.database_url, "verifier")
        stack.push_async_callback(database.close)
        verdicts = VerdictLog(database)
        dispatcher = AlertDispatcher(verdicts, config.operators, timeout_s=config.operator_timeout_s)
        desk = VerdictDesk(verdicts, dispatcher, metrics, VerdictFeed())
        follower = ChainFollower(
            nodes[0],
            desk,
            ChainRecord(database),
            chain_config,
            start_block=config.start_block,
            start_parent_hash=config.start_parent_hash,
            poll_interval_s=config.poll_interval_s,
            blocks_in_flight=config.max_blocks_in_flight,
        )
        if config.metrics_ip_port_address is not None:
            address = config.metrics_ip_port_address
            runner, _ = await start_site(
                status_page(metrics.registry, VerifierReadiness(database)), address.host, address.port
            )
            stack.push_async_callback(runner.cleanup)
        log.info(
            "verifier.started",
            l2=[without_credentials(url) for url in config.l2_rpc_url],
            chain_id=config.layer2_chain_id,
            operators=[without_credentials(url) for url in config.operators],
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(dispatcher.run())
            group.create_task(follower.run())


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
                f"l2_rpc_url {node.name} serves chain id {chain_id}, "
                f"layer2_chain_id is {config.layer2_chain_id}; name the rollup's own node"
            )
        await node.raw_header(await node.head_number())
    except PeerUnavailableError as error:
        raise EnvironmentFaultError(f"l2_rpc_url: {error}; start the node or correct the URL") from None
    except PeerRefusedError as error:
        raise EnvironmentFaultError(f"l2_rpc_url: {error}; the node must serve the `debug` namespace") from None
