"""A JSON-RPC proxy in front of the L2 node that lies about one block, and about nothing else.

The lie is consistent in itself: the falsified header hashes to the hash that is told, and the block, its transactions,
receipts and logs carry that hash wherever they are asked for by number, tag, transaction or by the told hash. Who asks
by the true hash (the next block's `parentHash` names it) gets the truth: a hash leaves no room for another block.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog
from aiohttp import web

from mach.devnet.faults import Fault, Lie, tell
from mach.errors import ConfigurationError, MachError
from mach.transport.json_text import parse_json
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError
from mach.transport.listening import start_site
from mach.transport.urls import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = structlog.get_logger()

MAX_REQUEST_BYTES: Final = 1024 * 1024
"""Answers may be large, requests to a node are not."""
_MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
_READ_DEADLINE_S: Final = 10.0
_UPSTREAM_DEADLINE_S: Final = 30.0
_UPSTREAM_CONNECTIONS: Final = 64
_UPSTREAM_AWAY: Final = -32603  # JSON-RPC 2.0: internal error

_REWRITTEN: Final = frozenset(
    {
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getBlockReceipts",
        "eth_getFilterChanges",
        "eth_getFilterLogs",
        "eth_getHeaderByHash",
        "eth_getHeaderByNumber",
        "eth_getLogs",
        "eth_getTransactionByBlockHashAndIndex",
        "eth_getTransactionByBlockNumberAndIndex",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
    }
)
"""Methods whose results name blocks in JSON."""


def _raw(data: bytes) -> str:
    return "0x" + data.hex()


_RAW: Final[dict[str, Callable[[Lie], tuple[Any, Any]]]] = {
    "debug_getRawBlock": lambda lie: (_raw(lie.truth.encode()), _raw(lie.told.encode())),
    "debug_getRawHeader": lambda lie: (_raw(lie.truth.header_rlp), _raw(lie.told.header_rlp)),
    "debug_getRawReceipts": lambda lie: (
        [_raw(receipt) for receipt in lie.true_receipts],
        [_raw(receipt) for receipt in lie.told_receipts],
    ),
}
"""Methods whose results are encodings: what is true of the block, and what is told."""


@dataclass(frozen=True)
class _Call:
    """One call of a request, as the caller wrote it."""

    method: str
    params: Any

    def names(self, block_hash: str) -> bool:
        """Whether the block with this hash is asked for by its hash."""
        return any(text == block_hash for text in _strings(self.params))


class LyingNode:
    """Listens on `host:port` (port 0: any free one) and passes everything on to `upstream_url`, but for the fault.

    `start`, `set_fault` and `clear` at any time, `stop`; an async context manager does the first and the last. A fault
    about a block that does not exist yet is told from the moment the block exists. While the upstream is away, callers
    get a JSON-RPC error.
    """

    def __init__(self, upstream_url: str, host: str = "127.0.0.1", port: int = 9546) -> None:
        self.upstream_url = upstream_url
        self.host = host
        self.port = port
        self._fault: Fault | None = None
        self._lie: Lie | None = None
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._upstream = JsonRpcClient(upstream_url, timeout_s=_UPSTREAM_DEADLINE_S)

    async def __aenter__(self) -> LyingNode:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def fault(self) -> Fault | None:
        """The lie that is told, or will be."""
        return self._fault

    @property
    def lie(self) -> Lie | None:
        """The lie in detail, once it has been told."""
        return self._lie

    async def start(self) -> None:
        """Begins to listen.

        Raises:
            ListenError: the port is in use.
        """
        application = web.Application(client_max_size=MAX_REQUEST_BYTES)
        application.router.add_post("/", self._answer)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_UPSTREAM_CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=_UPSTREAM_DEADLINE_S),
            # Witnesses are large and travel over loopback: packing them would cost more than it saves.
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        )
        await self._upstream.__aenter__()
        try:
            self._runner, self.port = await start_site(application, self.host, self.port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends listening and closes what is open. Does nothing if it does not run."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._upstream.__aexit__(None, None, None)

    def set_fault(self, fault: Fault) -> None:
        """Tells this lie from now on, in place of any other.

        Raises:
            ConfigurationError: the fault names no block.
        """
        if fault.block_number is None:
            raise ConfigurationError(f"the fault {fault} names no block: write {fault}@BLOCK")
        self._fault, self._lie = fault, None

    def clear(self) -> None:
        """Tells the truth from now on."""
        self._fault = self._lie = None

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_READ_DEADLINE_S):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408)
        calls = _parse(body) if self._fault is not None else None
        if calls is not None and self._lie is not None:
            body = _ask_for_the_truth(body, self._lie)
        try:
            status, answer = await self._forward(body)
            if (
                status == 200
                and calls is not None
                and any(call.method in _REWRITTEN or call.method in _RAW for call in calls)
            ):
                answer = await self._falsify(body, calls, answer)
        except (MachError, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.debug("the L2 node does not answer", error=repr(error))
            name = without_credentials(self.upstream_url)
            status, answer = 200, _refusal(body, f"the L2 node {name} does not answer: try again")
        return web.Response(status=status, body=answer, content_type="application/json")

    async def _forward(self, body: bytes) -> tuple[int, bytes]:
        if self._session is None:
            raise PeerUnavailableError("the lying node is stopping")
        async with self._session.post(self.upstream_url, data=body) as response:
            answer = bytearray()
            async for chunk in response.content.iter_chunked(1 << 18):
                answer += chunk
                if len(answer) > _MAX_ANSWER_BYTES:
                    raise PeerUnavailableError(f"the L2 node answered with more than {_MAX_ANSWER_BYTES} bytes")
            return response.status, bytes(answer)

    async def _falsify(self, body: bytes, calls: list[_Call], answer: bytes) -> bytes:
        """The answer with the lie in it. `body` is what was sent upstream, `calls` what the caller had written.

        The lie is made after the answer has come: if the answer holds the block, then so does the node by now, and no
        caller sees the truth first.
        """
        lie = await self._prepare()
        if lie is None or not _mentions(answer, calls, lie):
            return answer
        requests, answers = _items(json.loads(body)), json.loads(answer)
        # Answers of a batch are matched by id, in order where an id stands twice.
        waiting: defaultdict[str, deque[_Call]] = defaultdict(deque)
        for request, call in zip(requests, calls, strict=True):
            waiting[json.dumps(request.get("id"))].append(call)
        lied = False
        for item in _items(answers):
            matching = waiting[json.dumps(item["id"])]
            truth = item.get("result")
            if truth is not None and matching:
                item["result"] = _told(matching.popleft(), truth, lie)
                lied |= item["result"] != truth
        return json.dumps(answers, separators=(",", ":")).encode() if lied else answer

    async def _prepare(self) -> Lie | None:
        """The lie, made when the block first exists; none before. The devnet's chain has no reorgs."""
        fault = self._fault
        if self._lie is not None or fault is None or fault.block_number is None:
            return self._lie
        block_id = hex(fault.block_number)
        try:
            block, receipts = await asyncio.gather(
                self._upstream.call("debug_getRawBlock", block_id),
                self._upstream.call("debug_getRawReceipts", block_id),
            )
        except PeerRefusedError:
            return None
        if block is None or receipts is None:
            return None
        lie = tell(fault, bytes.fromhex(block[2:]), [bytes.fromhex(receipt[2:]) for receipt in receipts])
        if self._fault is fault and self._lie is None:
            log.info("a lie is told", fault=str(fault), true_hash=lie.true_hash, told_hash=lie.told_hash)
            self._lie = lie
        return self._lie


