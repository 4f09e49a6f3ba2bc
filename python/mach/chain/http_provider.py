"""web3's view of a node over HTTP, on one aiohttp session of our own.

web3's `AsyncHTTPProvider` guards its sessions with one thread lock for the whole process, which a request that is
cancelled while it waits for the lock never gives back: from then on every client of the process hangs. It also opens a
new TCP connection for each request. This provider has no lock, keeps its connections, and can be cancelled anywhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from web3.providers.async_base import AsyncJSONBaseProvider

from mach.chain.errors import MalformedAnswerError
from mach.transport.json_text import parse_json

if TYPE_CHECKING:
    from web3.types import RPCEndpoint, RPCResponse

_CONNECTIONS = 32
"""Requests under way at once; more wait for a connection within their deadline."""
LARGEST_ANSWER_BYTES = 64 << 20
"""More than the logs of any range that we ask for: a node that sends more must not fill our memory."""


_BRACKETS_IN_ANY_NESTING: Final = 2_000
"""So many brackets can be nested in each other without reaching the end of the C stack."""


def parse_answer(raw: bytes) -> Any:
    """The JSON value of an answer; raises ValueError for anything else, however deeply it is nested."""
    if raw.count(b"[") + raw.count(b"{") > _BRACKETS_IN_ANY_NESTING:
        return parse_json(raw)
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise MalformedAnswerError("the answer is nested too deeply") from error


class HttpProvider(AsyncJSONBaseProvider):
    """JSON-RPC over HTTP to `endpoint_uri`; each request may take `timeout_s`. Make it inside the running loop."""

    def __init__(self, endpoint_uri: str, timeout_s: float) -> None:
        super().__init__()
        self.endpoint_uri = endpoint_uri
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            headers={"Content-Type": "application/json"},
        )

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The node's answer as an object, an error object included.

        Raises what `post` does, and ValueError for an answer of another form.
        """
        asked = self.form_request(method, params)
        response = parse_answer(await self.post(self.encode_rpc_dict(asked)))
        # web3 takes an object for granted; a server that is no node may send anything.
        if not isinstance(response, dict):
            raise MalformedAnswerError("the answer is not a JSON object")
        # Some nodes answer an error with the id null.
        if response.get("id") != asked["id"] and "error" not in response:
            raise MalformedAnswerError("the answer is to another request")
        return cast("RPCResponse", response)

    async def post(self, body: bytes) -> bytes:
        """The body of the node's answer to a JSON-RPC request, one call or a batch of them.

        Raises aiohttp's errors, TimeoutError, and `MalformedAnswerError` for more than `LARGEST_ANSWER_BYTES`.
        """
        if self._session.closed:
            # aiohttp raises a plain RuntimeError for what is asked while the program ends.
            raise aiohttp.ClientConnectionError("the connection was closed on our side")
        try:
            return await self._post(body)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A kept connection that the node had closed: everything we ask for may be asked twice, and the bytes of a
            # transaction may be sent twice.
            return await self._post(body)

    async def disconnect(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def _post(self, body: bytes) -> bytes:
        async with self._session.post(self.endpoint_uri, data=body) as response:
            response.raise_for_status()
            parts, size = [], 0
            async for part in response.content.iter_any():
                size += len(part)
                if size > LARGEST_ANSWER_BYTES:
                    raise MalformedAnswerError(f"the answer has more than {LARGEST_ANSWER_BYTES} bytes")
                parts.append(part)
            return b"".join(parts)
