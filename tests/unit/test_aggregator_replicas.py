"""An operator's aggregator behind several addresses: who is asked, and what comes back when nobody answers."""

from __future__ import annotations

import os
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from mach.config.operator import OperatorConfig
from mach.errors import ConfigurationError
from mach.operator.aggregators import AggregatorReplicas, connect_to_aggregators
from mach.transport.jsonrpc import AGGREGATOR_DIALECT, JsonRpcServer, RpcError
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.transport.secret_files import read_secret

if TYPE_CHECKING:
    from pathlib import Path


async def server(stack: AsyncExitStack, name: str, port: int = 0) -> JsonRpcServer:
    """A server that answers `who` with its name."""

    async def who(_: Any) -> str:
        return name

    async def refuse(_: Any) -> str:
        raise RpcError(-32000, f"{name} says no")

    started = JsonRpcServer({"who": who, "refuse": refuse}, AGGREGATOR_DIALECT, deadline_s=5)
    await started.start("127.0.0.1", port)
    stack.push_async_callback(started.stop)
    return started


def url(replica: JsonRpcServer) -> str:
    return f"http://127.0.0.1:{replica.port}"


async def test_the_next_replica_answers_when_one_is_gone_and_stays_preferred() -> None:
    async with AsyncExitStack() as stack:
        one, two = await server(stack, "one"), await server(stack, "two")
        replicas = await stack.enter_async_context(AggregatorReplicas([url(one), url(two)], timeout_s=5))
        assert await replicas.call("who") == "one"
        port = one.port
        await one.stop()
        assert await replicas.call("who") == "two"
        await server(stack, "one again", port)
        assert await replicas.call("who") == "two"
        await two.stop()
        assert await replicas.call("who") == "one again"


async def test_a_refusal_is_an_answer_and_is_not_asked_for_twice() -> None:
    async with AsyncExitStack() as stack:
        one, two = await server(stack, "one"), await server(stack, "two")
        replicas = await stack.enter_async_context(AggregatorReplicas([url(one), url(two)], timeout_s=5))
        with pytest.raises(PeerRefusedError, match="one says no"):
            await replicas.call("refuse")


async def test_when_none_answers_the_error_names_all() -> None:
    async with AsyncExitStack() as stack:
        one, two = await server(stack, "one"), await server(stack, "two")
        urls = [url(one), url(two)]
        await one.stop()
        await two.stop()
        replicas = await stack.enter_async_context(AggregatorReplicas(urls, timeout_s=5))
        with pytest.raises(PeerUnavailableError) as raised:
            await replicas.call("who")
        assert all(address in str(raised.value) for address in urls)


@pytest.mark.parametrize("content", ["", "two words", "line\nbreak", "\x07"])
def test_a_token_file_with_something_else_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="one token and nothing else") as raised:
        read_secret(path, "aggregator_token_file")
    assert "two words" not in str(raised.value)


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"token.*cannot be read: No such file"):
        read_secret(tmp_path / "token", "aggregator_token_file")
    (tmp_path / "token").write_text("secret\n")
    assert read_secret(tmp_path / "token", "aggregator_token_file") == "secret"


def test_tls_files_come_in_pairs_and_must_be_pem(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_bytes(os.urandom(64))
    with pytest.raises(ConfigurationError, match="belong together"):
        connect_to_aggregators(config(aggregator_client_key_file=bad))
    with pytest.raises(ConfigurationError, match=r"bad\.pem.* cannot be used"):
        connect_to_aggregators(config(aggregator_ca_file=bad))
    authorities = ssl.get_default_verify_paths().cafile
    if authorities is not None:
        connect_to_aggregators(config(aggregator_ca_file=authorities))


def config(**settings: Any) -> OperatorConfig:
    required = {
        "eth_rpc_url": "http://127.0.0.1:8545",
        "layer1_chain_id": 1,
        "layer2_chain_id": 901,
        "ecdsa_private_key_store_path": "e.json",
        "bls_private_key_store_path": "b.json",
    }
    return OperatorConfig(**required | settings)
