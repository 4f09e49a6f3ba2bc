"""JSON-RPC 2.0 over HTTP, the server's side: a total parser, limits, deadlines and two dialects of errors."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from mach.errors import MachError
from mach.transport.json_text import parse_json
from mach.transport.listening import start_site

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    Method = Callable[[Any], Awaitable[Any]]

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 5 * 1024 * 1024
MAX_BATCH: Final = 100
MAX_HEADER_BYTES: Final = 8190
MISSING: Final = object()
"""What a method receives for a request without `params`."""


class RpcError(MachError):
    """An error that goes back to the caller with a JSON-RPC code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidParamsError(MachError):
    """The parameters of a call are malformed; each dialect has its own code for it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The codes and HTTP statuses in which a server words its errors."""

    parse_error: int
    invalid_request: int
    method_not_found: int
    invalid_params: int
    failure: int
    timed_out: int
    status: Callable[[int, bool], int]
    """HTTP status of an error code; the flag tells an unknown method."""
    batches: bool
    requires_json_content_type: bool


AGGREGATOR_DIALECT: Final = Dialect(
    parse_error=-32700,
    invalid_request=-32600,
    method_not_found=-32601,
    invalid_params=-32602,
    failure=-32000,
    timed_out=-32002,
    status=lambda _code, _unknown_method: HTTPStatus.OK,
    batches=True,
    requires_json_content_type=True,
)
"""What the original's aggregator answers (go-ethereum's JSON-RPC server): always HTTP 200."""

OPERATOR_DIALECT: Final = Dialect(
    parse_error=1,
    invalid_request=1,
    method_not_found=1,
    invalid_params=3,
    failure=0,
    timed_out=0,
    status=lambda _code, unknown_method: HTTPStatus.NOT_FOUND if unknown_method else HTTPStatus.BAD_REQUEST,
    batches=False,
    requires_json_content_type=False,
)
"""What the original's operator answers: HTTP 400 with small codes, 404 for an unknown method."""


