"""JSON-RPC 2.0 over HTTP, the caller's side: deadlines, a bound on answers, and errors that tell away from refused."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

from mach.errors import MachError
from mach.transport.json_text import parse_json
from mach.transport.urls import without_credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
"""The witness of a large block is tens of megabytes."""


class PeerUnavailableError(MachError):
    """The peer did not answer, or answered something that is not JSON-RPC: worth trying again."""


class PeerRefusedError(MachError):
    """The peer answered with a JSON-RPC error."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class JsonRpcClient:
    """Calls one server over kept-alive connections; an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        max_connections: int = 16,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._headers = dict(headers or {})
        self._tls = tls
        self._name = without_credentials(url)
        self._timeout_s = timeout_s
        self._max_connections = max_connections
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Compressing a witness costs more time than it saves on the way from a node on the same machine.
        local = urlsplit(self.url).hostname in ("127.0.0.1", "::1", "localhost")
        self._session = aiohttp.ClientSession(
            headers=self._headers | ({"Accept-Encoding": "identity"} if local else {}),
            connector=aiohttp.TCPConnector(limit=self._max_connections, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, connect=min(self._timeout_s, 5.0)),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, *params: Any) -> Any:
        """The `result` of one call with positional parameters."""
        return await self.call_with(method, list(params))

    async def call_with(self, method: str, params: Any) -> Any:
        """The `result` of one call with `params` sent as they are.

        Raises `PeerUnavailableError` when no answer came and `PeerRefusedError` when the answer is an error.
        """
        if self._session is None:
            raise RuntimeError("the client is used outside of `async with`")
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            async with self._session.post(self.url, json=request) as response:
                body = await self._read(response, method)
                status = response.status
        except TimeoutError:  # an OSError too, so it comes first
            raise PeerUnavailableError(f"{self._name} did not answer {method} within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise PeerUnavailableError(f"{self._name} cannot be reached for {method}: {_cause(error)}") from None
        return self._result(body, method, status)

    async def _read(self, response: aiohttp.ClientResponse, method: str) -> bytes:
        chunks = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            chunks += chunk
            if len(chunks) > MAX_ANSWER_BYTES:
                raise PeerUnavailableError(f"{self._name} answered {method} with more than {MAX_ANSWER_BYTES} bytes")
        return bytes(chunks)

    def _result(self, body: bytes, method: str, status: int) -> Any:
        try:
            answer = parse_json(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise PeerUnavailableError(f"{self._name} answered {method} with HTTP {status} and no JSON-RPC")
        error = answer.get("error")
        if error is not None:
            if not isinstance(error, dict):
                error = {"message": error}
            code = error.get("code")
            message = str(error.get("message", ""))[:500]
            raise PeerRefusedError(
                f"{self._name} refused {method}: {message}", code if isinstance(code, int) else -32000
            )
        return answer["result"]


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
        return str(error.os_error.strerror or error.os_error)
    return str(error) or type(error).__name__
