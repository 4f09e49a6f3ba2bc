"""Where an operator asks whether its own verifier found what it is told: the verifier's file, or its API."""

from __future__ import annotations

import asyncio
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, get_args

import aiohttp

from mach.errors import ConfigurationError, MachError
from mach.storage.errors import DatabaseError
from mach.storage.raised_alerts import Basis, RaisedAlert, VerifierFile
from mach.transport.json_text import parse_json
from mach.transport.urls import without_credentials
from mach.transport.verdict_wire import ALERTS_PATH, MAC_HEADER, MAX_HASHES, NONCE_HEADER, VerdictApiSecret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.config.operator import OperatorConfig

MAX_ANSWER_BYTES: Final = 1 << 20


class VerdictSourceError(MachError):
    """The own verifier cannot be asked right now."""


class VerdictSource(Protocol):
    """The own verifier, as far as an operator needs it; an async context manager."""

    name: str

    async def find(self, message_hashes: Sequence[bytes]) -> dict[bytes, RaisedAlert]:
        """Those of the alerts that the verifier raised itself. Raises `VerdictSourceError`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


def verdict_source(config: OperatorConfig) -> VerdictSource | None:
    """The source that the settings name; None where alerts are trusted. Raises `ConfigurationError`."""
    database, api = config.verdict_database_url, config.verdict_api_url
    if config.trust_alerts:
        return None
    if database is None and api is None:
        raise ConfigurationError(
            "this operator has no verifier of its own to ask before it signs: set `verdict_database_url` to the "
            "verifier's database, or `verdict_api_url` and `verdict_api_token_file` to its verdict API "
            "(`trust_alerts: true` signs whatever it is told, as the original does)"
        )
    if database is not None and api is not None:
        raise ConfigurationError("`verdict_database_url` and `verdict_api_url` name two verifiers; keep one of them")
    if api is None:
        try:
            return DatabaseVerdicts(str(database), chain_id=config.layer2_chain_id, timeout_s=config.verdict_timeout_s)
        except DatabaseError as error:
            raise ConfigurationError(str(error)) from None
    if config.verdict_api_token_file is None:
        raise ConfigurationError("`verdict_api_url` needs `verdict_api_token_file`: the verifier's own token file")
    secret = VerdictApiSecret.read(config.verdict_api_token_file, "verdict_api_token_file")
    return ApiVerdicts(api, secret, chain_id=config.layer2_chain_id, timeout_s=config.verdict_timeout_s)


class DatabaseVerdicts:
    """Asks the verifier's file on this machine."""

    def __init__(self, url: str, *, chain_id: int, timeout_s: float) -> None:
        self._file = VerifierFile(url)
        self._chain_id = chain_id
        self._timeout_s = timeout_s
        self.name = self._file.name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def find(self, message_hashes: Sequence[bytes]) -> dict[bytes, RaisedAlert]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._file.find(message_hashes, self._chain_id)
        except TimeoutError:
            raise VerdictSourceError(f"{self.name} did not answer within {self._timeout_s:g} s") from None
        except DatabaseError as error:
            raise VerdictSourceError(str(error)) from None


class ApiVerdicts:
    """Asks the verifier's API; an answer that does not prove to be the verifier's is none."""

    def __init__(self, url: str, secret: VerdictApiSecret, *, chain_id: int, timeout_s: float) -> None:
        self._url = url
        self._chain_id = chain_id
        self._secret = secret
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self.name = without_credentials(url)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._secret.bearer}", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def find(self, message_hashes: Sequence[bytes]) -> dict[bytes, RaisedAlert]:
        found: dict[bytes, RaisedAlert] = {}
        for start in range(0, len(message_hashes), MAX_HASHES):
            asked = message_hashes[start : start + MAX_HASHES]
            answer = await self._ask(f"{ALERTS_PATH}?message_hash={','.join('0x' + one.hex() for one in asked)}")
            alerts = self._alerts(answer)
            found |= {one: alerts[one] for one in asked if one in alerts}
        return found

    async def _ask(self, question: str) -> Any:
        if self._session is None:
            raise RuntimeError("the source is used outside of `async with`")
        nonce, url = secrets.token_hex(16), self._url + question
        try:
            async with self._session.get(url, headers={NONCE_HEADER: nonce}, allow_redirects=False) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise VerdictSourceError(f"{self.name} answered with more than {MAX_ANSWER_BYTES} bytes")
                status, mac = response.status, response.headers.get(MAC_HEADER)
                sent = response.request_info.url.raw_path_qs
        except TimeoutError:
            raise VerdictSourceError(f"{self.name} did not answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise VerdictSourceError(f"{self.name} cannot be reached: {error}") from None
        if status == HTTPStatus.UNAUTHORIZED:
            raise VerdictSourceError(f"{self.name} refuses the token; give both sides the same token file")
        if not self._secret.sealed(nonce, sent, status, bytes(body), mac):
            raise VerdictSourceError(
                f"{self.name} answered without proof that it is the verifier; see what listens there"
            )
        if status != HTTPStatus.OK:
            raise VerdictSourceError(f"{self.name} answered HTTP {status}")
        try:
            return parse_json(bytes(body))
        except ValueError:
            raise VerdictSourceError(f"{self.name} did not answer JSON") from None

    def _alerts(self, answer: Any) -> dict[bytes, RaisedAlert]:
        entries = answer.get("alerts") if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            raise VerdictSourceError(f"{self.name} did not answer a list of alerts")
        if answer.get("chain_id") != self._chain_id:
            raise VerdictSourceError(
                f"{self.name} is the verifier of chain {str(answer.get('chain_id'))[:20]}, layer2_chain_id is "
                f"{self._chain_id}; name this rollup's verifier"
            )
        try:
            alerts = [alert_from_json(entry) for entry in entries]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise VerdictSourceError(f"{self.name} answered an alert that is malformed") from None
        return {alert.message_hash: alert for alert in alerts}


def alert_from_json(entry: dict[str, Any]) -> RaisedAlert:
    """An alert as the API words it. Raises a `ValueError`, `TypeError`, `KeyError` or `AttributeError`."""
    basis: Basis = entry["basis"]
    if basis not in get_args(Basis):
        raise ValueError(basis)
    replaced_at = entry["replaced_at"]
    return RaisedAlert(
        message_hash=bytes.fromhex(entry["message_hash"].removeprefix("0x")),
        block_number=int(entry["block_number"]),
        method=str(entry["method"]),
        params="",
        basis=basis,
        raised_at=float(entry["raised_at"]),
        replaced_at=None if replaced_at is None else float(replaced_at),
    )