def _parse(body: bytes) -> list[_Call] | None:
    """The calls of a request; none if it is anything but well-formed, which the upstream may judge."""
    try:
        request = parse_json(body)
    except ValueError:
        return None
    calls = []
    for item in _items(request):
        if not isinstance(item, dict) or not isinstance(item.get("method"), str):
            return None
        calls.append(_Call(item["method"], item.get("params")))
    return calls


def _ask_for_the_truth(body: bytes, lie: Lie) -> bytes:
    """The request with the told hash replaced by the true one: upstream knows only that."""
    return body.replace(lie.told_hash[2:].encode(), lie.true_hash[2:].encode())


def _mentions(answer: bytes, calls: list[_Call], lie: Lie) -> bool:
    """Whether the answer may hold the block, without parsing it: most answers do not."""
    return (
        lie.true_hash.encode() in answer
        or lie.truth.header_rlp.hex().encode() in answer
        or any(call.method == "debug_getRawReceipts" for call in calls)
    )


def _told(call: _Call, result: Any, lie: Lie) -> Any:
    if call.names(lie.true_hash):
        return result
    if call.method in _REWRITTEN:
        return lie.rewrite(result)
    if call.method in _RAW:
        truth, told = _RAW[call.method](lie)
        return told if result == truth else result
    return result


def _items(value: Any) -> list[Any]:
    """What a batch holds, or the one call or answer that is none."""
    return value if isinstance(value, list) else [value]


def _strings(value: Any) -> Iterable[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value.lower()
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)


def _refusal(body: bytes, message: str) -> bytes:
    """A JSON-RPC error for each call of the request."""
    error = {"code": _UPSTREAM_AWAY, "message": message}
    try:
        request = parse_json(body)
    except ValueError:
        request = None
    if isinstance(request, list) and request:
        answers: Any = [{"jsonrpc": "2.0", "id": _id(item), "error": error} for item in request]
    else:
        answers = {"jsonrpc": "2.0", "id": _id(request), "error": error}
    return json.dumps(answers).encode()


def _id(request: Any) -> Any:
    return request.get("id") if isinstance(request, dict) else None
