"""The JSON-RPC server and client on real sockets: dialects, limits, deadlines, guards."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mach.errors import MachError
from mach.transport.jsonrpc import AGGREGATOR_DIALECT, MISSING, OPERATOR_DIALECT, Dialect, JsonRpcServer, RpcError
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError
from mach.transport.listening import ListenError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JSON = {"Content-Type": "application/json"}


async def echo(params: Any) -> Any:
    return None if params is MISSING else params


async def hang(_params: Any) -> Any:
    await asyncio.Event().wait()


async def refuse(_params: Any) -> Any:
    raise RpcError(7, "no")


async def fail(_params: Any) -> Any:
    raise MachError("as expected")


async def crash(_params: Any) -> Any:
    raise RuntimeError("a secret of the inside")


METHODS = {"echo": echo, "hang": hang, "refuse": refuse, "fail": fail, "crash": crash}


@asynccontextmanager
async def serving(dialect: Dialect = AGGREGATOR_DIALECT, **options: Any) -> AsyncIterator[str]:
    server = JsonRpcServer(METHODS, dialect, **options)
    await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def test_results_and_errors_travel() -> None:
    async with serving() as url, JsonRpcClient(url) as client:
        assert await client.call("echo", 1, {"a": [None]}) == [1, {"a": [None]}]
        assert await client.call_with("echo", {"named": True}) == {"named": True}
        for method, code, text in (("refuse", 7, "no"), ("fail", -32000, "as expected"), ("none", -32601, "none")):
            with pytest.raises(PeerRefusedError, match=text) as caught:
                await client.call(method)
            assert caught.value.code == code
        with pytest.raises(PeerRefusedError) as caught:
            await client.call("crash")
        assert "secret" not in str(caught.value)


async def test_a_method_that_hangs_is_cut_off_and_others_go_on() -> None:
    async with serving(deadline_s=0.2) as url, JsonRpcClient(url) as client:
        hanging = asyncio.create_task(client.call("hang"))
        assert await client.call("echo", 2) == [2]
        with pytest.raises(PeerRefusedError, match="request timed out") as caught:
            await hanging
        assert caught.value.code == -32002


async def test_batches_gzip_and_web_pages() -> None:
    async with serving(cors_origins=["https://good.example"]) as url, aiohttp.ClientSession() as session:
        batch = b'[{"id":1,"method":"echo","params":[1]},{"id":2,"method":"none"},[]]'
        for headers in (JSON, JSON | {"Content-Encoding": "gzip"}):
            body = gzip.compress(batch) if "Content-Encoding" in headers else batch
            async with session.post(url, data=body, headers=headers) as response:
                first, second, third = await response.json()
            assert first["result"] == [1]
            assert (second["error"]["code"], third["error"]["code"]) == (-32601, -32600)
        call = b'{"id":1,"method":"echo"}'
        async with session.post(url, data=call, headers=JSON | {"Origin": "https://evil.example"}) as response:
            assert response.status == 403
        async with session.post(url, data=call, headers=JSON | {"Origin": "https://good.example"}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://good.example"
        async with session.get(url) as response:
            assert response.status == 405


async def test_a_web_page_cannot_make_an_operator_sign() -> None:
    """A page may post text/plain to loopback without asking first; its Origin gives it away."""
    async with serving(OPERATOR_DIALECT) as url, aiohttp.ClientSession() as session:
        call = b'{"id":1,"method":"echo","params":{}}'
        headers = {"Content-Type": "text/plain"}
        async with session.post(url, data=call, headers=headers) as response:
            assert response.status == 200
        async with session.post(url, data=call, headers=headers | {"Origin": "https://evil.example"}) as response:
            assert response.status == 403


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=200))
@pytest.mark.parametrize("dialect", [AGGREGATOR_DIALECT, OPERATOR_DIALECT])
def test_any_body_gets_an_answer(dialect: Dialect, body: bytes) -> None:
    async def answered() -> None:
        async with serving(dialect) as url, aiohttp.ClientSession() as session:
            async with session.post(url, data=body, headers=JSON) as response:
                answer = await response.json()
            assert "error" in answer or "result" in answer or isinstance(answer, list)

    asyncio.run(answered())


async def test_an_address_in_use_or_of_another_machine_is_named() -> None:
    async with serving() as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ListenError, match=f"127.0.0.1:{port} is already in use"):
            await JsonRpcServer({}, AGGREGATOR_DIALECT).start("127.0.0.1", port)
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:1234"):
        await JsonRpcServer({}, AGGREGATOR_DIALECT).start("192.0.2.1", 1234)


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense", b"[]", b"{}", b'{"result"', b"\xff", b"[" * 100_000, b"1" * 10_000]
)
async def test_a_peer_that_answers_nonsense_counts_as_away(answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        writer.write(head.encode() + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server, JsonRpcClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(PeerUnavailableError):
            await client.call("anything")


async def test_a_peer_that_is_silent_or_gone_counts_as_away_and_credentials_stay_out_of_the_text() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, JsonRpcClient(f"http://user:hunter2@127.0.0.1:{port}/key", timeout_s=0.2) as client:
        with pytest.raises(PeerUnavailableError, match="did not answer anything within 0.2 s") as caught:
            await client.call("anything")
        assert "hunter2" not in str(caught.value)
        assert "/key" not in str(caught.value)
    async with JsonRpcClient("http://127.0.0.1:1") as client:
        with pytest.raises(PeerUnavailableError, match="cannot be reached"):
            await client.call("anything")
