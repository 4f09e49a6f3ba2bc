"""`make bench`: a real `mach-aggregator` under load, 50 operators registered on a real anvil, SQLite, durable replies.

The load comes from `mach_load` (Rust, `rust/mach_rpc/examples`) on the same machine: one signature a request over
kept-alive connections. 32 of the 50 operators sign, just below the threshold: the intake is measured, not anvil.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.contracts.deployed_chain import (
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    deploy_with_operators,
    make_operators,
    running_anvil,
)

from mach.devnet.layout import LOOPBACK
from mach.devnet.processes import ManagedProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

OPERATORS = 50
SIGNERS = 32
TASKS = 3_000
CONNECTIONS = (1, 8, 32)

pytestmark = pytest.mark.timeout(900)


class Aggregator:
    """A running aggregator, and what it has used so far."""

    def __init__(self, process: ManagedProcess, port: int, keys: Path, load: Path) -> None:
        self.process = process
        self.port = port
        self._keys = keys
        self._load = load

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    async def load(self, *arguments: str) -> dict[str, Any]:
        """Runs the load client to its end; its own figures and the server's CPU a request."""
        before = self.cpu_seconds()
        client = await asyncio.create_subprocess_exec(
            str(self._load), "--address", f"{LOOPBACK}:{self.port}", *arguments, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(client.communicate(), 300)
        assert client.returncode == 0
        figures: dict[str, Any] = json.loads(output)
        figures["server_cpu_us_each"] = round(1e6 * (self.cpu_seconds() - before) / max(figures["requests"], 1), 1)
        figures["server_resident_mib"] = round(self.resident_mib(), 1)
        return figures

    async def sign(self, connections: int) -> dict[str, Any]:
        return await self.load(
            *("--keys", str(self._keys), "--tasks", str(TASKS), "--rollup-chain-id", str(ROLLUP_CHAIN_ID)),
            *("--connections", str(connections), "--seconds", "60"),
        )

    async def create(self, connections: int) -> dict[str, Any]:
        return await self.load("--create", "--connections", str(connections), "--seconds", "5")


@pytest.fixture(scope="module")
def load_client() -> Path:
    """The load client, built as the extension is."""
    root = Path(__file__).parents[2]
    built = subprocess.run(
        [
            "cargo",
            "build",
            "--release",
            "--locked",
            "--example",
            "mach_load",
            "-p",
            "mach_rpc",
            "--message-format=json",
        ],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    artifacts = [json.loads(line) for line in built.stdout.splitlines()]
    return Path(next(entry["executable"] for entry in artifacts if entry.get("executable")))


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def aggregator(
    tmp_path_factory: pytest.TempPathFactory, load_client: Path, runner: asyncio.Runner
) -> Iterator[Aggregator]:
    folder = tmp_path_factory.mktemp("aggregator")
    with running_anvil(folder) as anvil:
        chain = runner.run(deploy_with_operators(anvil, make_operators(OPERATORS)))
        chain.deployment.write(folder / "deployment.json")
        (folder / "key").write_text(DEPLOYER.key.hex(), encoding="ascii")
        keys = folder / "keys"
        keys.write_text("".join(f"{one.bls_key.to_bytes().hex()}\n" for one in chain.operators[:SIGNERS]))
        config = folder / "aggregator.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "eth_rpc_url": anvil.url,
                    "layer1_chain_id": CHAIN_ID,
                    "layer2_chain_id": ROLLUP_CHAIN_ID,
                    "avs_deployment": str(folder / "deployment.json"),
                    "ecdsa_private_key_file": str(folder / "key"),
                    "database_url": f"sqlite+aiosqlite:///{folder / 'aggregator.sqlite'}",
                    "aggregator_jsonrpc_server_ip_port_address": f"{LOOPBACK}:0",
                    "max_open_tasks": 100_000,
                    "max_unsigned_tasks_per_peer": 50_000,
                }
            )
        )
        process = ManagedProcess("aggregator", folder / "aggregator.log")

        async def start() -> int:
            await process.start(["mach-aggregator", "--config", str(config), "--log-format", "json"])
            started = await process.wait_for(lambda event: event.get("event") == "aggregator.started", 60)
            return int(started["port"])

        port = runner.run(start())
        try:
            yield Aggregator(process, port, keys, load_client)
        finally:
            runner.run(process.stop())


@pytest.mark.parametrize("connections", CONNECTIONS)
def test_signatures_through_http(
    benchmark: BenchmarkFixture, aggregator: Aggregator, runner: asyncio.Runner, connections: int
) -> None:
    figures = benchmark.pedantic(lambda: runner.run(aggregator.sign(connections)), rounds=1)
    benchmark.extra_info.update(figures)
    print(f"\nsignatures, {connections} connections: {figures}")
    assert figures["requests"] == TASKS * SIGNERS
    assert not figures["errors"], figures


def test_create_task_through_http(benchmark: BenchmarkFixture, aggregator: Aggregator, runner: asyncio.Runner) -> None:
    figures = benchmark.pedantic(lambda: runner.run(aggregator.create(32)), rounds=1)
    benchmark.extra_info.update(figures)
    print(f"\ncreateTask, 32 connections: {figures}")
    assert not figures["errors"], figures
