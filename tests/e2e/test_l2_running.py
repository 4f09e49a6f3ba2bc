"""The devnet's L2 as a thing that runs: paced building, restarts, crashes, and what stands in the way of a start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from mach.devnet.accounts import traffic_accounts
from mach.devnet.geth_node import GethFailedError
from mach.devnet.layout import Ports
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.traffic import MESSAGE_PASSER, Traffic, TrafficSettings
from mach.transport.jsonrpc_client import JsonRpcClient

DEADLINE_S = 30.0


def settings(folder: Path, **changes: Any) -> SequencerSettings:
    ports = Ports.free()
    return SequencerSettings(folder, http_port=ports.l2, auth_port=ports.l2_auth, **changes)


def has_ended(pid: int) -> bool:
    """Whether process `pid` is dead, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


async def test_run_builds_with_traffic_until_stopped(tmp_path: Path) -> None:
    async with (
        Sequencer(settings(tmp_path, block_time_s=0.1)) as sequencer,
        Traffic(TrafficSettings(sequencer.http_url, pool_depth=5)) as traffic,
        JsonRpcClient(sequencer.http_url) as client,
    ):
        running = asyncio.create_task(sequencer.run(before_block=traffic.fill))
        async with asyncio.timeout(DEADLINE_S):
            await sequencer.wait_for_block(8)
            for number in range(1, 9):
                count = await client.call("eth_getBlockTransactionCountByNumber", hex(number))
                assert int(count, 16) >= 3
            await sequencer.stop()
            await running
        assert sequencer.pid is None


async def test_restart_goes_on_where_the_chain_stood(tmp_path: Path) -> None:
    sequencer = Sequencer(settings(tmp_path))
    await sequencer.start()
    for _ in range(3):
        await sequencer.produce_block()
    before = sequencer.head
    await sequencer.stop()
    sequencer.chain_config_file.unlink()
    async with Sequencer(sequencer.settings) as again:
        assert again.head == before
        assert await again.produce_block() == 4
        assert json.loads(again.chain_config_file.read_text())["chainId"] == again.settings.chain_id


async def test_a_killed_node_is_reported_and_comes_back_with_its_chain(tmp_path: Path) -> None:
    sequencer = Sequencer(settings(tmp_path, block_time_s=0.05))
    async with sequencer, Traffic(TrafficSettings(sequencer.http_url, poll_s=0.01)) as traffic:
        running = asyncio.create_task(sequencer.run())
        sending = asyncio.create_task(traffic.run())
        async with asyncio.timeout(DEADLINE_S):
            await sequencer.wait_for_block(5)
            assert sequencer.pid is not None
            os.kill(sequencer.pid, signal.SIGKILL)
            with pytest.raises(GethFailedError, match="SIGKILL"):
                await running
        assert sequencer.crashed
        before = sequencer.head
        await sequencer.start()
        assert not sequencer.crashed
        # The last block may have become the head without our having heard of it when the node died.
        assert sequencer.head.number - before.number in (0, 1)
        accepted = traffic.accepted
        async with asyncio.timeout(DEADLINE_S):
            while traffic.accepted == accepted:
                await sequencer.produce_block()
        traffic.stop()
        await sending


async def test_the_node_dies_with_its_parent(tmp_path: Path) -> None:
    ports = Ports.free()
    program = (
        "import asyncio, pathlib, sys\n"
        "from mach.devnet.sequencer import Sequencer, SequencerSettings\n"
        "async def main():\n"
        f"    settings = SequencerSettings(pathlib.Path(sys.argv[1]), {ports.l2}, {ports.l2_auth})\n"
        "    async with Sequencer(settings) as sequencer:\n"
        "        print(sequencer.pid, flush=True)\n"
        "        await sequencer.run()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        pid = int(await parent.stdout.readline())
        parent.kill()
        await parent.wait()
        while not has_ended(pid):
            await asyncio.sleep(0.02)


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(GethFailedError, match=f"127.0.0.1:{port}.*another port"):
            await Sequencer(SequencerSettings(tmp_path, http_port=port, auth_port=Ports.free().l2_auth)).start()


async def test_a_binary_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor = tmp_path / "op-geth"
    impostor.write_text("#!/bin/sh\necho no such option >&2; exit 3\n")
    impostor.chmod(0o755)
    monkeypatch.setenv("MACH_OP_GETH", str(impostor))
    with pytest.raises(GethFailedError, match=r"`op-geth init`.*exit code 3.*no such option"):
        await Sequencer(settings(tmp_path)).start()


async def test_a_withdrawal_changes_the_message_passer(tmp_path: Path) -> None:
    account = traffic_accounts()[0]
    async with Sequencer(settings(tmp_path)) as sequencer, JsonRpcClient(sequencer.http_url) as client:
        await sequencer.produce_block()
        before = await client.call("eth_getBlockByNumber", "latest", False)
        signed = account.sign_transaction(
            {
                "chainId": sequencer.settings.chain_id,
                "nonce": 0,
                "to": MESSAGE_PASSER,
                "value": 1,
                "gas": 300_000,
                "gasPrice": 10**10,
            }
        )
        await client.call("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())
        await sequencer.produce_block()
        after = await client.call("eth_getBlockByNumber", "latest", False)
        proof = await client.call("eth_getProof", MESSAGE_PASSER, [], "latest")
        assert after["withdrawalsRoot"] == proof["storageHash"] != before["withdrawalsRoot"]
