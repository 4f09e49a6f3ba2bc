"""Calls in batches, and every way in which an answer can be none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from mach.chain.connection import connect, disconnect
from mach.chain.errors import L1UnavailableError, MalformedAnswerError, RequestRefusedError, RevertedError
from mach.chain.http_provider import LARGEST_ANSWER_BYTES
from mach.chain.json_rpc import (
    CALLS_IN_ONE_REQUEST,
    Refusal,
    RpcCall,
    call,
    call_all,
    hex_bytes,
    quantity,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mach.chain.connection import L1Client

BLOCK_NUMBER: RpcCall[int] = RpcCall("eth_blockNumber", (), quantity)


def echo(number: int) -> RpcCall[int]:
    return RpcCall("echo", (hex(number),), quantity)


class Node:
    """Answers each call with its first parameter, and the whole request with what `lie` makes of the answers."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.lie: Callable[[Any], Any] = lambda answered: answered
        self.body: bytes | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        if self.body is not None:
            return web.Response(body=self.body)
        if isinstance(asked, list):
            return web.json_response(self.lie([self.answer(one) for one in asked]))
        return web.json_response(
            self.lie(self.answer(asked)) if asked["method"] != "eth_chainId" else self.answer(asked)
        )

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": asked["id"], "result": (asked["params"] or ["0x7a69"])[0]}


@pytest.fixture
async def node() -> Node:
    return Node()


@pytest.fixture
async def w3(node: Node) -> AsyncIterator[L1Client]:
    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/", node.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    client = await connect(f"http://{host}:{port}", 31337)
    node.requests.clear()
    yield client
    await disconnect(client)
    await runner.cleanup()


async def test_calls_travel_together_and_come_back_in_their_order(node: Node, w3: L1Client) -> None:
    node.lie = lambda answered: answered[::-1]
    assert await call_all(w3, [echo(number) for number in range(7)], "echo") == list(range(7))
    assert len(node.requests) == 1


async def test_many_calls_are_parted(node: Node, w3: L1Client) -> None:
    count = 2 * CALLS_IN_ONE_REQUEST + 1
    assert await call_all(w3, [echo(number) for number in range(count)], "echo") == list(range(count))
    assert sorted(len(request) for request in node.requests) == [1, CALLS_IN_ONE_REQUEST, CALLS_IN_ONE_REQUEST]


async def test_no_calls_need_no_request(node: Node, w3: L1Client) -> None:
    assert await call_all(w3, [], "echo") == []
    assert node.requests == []


async def test_one_refused_call_leaves_the_others(node: Node, w3: L1Client) -> None:
    def refuse_the_second(answered: Any) -> Any:
        answered[1] = {"jsonrpc": "2.0", "id": answered[1]["id"], "error": {"code": -32000, "message": "no state"}}
        return answered

    node.lie = refuse_the_second
    first, second, third = await call_all(w3, [echo(1), echo(2), echo(3)], "echo")
    assert (first, third) == (1, 3)
    assert second == Refusal(-32000, "no state", b"")
    with pytest.raises(RequestRefusedError, match="cannot read it: the L1 node refused: no state"):
        value_of(second, "read it")


async def test_refusals_have_classes(node: Node, w3: L1Client) -> None:
    def refuse(code: int, message: Any, data: Any = None) -> None:
        node.lie = lambda answered: {
            "jsonrpc": "2.0",
            "id": answered["id"],
            "error": {"code": code, "message": message, "data": data},
        }

    refuse(-32005, "slow down")
    with pytest.raises(L1UnavailableError, match=r"limits its rate \(slow down\)"):
        await call(w3, BLOCK_NUMBER, "read")
    reason = keccak(text="Error(string)")[:4] + encode(["string"], ["too late"])
    for data in ("0x" + reason.hex(), {"data": "0x" + reason.hex()}):
        refuse(3, "execution reverted", data)
        with pytest.raises(RevertedError) as caught:
            await call(w3, BLOCK_NUMBER, "read")
        assert caught.value.reason == "too late"
    refuse(-32000, "execution reverted: too early")
    with pytest.raises(RevertedError, match="too early"):
        await call(w3, BLOCK_NUMBER, "read")
    for message in (None, 5, ["x"], "y" * 10_000):
        refuse(-1, message, {"x": []})
        with pytest.raises(RequestRefusedError) as refused:
            await call(w3, BLOCK_NUMBER, "read")
        assert len(str(refused.value)) < 700


