"""The endpoints of a verifier: opened with their witness sources, and checked before anything begins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mach.errors import EnvironmentFaultError
from mach.protocol.hashing import keccak256
from mach.rollup.endpoints import Endpoint, EndpointSet, WitnessSupply
from mach.rollup.node import RollupNode
from mach.rollup.witness_repair import WitnessRepair
from mach.rollup.witness_sources import ExecutionWitnessSource, ProofWitnessSource, RecordedWitnessSource
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError
from mach.transport.urls import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AsyncExitStack

    from mach.config.verifier import VerifierConfig
    from mach.rollup.endpoints import EndpointObserver
    from mach.rollup.witness_sources import WitnessSource

_NODE_SOURCES: dict[str, Callable[[RollupNode], WitnessSource]] = {
    "execution-witness": ExecutionWitnessSource,
    "proofs": ProofWitnessSource,
}
_KEY_BYTES = 8


async def connect_endpoints(config: VerifierConfig, stack: AsyncExitStack, observer: EndpointObserver) -> EndpointSet:
    """Every configured node with its sources. A witness may come from any node: first the one that serves the block."""
    nodes = []
    connections = 3 * config.max_blocks_in_flight + 4
    names = [without_credentials(url) for url in config.l2_rpc_url]
    for position, url in enumerate(config.l2_rpc_url):
        client = JsonRpcClient(url, timeout_s=config.rpc_timeout_s, max_connections=connections)
        # two endpoints may differ in nothing but their secrets
        name = names[position] if names.count(names[position]) == 1 else f"{names[position]}#{position + 1}"
        nodes.append(RollupNode(await stack.enter_async_context(client), name))
    endpoints = []
    for node, url in zip(nodes, config.l2_rpc_url, strict=True):
        ordered = [node, *(other for other in nodes if other is not node)]
        supply = WitnessSupply(_sources(config, ordered), WitnessRepair(ordered))
        endpoints.append(Endpoint(node, supply, keccak256(url.encode())[:_KEY_BYTES].hex()))
    return EndpointSet(endpoints, observer)


def _sources(config: VerifierConfig, nodes: Sequence[RollupNode]) -> list[WitnessSource]:
    sources: list[WitnessSource] = []
    for name in config.witness_sources:
        if name != "files":
            sources += [_NODE_SOURCES[name](node) for node in nodes]
        elif config.witness_folder is not None:
            sources.append(RecordedWitnessSource(config.witness_folder))
    return sources


async def check_endpoints(endpoints: EndpointSet, chain_id: int) -> None:
    """Raises `EnvironmentFaultError` if a node is of another chain, or none serves what is needed."""
    problems = await asyncio.gather(*(_check(endpoint, endpoints, chain_id) for endpoint in endpoints.endpoints))
    if None not in problems:
        raise EnvironmentFaultError("; ".join(f"l2_rpc_url: {problem}" for problem in problems))


async def _check(endpoint: Endpoint, endpoints: EndpointSet, chain_id: int) -> str | None:
    """Why a node cannot be used now; a node of another chain never can."""
    node = endpoint.node
    try:
        served = await node.chain_id()
        if served != chain_id:
            raise EnvironmentFaultError(
                f"l2_rpc_url {node.name} serves chain id {served}, layer2_chain_id is {chain_id}; "
                "name the rollup's own node"
            )
        head = await node.head_number()
        await node.raw_header(head)
    except PeerUnavailableError as error:
        return f"{error}; start the node or correct the URL"
    except PeerRefusedError as error:
        return f"{error}; the node must serve the `debug` namespace"
    endpoints.announce(endpoint, head)
    return None
