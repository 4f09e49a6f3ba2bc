"""Hearing of new heads: each node is asked now and then, and at once when a websocket announces one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import structlog

from mach.errors import MachError
from mach.transport.backoff import Backoff
from mach.transport.json_text import parse_json
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.transport.urls import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mach.rollup.endpoints import Endpoint, EndpointSet
    from mach.rollup.node import RollupNode

log = structlog.get_logger()

MAX_MESSAGE_BYTES: Final = 1024 * 1024
SHORTEST_INTERVAL_S: Final = 0.005
"""A websocket that announces without end has nodes asked no more often than this."""
HEARTBEAT_S: Final = 15.0
ANSWER_DEADLINE_S: Final = 10.0
LONGEST_DELAY_S: Final = 60.0
_SUBSCRIBE: Final = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}


class SubscriptionError(MachError):
    """The other side of a websocket does not speak JSON-RPC, or does not announce heads."""


class HeadWatch:
    """Keeps the heads of a set of endpoints up to date."""

    def __init__(
        self, endpoints: EndpointSet, web_socket_urls: Sequence[str], *, chain_id: int, poll_interval_s: float
    ) -> None:
        self._chain_id = chain_id
        self._endpoints = endpoints
        self._web_socket_urls = tuple(web_socket_urls)
        self._poll_interval_s = poll_interval_s
        self._pokes = [asyncio.Event() for _ in endpoints.endpoints]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for endpoint, poke in zip(self._endpoints.endpoints, self._pokes, strict=True):
                group.create_task(self._poll(endpoint, poke))
            for url in self._web_socket_urls:
                group.create_task(subscribe_forever(url, self._poke))

    def _poke(self) -> None:
        """A websocket announces a head: which of the nodes have it is found out by asking them."""
        for poke in self._pokes:
            poke.set()

    async def _poll(self, endpoint: Endpoint, poke: asyncio.Event) -> None:
        backoff = Backoff(first_s=self._poll_interval_s, most_s=10.0)
        while True:
            poke.clear()
            try:
                if endpoint.head is None:
                    await check_chain_id(endpoint.node, self._chain_id)
                number = await endpoint.node.head_number()
            except (PeerUnavailableError, PeerRefusedError) as error:
                self._endpoints.failed(endpoint, str(error))
                await asyncio.sleep(backoff.next_delay_s())
                continue
            backoff.reset()
            self._endpoints.announce(endpoint, number)
            await asyncio.sleep(SHORTEST_INTERVAL_S)
            try:
                async with asyncio.timeout(self._poll_interval_s):
                    await poke.wait()
            except TimeoutError:
                continue


async def check_chain_id(node: RollupNode, expected: int) -> None:
    """Raises `PeerUnavailableError` for a node of another chain."""
    chain_id = await node.chain_id()
    if chain_id != expected:
        raise PeerUnavailableError(f"{node.name} serves chain id {chain_id}, layer2_chain_id is {expected}")


async def subscribe_forever(url: str, on_head: Callable[[], None]) -> None:
    """Calls `on_head` for each new head that a websocket announces; where there is none, it is tried now and then."""
    backoff = Backoff(first_s=1.0, most_s=LONGEST_DELAY_S)
    name = without_credentials(url)
    told = ""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                await _subscribe(session, url, on_head, backoff)
                problem = "it was closed"
            except TimeoutError:
                problem = f"no answer within {ANSWER_DEADLINE_S:g} s"
            except (aiohttp.ClientError, OSError, SubscriptionError) as error:
                problem = _cause(error)
            if problem != told:
                log.info("subscription.away", endpoint=name, problem=problem, remedy="heads are polled meanwhile")
            told = problem
            await asyncio.sleep(backoff.next_delay_s())


async def _subscribe(session: aiohttp.ClientSession, url: str, on_head: Callable[[], None], backoff: Backoff) -> None:
    """Returns when the other side ends it; raises `SubscriptionError` for what is no announcement."""
    async with asyncio.timeout(ANSWER_DEADLINE_S):
        socket = await session.ws_connect(url, heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES)
    async with socket:
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            await socket.send_json(_SUBSCRIBE)
            answer = _object(await socket.receive())
        if not isinstance(answer.get("result"), str):
            raise SubscriptionError(f"eth_subscribe was answered with {str(answer.get('error'))[:200]}")
        log.info("subscription.open", endpoint=without_credentials(url))
        backoff.reset()
        on_head()
        async for message in socket:
            if _object(message).get("method") == "eth_subscription":
                on_head()


def _cause(error: Exception) -> str:
    """What went wrong, without the URL: aiohttp's own words repeat it with the secrets in it."""
    if isinstance(error, SubscriptionError):
        return str(error)
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"it answered HTTP {error.status}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
        return error.os_error.strerror or type(error.os_error).__name__
    return type(error).__name__


def _object(message: aiohttp.WSMessage) -> dict[str, Any]:
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise SubscriptionError(f"a message of type {message.type!r} in place of JSON")
    try:
        value = parse_json(message.data.encode())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SubscriptionError("a message that is no JSON object")
    return value


def web_socket_form(url: str) -> str:
    """The websocket URL beside an HTTP one: nodes and providers often serve both at the same place."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme="wss" if parts.scheme == "https" else "ws"))
