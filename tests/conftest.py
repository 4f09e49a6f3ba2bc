"""Fixtures for every folder of tests: databases."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.postgres_server import MISSING, PostgresServer, server_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's server; a test that stops it starts it again."""
    programs = server_programs()
    if programs is None:
        pytest.skip(MISSING)
    # No test cuts the power: what the kernel has is as good as written, and a hundred databases are made in seconds.
    server = PostgresServer(programs, fsync="off", full_page_writes="off")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"mach_{secrets.token_hex(6)}"
    asyncio.run(postgres_server.execute(f"CREATE DATABASE {name}"))
    yield postgres_server.url(name)
    asyncio.run(postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database, once of each engine."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'mach.sqlite'}"
    url: str = request.getfixturevalue("postgres_url")
    return url
