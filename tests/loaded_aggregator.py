"""A real `mach-aggregator` to put load on: 50 operators registered on a real anvil, SQLite, durable replies.

The load comes from `mach_load` (Rust, `rust/mach_rpc/examples`) on the same machine: one signature a request over
kept-alive connections. 32 of the 50 operators sign, just below the threshold: the intake is loaded, not anvil.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mach.devnet.layout import LOOPBACK
from mach.devnet.processes import ManagedProcess
from tests.contracts.deployed_chain import (
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    deploy_with_operators,
    make_operators,
    running_anvil,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OPERATORS = 50
SIGNERS = 32


class LoadedAggregator:
    """A running aggregator, and what it has used so far."""

    def __init__(self, process: ManagedProcess, port: int, keys: Path, load: Path) -> None:
        self.process = process
        self.port = port
        self._keys = keys
        self._load = load

    def cpu_seconds(self) -> float:
        fields = self._proc("stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        pages = int(self._proc("statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def open_files(self) -> int:
        return len(list(self._proc("fd").iterdir()))

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.pid}") / name

    async def load(self, *arguments: str, deadline_s: float = 300) -> dict[str, Any]:
        """Runs the load client to its end; its own figures and the server's CPU a request."""
        before = self.cpu_seconds()
        client = await asyncio.create_subprocess_exec(
            str(self._load), "--address", f"{LOOPBACK}:{self.port}", *arguments, stdout=asyncio.subprocess.PIPE
        )
        try:
            output, _ = await asyncio.wait_for(client.communicate(), deadline_s)
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        assert client.returncode == 0
        figures: dict[str, Any] = json.loads(output)
        figures["server_cpu_us_each"] = round(1e6 * (self.cpu_seconds() - before) / max(figures["requests"], 1), 1)
        figures["server_resident_mib"] = round(self.resident_mib(), 1)
        return figures

    async def sign(self, connections: int, *arguments: str, deadline_s: float = 300) -> dict[str, Any]:
        """Signatures of all keys over new tasks."""
        keys = ("--keys", str(self._keys), "--rollup-chain-id", str(ROLLUP_CHAIN_ID))
        return await self.load(*keys, "--connections", str(connections), *arguments, deadline_s=deadline_s)

    async def create(self, connections: int, tasks: int) -> dict[str, Any]:
        """createTask for so many new alerts."""
        return await self.load("--create", "--connections", str(connections), "--tasks", str(tasks), "--seconds", "60")


def build_load_client() -> Path:
    """The load client, built with what `make test-rust` builds, so that nothing is compiled twice."""
    command = (
        "cargo build --release --locked --workspace --exclude mach_core "
        "--features mach_stateless/native,mach_stateless/parallel --example mach_load --message-format=json"
    )
    built = subprocess.run(command.split(), cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    artifacts = [json.loads(line) for line in built.stdout.splitlines()]
    return Path(next(entry["executable"] for entry in artifacts if entry.get("executable")))


@contextlib.asynccontextmanager
async def loaded_aggregator(folder: Path, load_client: Path, **settings: Any) -> AsyncIterator[LoadedAggregator]:
    """An aggregator with these settings and everything it needs, in an empty folder."""
    with running_anvil(folder) as anvil:
        chain = await deploy_with_operators(anvil, make_operators(OPERATORS))
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
                | settings
            )
        )
        process = ManagedProcess("aggregator", folder / "aggregator.log")
        try:
            program = Path(sys.executable).with_name("mach-aggregator")
            await process.start([str(program), "--config", str(config), "--log-format", "json"])
            started = await process.wait_for(lambda event: event.get("event") == "aggregator.started", 60)
            yield LoadedAggregator(process, int(started["port"]), keys, load_client)
        finally:
            await process.stop()
