"""The aggregator as its operators see it: one service behind one or several addresses (replicas)."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from mach.errors import ConfigurationError
from mach.transport.jsonrpc_client import JsonRpcClient, PeerUnavailableError
from mach.transport.secret_files import read_secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mach.config.operator import OperatorConfig


class AggregatorReplicas:
    """Calls whichever replica answers; an async context manager.

    The replica that answered last is asked first, so that a task's messages go to one place while it lives.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout_s: float,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._clients = [JsonRpcClient(url, timeout_s=timeout_s, headers=headers, tls=tls) for url in urls]
        self._preferred = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def call(self, method: str, *params: Any) -> Any:
        """The `result` of one call.

        Raises `PeerRefusedError` when a replica refuses, and `PeerUnavailableError` when none of them answers: with
        the problems of all.
        """
        problems = []
        first = self._preferred
        for offset in range(len(self._clients)):
            position = (first + offset) % len(self._clients)
            try:
                answer = await self._clients[position].call(method, *params)
            except PeerUnavailableError as error:
                problems.append(str(error))
                continue
            self._preferred = position
            return answer
        raise PeerUnavailableError("; ".join(problems))


def connect_to_aggregators(config: OperatorConfig) -> AggregatorReplicas:
    """The replicas that the settings name, with their token and certificates. Raises `ConfigurationError`."""
    return AggregatorReplicas(
        config.aggregator_jsonrpc_server_ip_port_address,
        timeout_s=config.submit_deadline_s,
        token=None if config.aggregator_token_file is None else _token(config.aggregator_token_file),
        tls=_tls(config),
    )


def _token(path: Path) -> str:
    return read_secret(path, "aggregator_token_file")


def _tls(config: OperatorConfig) -> ssl.SSLContext | None:
    if (config.aggregator_client_certificate_file is None) != (config.aggregator_client_key_file is None):
        raise ConfigurationError(
            "`aggregator_client_certificate_file` and `aggregator_client_key_file` belong together: give both or none"
        )
    if config.aggregator_ca_file is None and config.aggregator_client_certificate_file is None:
        return None
    files = (
        config.aggregator_ca_file,
        config.aggregator_client_certificate_file,
        config.aggregator_client_key_file,
    )
    try:
        context = ssl.create_default_context(cafile=config.aggregator_ca_file)
        if config.aggregator_client_certificate_file is not None:
            context.load_cert_chain(config.aggregator_client_certificate_file, config.aggregator_client_key_file)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(path) for path in files if path is not None)
        raise ConfigurationError(
            f"the aggregator's TLS files ({named}) cannot be used: {error.strerror or error}; give PEM files"
        ) from None
    return context
