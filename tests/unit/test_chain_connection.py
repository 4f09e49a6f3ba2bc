"""A node's ways of failing, each served by a real HTTP server, and what the caller is told."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from mach.chain.connection import connect, connection, redact_url, request, require_code
from mach.chain.errors import (
    ContractNotFoundError,
    L1UnavailableError,
    RequestRefusedError,
    RevertedError,
    WrongChainIdError,
)
from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ADDRESS = "0x" + "11" * 20


NOT_OURS = json.dumps({"jsonrpc": "2.0", "id": 10**9, "result": "0x7a69"})
"""An answer to another request."""


class Node:
    """An HTTP server that answers every JSON-RPC request with what `answer` makes of it."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Awaitable[web.StreamResponse]] = self.chain_id
        self.serve = self.answer_body
        self.url = ""

    async def handle(self, http_request: web.Request) -> web.StreamResponse:
        return await self.serve(http_request)

    async def answer_body(self, http_request: web.Request) -> web.StreamResponse:
        return await self.answer(await http_request.json())

    async def chain_id(self, asked: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": "0x7a69"})

    def result(self, value: Any) -> None:
        async def answer(asked: dict[str, Any]) -> web.StreamResponse:
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": value})

        self.answer = answer

    def error(self, code: int, message: str, data: Any = None) -> None:
        async def answer(_: dict[str, Any]) -> web.StreamResponse:
            error = {"code": code, "message": message, "data": data}
            return web.json_response({"jsonrpc": "2.0", "id": 0, "error": error})

        self.answer = answer

    def http(self, status: int, body: str = "") -> None:
        async def answer(_: dict[str, Any]) -> web.StreamResponse:
            return web.Response(status=status, text=body)

        self.answer = answer

    def silence(self) -> None:
        async def answer(_: dict[str, Any]) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        self.answer = answer


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    served = Node()
    application = web.Application()
    application.router.add_post("/{path:.*}", served.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    served.url = f"http://{host}:{port}"
    yield served
    await runner.cleanup()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://user:secret@node.example/v3/secret?key=secret#secret", "https://node.example/…"),
        ("http://[::1]:8545/", "http://[::1]:8545"),
        ("http://secret:99999999@", "http://"),
        ("http://[secret", "(malformed URL)"),
        ("http://host:secret/", "(malformed URL)"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8545", "ws://127.0.0.1:8545", "http://", "http://h:0", "http://h:secret"]
)
async def test_what_is_no_rpc_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not an L1 RPC URL"):
        await connect(url)


async def test_the_right_chain_is_connected_to(node: Node) -> None:
    async with connection(node.url, 31337) as w3:
        assert await w3.eth.chain_id == 31337


async def test_the_wrong_chain_is_refused_with_both_ids(node: Node) -> None:
    with pytest.raises(WrongChainIdError, match="serves chain id 31337, expected 1:"):
        await connect(node.url + "/secret", 1)


async def test_an_unreachable_node_is_named_without_credentials() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(L1UnavailableError, match="is unreachable") as caught:
            await connect(f"http://user:secret@127.0.0.1:{port}/secret", 1)
    assert f"http://127.0.0.1:{port}/…" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_silent_node_is_given_up_at_the_deadline(node: Node) -> None:
    node.silence()
    with pytest.raises(L1UnavailableError, match=r"did not answer within 0\.2 s"):
        await connect(node.url, 1, deadline_s=0.2)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_http_errors_that_pass_are_retryable(node: Node, status: int) -> None:
    node.http(status)
    with pytest.raises(L1UnavailableError, match=f"HTTP {status}|overloaded"):
        await connect(node.url, 1)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_http_errors_that_stay_are_refusals(node: Node, status: int) -> None:
    node.http(status)
    with pytest.raises(RequestRefusedError, match=f"HTTP {status}: check the RPC URL"):
        await connect(node.url, 1)


@pytest.mark.parametrize(
    "body", ["<html>hello</html>", "", "[]", '"x"', "{}", json.dumps({"jsonrpc": "2.0", "id": 0}), NOT_OURS]
)
async def test_a_server_that_is_no_node_is_told_so(node: Node, body: str) -> None:
    node.http(200, body)
    with pytest.raises(L1UnavailableError, match="malformed answer"):
        await connect(node.url, 1)


async def test_rate_limits_are_retryable_and_other_errors_are_not(node: Node) -> None:
    async with connection(node.url, 31337) as w3:
        node.error(-32005, "limit exceeded")
        with pytest.raises(L1UnavailableError, match="limits its rate"):
            await request(w3, w3.eth.block_number, "read the block number")
        node.error(-32601, "no such method")
        with pytest.raises(RequestRefusedError, match=r"cannot read the block number: .* no such method"):
            await request(w3, w3.eth.block_number, "read the block number")
        node.error(3, "execution reverted", "0xf411c327")
        with pytest.raises(RevertedError) as caught:
            await request(w3, w3.eth.call({"to": w3.to_checksum_address(ADDRESS)}), "call it")
        assert caught.value.error_name == "AlreadyAdded"


async def test_a_kept_connection_that_the_node_closed_is_opened_anew(node: Node) -> None:
    connections = set()

    async def close_without_answer_on_reuse(http_request: web.Request) -> web.StreamResponse:
        transport = http_request.transport
        assert transport is not None
        if id(transport) in connections:
            transport.abort()
        connections.add(id(transport))
        kept.append(transport)
        return await node.chain_id(await http_request.json())

    kept: list[asyncio.Transport] = []
    node.serve = close_without_answer_on_reuse
    async with connection(node.url, 31337) as w3:
        for _ in range(3):
            assert await request(w3, w3.eth.chain_id, "read the chain id") == 31337
    assert len(connections) == 4


async def test_cancelled_requests_leave_every_client_usable(node: Node) -> None:
    async with connection(node.url, 31337) as first, connection(node.url, 31337) as second:
        for _ in range(20):
            tasks = [asyncio.create_task(request(first, first.eth.chain_id, "read")) for _ in range(50)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for client in (first, second):
            assert await request(client, client.eth.chain_id, "read the chain id", deadline_s=5) == 31337


async def test_an_address_without_code_is_named(node: Node) -> None:
    async with connection(node.url, 31337) as w3:
        node.result("0x")
        with pytest.raises(ContractNotFoundError, match=f"RegistryCoordinator {ADDRESS} has no code"):
            await require_code(w3, ADDRESS, "RegistryCoordinator")
        node.result("0x60")
        await require_code(w3, ADDRESS, "RegistryCoordinator")
