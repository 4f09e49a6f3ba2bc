"""Fixtures of the contract tests. The deployed chain is made once a session; a snapshot gives it back to each test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.contracts.deployed_chain import (
    CHAIN_ID,
    Anvil,
    DeployedChain,
    deploy_with_operators,
    make_operators,
    running_anvil,
)

from mach.chain.connection import connect, disconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mach.chain.connection import L1Client


@pytest.fixture
def anvil(tmp_path: Path) -> Iterator[Anvil]:
    """An empty chain of its own."""
    with running_anvil(tmp_path) as node:
        yield node


@pytest.fixture(scope="session")
def deployed_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedChain]:
    """The session's chain; tests that change it use `chain`."""
    with running_anvil(tmp_path_factory.mktemp("anvil")) as node:
        yield asyncio.run(deploy_with_operators(node, make_operators(3)))


@pytest.fixture
def chain(deployed_chain: DeployedChain) -> Iterator[DeployedChain]:
    """The deployed chain, put back as it was after the test."""
    snapshot = deployed_chain.anvil.rpc("evm_snapshot")
    yield deployed_chain
    assert deployed_chain.anvil.rpc("evm_revert", snapshot)


@pytest.fixture
async def w3(chain: DeployedChain) -> AsyncIterator[L1Client]:
    """A client of `chain`."""
    client = await connect(chain.anvil.url, CHAIN_ID)
    yield client
    await disconnect(client)
