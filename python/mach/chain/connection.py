"""Connections to the L1: one place that knows a node's ways of failing and turns each into one of our errors."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import aiohttp
from eth_utils.address import to_checksum_address
from web3 import AsyncWeb3
from web3.exceptions import (
    BadFunctionCallOutput,
    BadResponseFormat,
    ContractLogicError,
    RequestTimedOut,
    TooManyRequests,
    Web3Exception,
    Web3RPCError,
)
from web3.middleware import AttributeDictMiddleware

from mach.chain.errors import (
    ContractNotFoundError,
    L1UnavailableError,
    MalformedAnswerError,
    RequestRefusedError,
    RevertedError,
    WrongChainIdError,
)
from mach.chain.http_provider import HttpProvider
from mach.chain.revert import reason_of
from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

L1Client: TypeAlias = "AsyncWeb3[Any]"
"""A web3 client of the settlement chain, as `connect` makes it."""

DEFAULT_DEADLINE_S = 10.0
"""How long one request may take before the node counts as away."""

_T = TypeVar("_T")

_RETRYABLE_HTTP_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LIMIT_EXCEEDED = -32005
"""JSON-RPC error code of EIP-1474: the provider's rate limit."""


def redact_url(url: str) -> str:
    """`url` without credentials: user, password, path and query of a hosted node often are or hold an API key."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(malformed URL)"
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{'/…' if parts.path.strip('/') or parts.query else ''}"


async def connect(
    rpc_url: str, expected_chain_id: int | None = None, deadline_s: float = DEFAULT_DEADLINE_S
) -> L1Client:
    """A client of the node at `rpc_url` (http or https), after checking that it answers and serves the expected chain.

    `expected_chain_id` None accepts any chain. Close the client with `disconnect`. Raises `ConfigurationError` for a
    URL of another form, `L1UnavailableError` when the node does not answer within `deadline_s`, and
    `WrongChainIdError`.
    """
    try:
        parts = urlsplit(rpc_url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f"{redact_url(rpc_url)} is not an L1 RPC URL: give one like http://127.0.0.1:8545")
    provider = HttpProvider(rpc_url, deadline_s)
    # No name service and no gas-price strategies: addresses are checked values, fees are the sender's business.
    w3: L1Client = AsyncWeb3(provider, middleware=[AttributeDictMiddleware])
    try:
        await _require_chain_id(w3, expected_chain_id, deadline_s)
    except BaseException:
        await disconnect(w3)
        raise
    return w3


async def _require_chain_id(w3: L1Client, expected: int | None, deadline_s: float) -> None:
    served = await request(w3, w3.eth.chain_id, "read the chain id", deadline_s)
    if expected is not None and served != expected:
        raise WrongChainIdError(
            f"the L1 node {redact_url(str(w3.provider.endpoint_uri))} serves chain id {served}, expected {expected}: "
            f"change the RPC URL or the configured chain id"
        )


async def disconnect(w3: L1Client) -> None:
    """Closes the HTTP sessions of `w3`."""
    await w3.provider.disconnect()


@contextlib.asynccontextmanager
async def connection(
    rpc_url: str, expected_chain_id: int | None = None, deadline_s: float = DEFAULT_DEADLINE_S
) -> AsyncIterator[L1Client]:
    """`connect` as a context manager that closes the client at the end."""
    w3 = await connect(rpc_url, expected_chain_id, deadline_s)
    try:
        yield w3
    finally:
        await disconnect(w3)


async def request(w3: L1Client, awaitable: Awaitable[_T], action: str, deadline_s: float = DEFAULT_DEADLINE_S) -> _T:
    """The result of `awaitable`, a web3 request, within `deadline_s`. `action` completes "cannot …" in messages.

    Raises `L1UnavailableError` (worth retrying), `RevertedError` with the decoded reason, `ContractNotFoundError` when
    a contract call met no code, and `RequestRefusedError` for every other refusal.
    """
    node = redact_url(str(getattr(w3.provider, "endpoint_uri", "")))
    away = f"cannot {action}: the L1 node {node}"
    try:
        async with asyncio.timeout(deadline_s):
            return await awaitable
    except ContractLogicError as error:
        reason = reason_of(error)
        raise RevertedError(f"cannot {action}: the contract reverted with {reason}", reason) from error
    except BadFunctionCallOutput as error:
        raise ContractNotFoundError(
            f"cannot {action}: the address holds no such contract on this chain: check the deployment file"
        ) from error
    except (RequestTimedOut, TooManyRequests) as error:
        raise L1UnavailableError(f"{away} is overloaded: retry later or use another node") from error
    except Web3RPCError as error:
        details = error.rpc_response.get("error") if error.rpc_response else None
        if isinstance(details, dict) and details.get("code") == _LIMIT_EXCEEDED:
            raise L1UnavailableError(f"{away} limits its rate: retry later or use another node") from error
        text = details.get("message") if isinstance(details, dict) else error.message
        raise RequestRefusedError(f"cannot {action}: the L1 node refused: {text}") from error
    except aiohttp.ClientResponseError as error:
        if error.status in _RETRYABLE_HTTP_STATUS:
            raise L1UnavailableError(f"{away} answered HTTP {error.status}: retry later") from error
        raise RequestRefusedError(
            f"{away} answered HTTP {error.status}: check the RPC URL and its credentials"
        ) from error
    except TimeoutError as error:
        raise L1UnavailableError(f"{away} did not answer within {deadline_s:g} s: is it running?") from error
    except (aiohttp.ClientError, OSError) as error:
        raise L1UnavailableError(f"{away} is unreachable: check the RPC URL and that the node runs") from error
    except MalformedAnswerError as error:
        raise L1UnavailableError(
            f"{away} sent a malformed answer ({error}): is it an Ethereum JSON-RPC endpoint?"
        ) from error
    except (BadResponseFormat, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # web3 passes on what JSON decoding and its own reading of a result raise, which takes types for granted.
        raise L1UnavailableError(f"{away} sent a malformed answer: is it an Ethereum JSON-RPC endpoint?") from error
    except Web3Exception as error:
        raise RequestRefusedError(f"cannot {action}: {type(error).__name__}: {error}") from error


async def require_code(w3: L1Client, address: str, name: str) -> None:
    """Raises `ContractNotFoundError` unless a contract stands at `address`; `name` says which one it should be."""
    checksummed = to_checksum_address(address)
    code = await request(w3, w3.eth.get_code(checksummed), f"read the code of {name}")
    if not code:
        raise ContractNotFoundError(
            f"{name} {checksummed} has no code on this chain: check the address, the deployment file and the RPC URL"
        )