async def test_a_batch_that_is_refused_as_a_whole(node: Node, w3: L1Client) -> None:
    node.lie = lambda _: {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batch too large"}}
    with pytest.raises(RequestRefusedError, match="batch too large"):
        await call_all(w3, [echo(1), echo(2)], "echo")


@pytest.mark.parametrize(
    "lie",
    [
        lambda answered: answered[:-1],
        lambda answered: [*answered, answered[0]],
        lambda answered: [answered[0], answered[0]],
        lambda answered: [{**answered[0], "id": 10**9}, answered[1]],
        lambda answered: [{**answered[0], "id": "1"}, answered[1]],
        lambda answered: [{**answered[0], "id": [1]}, answered[1]],
        lambda answered: [None, *answered],
        lambda answered: {"result": answered},
        lambda answered: [{**answered[0], "result": 1}, answered[1]],
        lambda answered: [{**answered[0], "result": None}, answered[1]],
        lambda answered: [{**answered[0], "result": "0x"}, answered[1]],
        lambda answered: [{**answered[0], "result": "0x-1"}, answered[1]],
        lambda answered: [{**answered[0], "result": "0x" + "f" * 65}, answered[1]],
        lambda answered: [{"id": answered[0]["id"]}, answered[1]],
        lambda answered: [{**answered[0], "error": "no"}, answered[1]],
        lambda _: None,
        lambda _: "ok",
        lambda _: 1e400,
    ],
)
async def test_answers_that_are_none(node: Node, w3: L1Client, lie: Callable[[Any], Any]) -> None:
    node.lie = lie
    with pytest.raises(L1UnavailableError, match="malformed answer"):
        await call_all(w3, [echo(1), echo(2)], "echo")


@pytest.mark.parametrize(
    "lie",
    [
        lambda answered: {**answered, "id": answered["id"] + 1},
        lambda answered: {**answered, "result": "0xzz"},
        lambda answered: [answered],
        lambda _: {},
        lambda _: None,
    ],
)
async def test_one_answer_that_is_none(node: Node, w3: L1Client, lie: Callable[[Any], Any]) -> None:
    node.lie = lie
    with pytest.raises(L1UnavailableError, match="malformed answer"):
        await call(w3, echo(1), "echo")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"jsonrpc":"2.0","id":1,"result":' + b"9" * 10_000 + b"}",
        b"0" * (LARGEST_ANSWER_BYTES + 1),
    ],
    ids=["empty", "html", "binary", "deep array", "deep object", "long number", "huge"],
)
async def test_bodies_that_are_no_answer(node: Node, w3: L1Client, body: bytes) -> None:
    node.body = body
    for attempt in (call(w3, BLOCK_NUMBER, "read"), call_all(w3, [BLOCK_NUMBER], "read")):
        with pytest.raises(L1UnavailableError, match="malformed answer"):
            await attempt


async def test_a_huge_body_is_not_read_to_its_end(node: Node, w3: L1Client) -> None:
    node.body = b" " * (4 * LARGEST_ANSWER_BYTES)
    with pytest.raises(L1UnavailableError, match=f"more than {LARGEST_ANSWER_BYTES} bytes"):
        await call(w3, BLOCK_NUMBER, "read")
    node.body = None
    assert await call(w3, echo(5), "echo") == 5


def test_quantities() -> None:
    assert [quantity(text) for text in ("0x0", "0x7A69", "0x007a", "0x" + "f" * 64)] == [0, 31337, 122, 2**256 - 1]


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=70), st.lists(st.text())))
def test_anything_else_is_no_quantity_and_no_bytes(value: Any) -> None:
    for read in (quantity, hex_bytes):
        try:
            result = read(value)
        except (ValueError, MalformedAnswerError):
            continue
        assert isinstance(value, str)
        assert value.startswith("0x")
        assert isinstance(result, int | bytes)


@given(st.sampled_from(["0x_1", "0x 1", "0x+1", "0x-1", "0x1_0", "0x١", "0x1\n", "1", "x1", "0X1", "0x"]))
def test_what_int_would_take_and_ethereum_does_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|invalid literal"):
        quantity(text)


@given(st.binary(max_size=40), st.integers(0, 40))
def test_bytes_have_the_length_that_is_due(data: bytes, length: int) -> None:
    assert hex_bytes("0x" + data.hex()) == data
    if length == len(data):
        assert hex_bytes("0x" + data.hex(), length) == data
    else:
        with pytest.raises(MalformedAnswerError, match=f"{len(data)} bytes where {length}"):
            hex_bytes("0x" + data.hex(), length)
