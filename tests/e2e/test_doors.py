"""What strangers and careless operators do to an aggregator: each is answered, and honest alerts are confirmed.

Signatures are real; the aggregator is a real process on a real L1.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import LOOPBACK
from mach.keys import load_bls_keystore
from mach.protocol.alerts import sign_hash
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError
from tests.contracts.l1_proxy import l1_proxy

from .conftest import OPERATOR_NAMES
from .test_bls_mode import alert, confirmed

if TYPE_CHECKING:
    from mach.bls import SecretKey

    from .conftest import BlsNetwork

JSON = {"Content-Type": "application/json"}


def keys_of(network: BlsNetwork) -> list[SecretKey]:
    return [
        load_bls_keystore(network.layout.bls_key(name), network.layout.password(name).read_text().strip())
        for name in OPERATOR_NAMES
    ]


async def sign(network: BlsNetwork, task: dict[str, Any], key: SecretKey, over: dict[str, Any] | None = None) -> Any:
    """Submits a signature for `task`, over another one if so told."""
    meant = over or task
    digest = sign_hash(bytes.fromhex(meant["alert_hash"][2:]), meant["reference_block_number"], L2_CHAIN_ID)
    return await network.aggregator(
        "aggregator_processSignedTaskResponse",
        task,
        "0x" + key.sign(digest).to_bytes().hex(),
        "0x" + key.public_key_g1.operator_id.hex(),
    )


async def honest_alert(network: BlsNetwork, number: int) -> None:
    """An alert that two operators sign, from the first call to L1."""
    _, message_hash = alert(number)
    task = await network.aggregator("aggregator_createTask", message_hash)
    for key in keys_of(network)[:2]:
        await sign(network, task, key)
    await confirmed(network, message_hash)


async def test_a_signature_counts_once_however_often_it_is_sent(network: BlsNetwork) -> None:
    await network.start("aggregator")
    _, message_hash = alert(1)
    task = await network.aggregator("aggregator_createTask", message_hash)
    key = keys_of(network)[0]
    answers = await asyncio.gather(*(sign(network, task, key) for _ in range(50)))
    assert all(answer["reply"] is False for answer in answers)
    assert len(network.seen("aggregator", "signature.counted", alert=message_hash)) == 1
    assert not network.seen("aggregator", "task.quorum", alert=message_hash)
    await sign(network, task, keys_of(network)[1])
    await confirmed(network, message_hash)


async def test_another_alerts_signature_does_not_touch_the_task(network: BlsNetwork) -> None:
    await network.start("aggregator")
    one, other = [await network.aggregator("aggregator_createTask", alert(number)[1]) for number in (1, 2)]
    keys = keys_of(network)
    with pytest.raises(PeerRefusedError, match="Incorrect Signature"):
        await sign(network, one, keys[0], over=other)
    disguised = other | {"task_index": one["task_index"]}
    with pytest.raises(PeerRefusedError, match=f"task {one['task_index']} not initialized or already completed"):
        await sign(network, disguised, keys[1])
    for key in keys[1:]:
        await sign(network, one, key)
    await confirmed(network, alert(1)[1])


async def test_a_bad_signer_is_named_and_the_others_are_counted(network: BlsNetwork) -> None:
    await network.start("aggregator")
    _, message_hash = alert(1)
    task = await network.aggregator("aggregator_createTask", message_hash)
    bad, *good = keys_of(network)
    other = task | {"alert_hash": "0x" + "77" * 32}
    results = await asyncio.gather(
        sign(network, task, bad, over=other), *(sign(network, task, key) for key in good), return_exceptions=True
    )
    assert isinstance(results[0], PeerRefusedError)
    assert all(isinstance(result, dict) for result in results[1:])
    await confirmed(network, message_hash)
    await network.eventually(lambda: bool(network.seen("aggregator", "signature.bad")), "the bad signer is named")
    (named,) = network.seen("aggregator", "signature.bad")
    assert named["operator_id"] == "0x" + bad.public_key_g1.operator_id.hex()


async def test_ten_thousand_tasks_of_one_peer_cost_it_its_own_oldest(network: BlsNetwork) -> None:
    network.configure("aggregator", max_unsigned_tasks_per_peer=1_000, max_open_tasks=5_000)
    await network.start("aggregator")
    _, message_hash = alert(1)
    honest = await network.aggregator("aggregator_createTask", message_hash)
    await sign(network, honest, keys_of(network)[0])  # signed once, so durable
    before = resident_bytes(network)
    url = f"http://{LOOPBACK}:{network.ports.aggregator}"
    async with JsonRpcClient(url, timeout_s=60.0, max_connections=16) as client:
        for start in range(0, 10_000, 500):
            hashes = ["0x" + secrets.token_hex(32) for _ in range(500)]
            answers = await asyncio.gather(*(client.call("aggregator_createTask", one) for one in hashes))
            assert len({answer["task_index"] for answer in answers}) == 500, start
    assert resident_bytes(network) - before < 32 * 1024 * 1024
    await sign(network, honest, keys_of(network)[1])
    await confirmed(network, message_hash)
    assert len(network.seen("aggregator", "task.created")) == 1  # what nobody signed is not durable


async def test_an_evicted_task_comes_back_with_its_signature(network: BlsNetwork) -> None:
    network.configure("aggregator", max_unsigned_tasks_per_peer=2)
    await network.start("aggregator")
    _, message_hash = alert(1)
    task = await network.aggregator("aggregator_createTask", message_hash)
    for _ in range(5):
        await network.aggregator("aggregator_createTask", "0x" + secrets.token_hex(32))
    for key in keys_of(network)[:2]:
        await sign(network, task, key)
    await confirmed(network, message_hash)


def resident_bytes(network: BlsNetwork) -> int:
    pid = network.services["aggregator"].pid
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def test_slow_peers_and_huge_bodies_are_let_go_and_others_are_served(network: BlsNetwork) -> None:
    await network.start("aggregator")
    port = network.ports.aggregator
    slow = [await asyncio.open_connection(LOOPBACK, port) for _ in range(50)]
    for _, writer in slow:
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-")
        await writer.drain()
    async with aiohttp.ClientSession() as session:

        async def hundred_megabytes() -> Any:
            for _ in range(100):
                yield bytes(1 << 20)

        started = time.monotonic()
        try:
            async with session.post(f"http://{LOOPBACK}:{port}", data=hundred_megabytes(), headers=JSON) as response:
                assert response.status == 413
        except aiohttp.ClientError:
            pass  # closed while we were still sending
        assert time.monotonic() - started < 20
    await honest_alert(network, 1)
    async with asyncio.timeout(40):  # the head of a request may take 10 s
        for reader, writer in slow:
            await reader.read()
            writer.close()


async def test_an_expired_task_harms_nobody_and_its_alert_can_come_again(network: BlsNetwork) -> None:
    network.configure("aggregator", task_expiry_s=1.0)
    await network.start("aggregator")
    _, message_hash = alert(1)
    task = await network.aggregator("aggregator_createTask", message_hash)
    keys = keys_of(network)
    await sign(network, task, keys[0])
    await network.eventually(lambda: bool(network.seen("aggregator", "task.expired")), "the task expires")
    await network.eventually_refused(lambda: sign(network, task, keys[1]), "not initialized or already completed")
    again = await network.aggregator("aggregator_createTask", message_hash)
    assert again["task_index"] != task["task_index"]
    await asyncio.gather(*(sign(network, again, key) for key in keys))
    await confirmed(network, message_hash)


async def test_an_l1_that_answers_garbage_is_waited_for(network: BlsNetwork) -> None:
    async with l1_proxy(network.anvil.url) as proxy:
        network.configure("aggregator", eth_rpc_url=proxy.url, l1_poll_interval_s=0.05)
        await network.start("aggregator")
        _, message_hash = alert(1)
        task = await network.aggregator("aggregator_createTask", message_hash)
        for body in (
            b"",
            b"<html>bad gateway</html>",
            b"[]",
            b'{"jsonrpc": "2.0", "id": 1, "result": 7}',
            b"\xff" * 1000,
        ):
            proxy.body = body
            asked = len(proxy.requests)
            async with asyncio.timeout(30):
                while len(proxy.requests) < asked + 2:
                    await asyncio.sleep(0.05)
            # Tasks need no L1.
            assert (await network.aggregator("aggregator_createTask", message_hash)) == task
        for key in keys_of(network)[:2]:
            await sign(network, task, key)
        assert not network.seen("aggregator", "task.confirmed")
        proxy.body = None
        await confirmed(network, message_hash, 60)
    assert network.services["aggregator"].pid is not None
