"""The devnet's L1: anvil, found, started, and driven for what only a test chain can do."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Final

from mach.devnet.layout import L1_CHAIN_ID, LOOPBACK
from mach.devnet.processes import ManagedProcess
from mach.errors import EnvironmentFaultError
from mach.transport.jsonrpc_client import JsonRpcClient

READY_DEADLINE_S: Final = 30.0
_ARCHITECTURES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class AnvilUnavailableError(EnvironmentFaultError):
    """No anvil on this machine."""


def find_anvil() -> Path:
    """The native binary: `MACH_ANVIL`, else the source checkout's npm package, else the PATH."""
    named = os.environ.get("MACH_ANVIL")
    if named:
        path = Path(named)
        if not os.access(path, os.X_OK):
            raise AnvilUnavailableError(f"MACH_ANVIL is {named}, which is no program; correct or unset it")
        return path
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), platform.system().lower())
    machine = _ARCHITECTURES.get(platform.machine().lower(), platform.machine())
    package = f"contracts/node_modules/@foundry-rs/anvil-{system}-{machine}/bin/anvil"
    for root in Path(__file__).resolve().parents:
        if os.access(root / package, os.X_OK):
            return root / package
    found = shutil.which("anvil")
    if found is None:
        raise AnvilUnavailableError(
            "anvil is not installed; run `make setup` in a source checkout, or install Foundry, or set MACH_ANVIL"
        )
    return Path(found)


class Anvil:
    """One L1. Blocks come with each transaction until `mine_every` sets a pace."""

    def __init__(self, port: int, log_file: Path) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self.process = ManagedProcess("anvil (L1)", log_file)
        self._port = port

    async def start(self) -> None:
        """Returns once it answers; raises `ProcessFailedError`, which names a port in use."""
        command = [
            str(find_anvil()),
            *("--host", LOOPBACK, "--port", str(self._port)),
            *("--chain-id", str(L1_CHAIN_ID)),
        ]
        await self.process.start(command)
        await self.process.wait_for(lambda event: "Listening on" in event.get("text", ""), READY_DEADLINE_S)

    async def mine_every(self, seconds: float) -> None:
        """From now on a block every `seconds`; 0 goes back to a block with each transaction."""
        async with JsonRpcClient(self.url) as client:
            if seconds > 0:
                await client.call("evm_setAutomine", False)
                await client.call("anvil_setIntervalMining", max(1, round(seconds)))
            else:
                await client.call("anvil_setIntervalMining", 0)
                await client.call("evm_setAutomine", True)

    async def mine(self, blocks: int = 1) -> None:
        async with JsonRpcClient(self.url) as client:
            await client.call("anvil_mine", hex(blocks))

    async def stop(self) -> None:
        await self.process.stop()
