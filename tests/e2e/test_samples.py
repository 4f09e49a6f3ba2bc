"""The sample settings run as they are against `mach devnet up --only chains`, each service in its own process."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mach.devnet.processes import ManagedProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from mach.devnet.processes import Event

BIN = Path(sys.executable).parent
SAMPLES = Path(__file__).parents[2] / "config-files"


@pytest.mark.timeout(300)
async def test_samples_work_together_on_their_own_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest start, and a lie that reaches the aggregator as the sample operator's signature."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, tmp_path / "config-files")
    async with AsyncExitStack() as stack:

        async def run(name: str, *command: str, ready: str) -> ManagedProcess:
            process = ManagedProcess(name, tmp_path / f"{name}.log")
            await process.start([str(BIN / command[0]), *command[1:]])
            stack.push_async_callback(process.stop)
            await process.wait_for(lambda event: ready in str(event), 90)
            return process

        await run("devnet", "mach", "devnet", "up", "--only", "chains", "--fault", "gas-used@12", ready="files in")
        aggregator = await run(
            "aggregator", "mach-aggregator", "--config", "config-files/aggregator.yaml", ready="aggregator.started"
        )
        await run(
            "operator", "mach-operator-signer", "--config", "config-files/operator.yaml", ready="operator.started"
        )
        verifier = ManagedProcess("verifier", tmp_path / "verifier.log")
        counted = asyncio.create_task(aggregator.wait_for(named("signature.counted"), 120))
        await verifier.start([str(BIN / "mach-verifier"), "--config", "config-files/verifier.yaml"])
        stack.push_async_callback(verifier.stop)
        invalid = await verifier.wait_for(named("block.invalid"), 120)
        assert (invalid["block"], invalid["fields"]) == (12, ["gas_used"])
        assert (await counted)["alert"] == invalid["alert"]


def named(name: str) -> Callable[[Event], bool]:
    def matches(event: Event) -> bool:
        return event.get("event") == name

    return matches
