"""The main job, on the real thing: L1, L2, a node that lies, verifiers, operators, an aggregator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mach.chain.connection import connection
from mach.chain.service_manager import ServiceManager
from mach.devnet.faults import Fault, FaultKind
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import L1_CHAIN_ID, Layout, Ports
from mach.devnet.processes import ProcessFailedError
from mach.devnet.story import Story
from mach.devnet.supervisor import Devnet, DevnetBusyError, DevnetOptions, running_devnet

if TYPE_CHECKING:
    from collections.abc import Callable

MACH = Path(sys.executable).with_name("mach")
STORY_DEADLINE_S = 150.0


async def until(condition: Callable[[], bool], what: str, watching: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(STORY_DEADLINE_S):
            while not condition():
                if watching.done():
                    await watching
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {STORY_DEADLINE_S:g} s: {what}")


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the devnet's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(folder) in command:
                    found.append(command)
    return found


@pytest.mark.timeout(600)
async def test_fifty_honest_blocks_then_each_of_the_four_lies_is_caught_at_its_block(tmp_path: Path) -> None:
    story = Story()
    options = DevnetOptions(tmp_path, Ports.free(), l2_block_time_s=0.5)
    async with Devnet(options, story.note) as net:
        watching = asyncio.create_task(net.watch())
        verifiers = story.verifiers
        try:
            await until(
                lambda: len(verifiers) == 3 and min(each.valid for each in verifiers.values()) >= 50,
                "50 blocks are VALID for all three verifiers",
                watching,
            )
            assert not story.alerts
            assert not any(each.invalid for each in verifiers.values())
            assert min(each.transactions for each in verifiers.values()) > 150
            lies: dict[int, Fault] = {}
            for kind in FaultKind:
                fault = Fault(kind, net.sequencer.head.number + 3)
                lies[fault.block_number or 0] = fault
                net.lying_node.set_fault(fault)
                await until(
                    lambda: sum(alert.confirmed_block is not None for alert in story.alerts.values()) == len(lies),
                    f"the alert over {fault} is confirmed",
                    watching,
                )
                await until(
                    lambda: all(set(each.invalid) == set(lies) for each in verifiers.values()),
                    f"every verifier has found {fault}, and nothing else",
                    watching,
                )
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        for verifier in verifiers.values():
            for block, mismatches in verifier.invalid.items():
                assert any(text.startswith(lies[block].kind.expected_field) for text in mismatches), (block, mismatches)
        liar = next(block for block, fault in lies.items() if fault.kind is FaultKind.TX_RESULT)
        assert any(text.startswith("receipts[") and ".status" in text for text in verifiers["verifier1"].invalid[liar])
        async with connection(net.l1_url, L1_CHAIN_ID) as w3:
            on_chain = await ServiceManager(w3, net.deployment).query_message_hashes(L2_CHAIN_ID, 0, 10)
        assert {"0x" + message_hash.hex() for message_hash in on_chain} == set(story.alerts)
        assert len(on_chain) == 4
    assert not processes_of(tmp_path)


@pytest.mark.timeout(300)
async def test_the_demo_command_ends_well_and_leaves_nothing_running(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        str(MACH), "devnet", "demo", "--fault", "receipts-root", "--folder", str(tmp_path), "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stdout, stderr = await asyncio.wait_for(process.communicate(), 280)
    assert process.returncode == 0, stderr.decode()
    result = json.loads(stdout)
    assert result["alerts_on_chain"] == 1
    assert result["fault"].startswith("receipts-root@")
    assert result["fields"][0].startswith("receipts_root: served 0x")
    assert len(result["signers"]) >= 2
    assert not processes_of(tmp_path)
    assert running_devnet(Layout(tmp_path)) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.timeout(300)
async def test_everything_ends_with_the_devnet_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        str(MACH), "devnet", "up", "--free-ports", "--folder", str(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(120):
        async for line in process.stdout:
            if b"files in" in line:
                break
    up = running_devnet(Layout(tmp_path))
    assert up is not None
    assert up.pid == process.pid
    assert len(processes_of(tmp_path)) >= 8
    process.send_signal(number)
    async with asyncio.timeout(60):
        await process.stdout.read()
        await process.wait()
        while processes_of(tmp_path):
            await asyncio.sleep(0.05)
    assert running_devnet(Layout(tmp_path)) is None


@pytest.mark.timeout(300)
async def test_the_crash_of_one_part_ends_the_others(tmp_path: Path) -> None:
    async with Devnet(DevnetOptions(tmp_path, Ports.free())) as net:
        watching = asyncio.create_task(net.watch())
        await net.services["operator2"].kill()
        with pytest.raises(ProcessFailedError, match="operator2 ended with code -9"):
            async with asyncio.timeout(30):
                await watching
    assert not processes_of(tmp_path)


async def test_a_port_in_use_and_a_foreign_folder_are_named(tmp_path: Path) -> None:
    ports = Ports.free()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", ports.aggregator)
    async with server:
        with pytest.raises(ProcessFailedError, match=f"port {ports.aggregator} \\(aggregator\\) is already in use"):
            await Devnet(DevnetOptions(tmp_path / "net", ports)).__aenter__()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DevnetBusyError, match="holds thesis.txt, which is not a devnet's"):
        await Devnet(DevnetOptions(tmp_path, Ports.free())).__aenter__()
    assert (tmp_path / "thesis.txt").read_text() == "mine"
