"""The verifier's verdicts over HTTP on loopback, for operators that cannot read its file. Off unless configured.

GET /v1/alerts?message_hash=0x…,0x…   those of the alerts that this verifier raised itself
GET /v1/verdicts/{block number}       every verdict at that height
GET /v1/verdicts/{0x message hash}    the alert of that hash; 404 if this verifier did not raise it

Every request shows the bearer token, every answer carries the MAC that `mach.transport.verdict_wire` describes.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from mach.storage.errors import DatabaseError
from mach.storage.raised_alerts import raised
from mach.transport.listening import start_site
from mach.transport.verdict_wire import (
    ALERTS_PATH,
    MAC_HEADER,
    MAX_HASHES,
    MAX_NONCE_CHARACTERS,
    NONCE_HEADER,
    VERDICTS_PATH,
    VerdictApiSecret,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AsyncExitStack

    from mach.config.cross_check import CrossCheckConfig
    from mach.config.verifier import VerifierConfig
    from mach.storage.database import Database
    from mach.storage.raised_alerts import RaisedAlert
    from mach.storage.verdict_log import VerdictLog, VerdictRecord

log = structlog.get_logger()

DEADLINE_S: Final = 5.0
MAX_CONCURRENT: Final = 16
MAX_VERDICTS: Final = 100
"""At one height: more than that many blocks of one height is not something to be read by a program."""


class BadQuestionError(ValueError):
    """A question that cannot be read; the text says why."""


async def start_verdict_api(
    stack: AsyncExitStack, config: VerifierConfig | CrossCheckConfig, database: Database, verdicts: VerdictLog
) -> None:
    """Serves the API until the stack ends, if the settings turn it on. Raises `ConfigurationError`, `ListenError`."""
    if config.verdict_api_token_file is None:
        return
    secret = VerdictApiSecret.read(config.verdict_api_token_file, "verdict_api_token_file")
    api = VerdictApi(database, verdicts, secret, config.layer2_chain_id)
    address = config.verdict_api_ip_port_address
    runner, _ = await start_site(api.application(), address.host, address.port)
    stack.push_async_callback(runner.cleanup)


class VerdictApi:
    """Answers from one verifier's database."""

    def __init__(self, database: Database, verdicts: VerdictLog, secret: VerdictApiSecret, chain_id: int) -> None:
        self._database = database
        self._verdicts = verdicts
        self._secret = secret
        self._chain_id = chain_id
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    def application(self) -> web.Application:
        """What `start_site` serves."""
        app = web.Application(client_max_size=1024)
        app.router.add_get(ALERTS_PATH, self._handler(self._alerts))
        app.router.add_get(VERDICTS_PATH + "/{key}", self._handler(self._verdicts_of))
        return app

    def _handler(
        self, answer: Callable[[web.Request], Awaitable[tuple[HTTPStatus, Any]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            if not self._secret.admits(request.headers.get("Authorization")):
                return web.Response(status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
            nonce = request.headers.get(NONCE_HEADER, "")
            if len(nonce) > MAX_NONCE_CHARACTERS:
                return web.Response(status=HTTPStatus.BAD_REQUEST, text=f"{NONCE_HEADER} is too long\n")
            try:
                async with asyncio.timeout(DEADLINE_S), self._slots:
                    status, content = await answer(request)
            except BadQuestionError as error:
                status, content = HTTPStatus.BAD_REQUEST, {"error": str(error)}
            except (TimeoutError, DatabaseError) as error:
                log.error("verdict_api.failed", problem=str(error) or f"no answer within {DEADLINE_S:g} s")
                status, content = HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the verifier's database does not answer"}
            body = json.dumps(content).encode()
            mac = self._secret.seal(nonce, request.raw_path, status, body)
            return web.Response(status=status, body=body, content_type="application/json", headers={MAC_HEADER: mac})

        return handle

    async def _alerts(self, request: web.Request) -> tuple[HTTPStatus, Any]:
        hashes = [_message_hash(part) for part in request.query.get("message_hash", "").split(",")]
        if len(hashes) > MAX_HASHES:
            raise BadQuestionError(
                f"message_hash names {len(hashes)} alerts, at most {MAX_HASHES} are answered at once"
            )
        return HTTPStatus.OK, {"chain_id": self._chain_id, "alerts": await self._raised(hashes)}

    async def _verdicts_of(self, request: web.Request) -> tuple[HTTPStatus, Any]:
        key = request.match_info["key"]
        if key.startswith("0x"):
            alerts = await self._raised([_message_hash(key)])
            if not alerts:
                return HTTPStatus.NOT_FOUND, {"error": "this verifier has raised no such alert"}
            return HTTPStatus.OK, {"chain_id": self._chain_id, "alert": alerts[0]}
        if not (key.isascii() and key.isdigit() and len(key) <= 18):
            raise BadQuestionError("name a block by its decimal number or an alert by its message hash (0x, 64 digits)")
        records = (await self._verdicts.at(int(key)))[:MAX_VERDICTS]
        return HTTPStatus.OK, {
            "chain_id": self._chain_id,
            "verdicts": [_verdict_json(record) for record in records],
        }

    async def _raised(self, hashes: Sequence[bytes]) -> list[dict[str, Any]]:
        found = await raised(self._database, hashes)
        return [_alert_json(alert) for alert in found.values()]


def _message_hash(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise BadQuestionError(f"{text[:80]!r} is not a message hash: 0x and 64 hex digits")
    return value


def _alert_json(alert: RaisedAlert) -> dict[str, Any]:
    return {
        "message_hash": "0x" + alert.message_hash.hex(),
        "block_number": alert.block_number,
        "method": alert.method,
        "params": json.loads(alert.params),
        "basis": alert.basis,
        "raised_at": alert.raised_at,
        "replaced_at": alert.replaced_at,
    }


def _verdict_json(record: VerdictRecord) -> dict[str, Any]:
    return {
        "block_number": record.block_number,
        "block_hash": "0x" + record.block_hash.hex(),
        "verdict": record.verdict,
        "basis": record.basis,
        "computed_hash": None if record.computed_hash is None else "0x" + record.computed_hash.hex(),
        "fields": json.loads(record.fields),
        "reason": record.reason,
        "verified_at": record.verified_at,
    }