class JsonRpcServer:
    """Serves `methods` at POST / (and the given further paths) until it is stopped.

    A method receives `params` as parsed from JSON (or `MISSING`) and returns what JSON can hold. Whatever it raises
    becomes an error answer: `RpcError` with its code, `InvalidParamsError` and any other `MachError` with the
    dialect's; an unexpected exception is logged and answered as "internal error" without its text. `observer` is told
    of every call of a known method: its name, whether it succeeded, and its seconds.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        dialect: Dialect,
        *,
        deadline_s: float = 30.0,
        paths: Sequence[str] = ("/",),
        vhosts: Sequence[str] = ("*",),
        cors_origins: Sequence[str] = (),
        max_concurrent: int = 1024,
        observer: Callable[[str, bool, float], None] = lambda _method, _succeeded, _seconds: None,
    ) -> None:
        self._methods = dict(methods)
        self._dialect = dialect
        self._deadline_s = deadline_s
        self._vhosts = frozenset(host.lower() for host in vhosts)
        self._cors_origins = frozenset(cors_origins)
        self._slots = asyncio.Semaphore(max_concurrent)
        self._observer = observer
        self._app = web.Application(client_max_size=MAX_BODY_BYTES)
        for path in paths:
            self._app.router.add_post(path, self._serve)
            self._app.router.add_options(path, self._preflight)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listens, or raises `ListenError` that names the address and the remedy. `port` then holds the real port."""
        self._runner, self.port = await start_site(self._app, host, port)

    async def stop(self) -> None:
        """Stops listening and lets requests in progress finish, for two seconds at most."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=self._cors_headers(request))

    def _cors_headers(self, request: web.Request) -> dict[str, str]:
        origin = request.headers.get("Origin")
        if origin is None or not self._origin_allowed(request):
            return {"Vary": "Origin"}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Content-Type",
            "Vary": "Origin",
        }

    def _host_allowed(self, request: web.Request) -> bool:
        """Guards against DNS rebinding: a browser that is tricked to a loopback name sends that name as Host."""
        if "*" in self._vhosts:
            return True
        host = request.host.rsplit(":", 1)[0].strip("[]").lower()
        return host in self._vhosts or all(part.isdigit() for part in host.split(".")) or ":" in host

    def _origin_allowed(self, request: web.Request) -> bool:
        """Guards against web pages: a browser on this machine can post to loopback, and always says for whom."""
        origin = request.headers.get("Origin")
        return origin is None or bool({"*", origin} & self._cors_origins)

    async def _serve(self, request: web.Request) -> web.Response:
        if not self._host_allowed(request):
            return web.Response(status=HTTPStatus.FORBIDDEN, text="invalid host specified\n")
        if not self._origin_allowed(request):
            return web.Response(status=HTTPStatus.FORBIDDEN, text="invalid origin specified\n")
        if self._dialect.requires_json_content_type and request.content_type != "application/json":
            return web.Response(
                status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                text="invalid content type, only application/json is supported\n",
            )
        try:
            async with asyncio.timeout(self._deadline_s):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=HTTPStatus.REQUEST_TIMEOUT, text="request body came too slowly\n")
        answer, status = await self._answer(body)
        return web.json_response(answer, status=status, headers=self._cors_headers(request))

    async def _answer(self, body: bytes) -> tuple[Any, int]:
        try:
            document = parse_json(body)
        except ValueError:
            return self._failure(None, self._dialect.parse_error, "parse error: the body is not JSON")
        if isinstance(document, list) and self._dialect.batches:
            if not document or len(document) > MAX_BATCH:
                message = f"a batch must hold 1 to {MAX_BATCH} requests, got {len(document)}"
                return self._failure(None, self._dialect.invalid_request, message)
            answers = await asyncio.gather(*(self._answer_one(entry) for entry in document))
            return [answer for answer, _ in answers], HTTPStatus.OK
        return await self._answer_one(document)

    async def _answer_one(self, document: Any) -> tuple[Any, int]:
        dialect = self._dialect
        if not isinstance(document, dict):
            return self._failure(None, dialect.invalid_request, "invalid request: must be a JSON object")
        identifier = document.get("id")
        if isinstance(identifier, (dict, list)):
            return self._failure(None, dialect.invalid_request, "invalid request: id must be a number or a string")
        name = document.get("method")
        if not isinstance(name, str):
            return self._failure(identifier, dialect.invalid_request, "invalid request: method must be a string")
        method = self._methods.get(name)
        if method is None:
            message = f"the method {name[:64]} does not exist/is not available"
            return self._failure(identifier, dialect.method_not_found, message, unknown_method=True)
        started = time.perf_counter()
        succeeded = False
        try:
            async with asyncio.timeout(self._deadline_s), self._slots:
                result = await method(document.get("params", MISSING))
            succeeded = True
        except TimeoutError:
            return self._failure(identifier, dialect.timed_out, "request timed out")
        except RpcError as error:
            return self._failure(identifier, error.code, str(error))
        except InvalidParamsError as error:
            return self._failure(identifier, dialect.invalid_params, str(error))
        except MachError as error:
            return self._failure(identifier, dialect.failure, str(error))
        except Exception:
            log.exception("rpc.internal_error", method=name)
            return self._failure(identifier, dialect.failure, "internal error; the log of this process has the cause")
        finally:
            self._observer(name, succeeded, time.perf_counter() - started)
        return {"jsonrpc": "2.0", "id": identifier, "result": result}, HTTPStatus.OK

    def _failure(
        self, identifier: Any, code: int, message: str, *, unknown_method: bool = False
    ) -> tuple[dict[str, Any], int]:
        answer = {"jsonrpc": "2.0", "id": identifier, "error": {"code": code, "message": message}}
        return answer, self._dialect.status(code, unknown_method)
