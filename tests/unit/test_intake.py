"""The aggregator's intake through its façade: real signatures, real sockets, and the owner's side of every promise."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from mach.bls import SecretKey
from mach.protocol.alerts import sign_hash
from mach.transport.intake import (
    AnnouncedTask,
    BadSignature,
    Intake,
    IntakeBatch,
    IntakeRefusedError,
    IntakeSettings,
    ServerStartError,
    StoredTask,
    UnknownOperatorSetError,
    UnknownReferenceBlockError,
)
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROLLUP_CHAIN_ID = 901
HEAD = 100
SET_ID = 1 << 62
BATCH_DEADLINE_MS = 20_000
TX_HASH = bytes([5]) * 32

SETTINGS = IntakeSettings(
    quorum_numbers=b"\x00",
    quorum_threshold_percentages=b"\x42",
    rollup_chain_id=ROLLUP_CHAIN_ID,
    layer1_chain_id=31337,
    operator_state_retriever=b"\x11" * 20,
    registry_coordinator=b"\x22" * 20,
    servers={"listeners": {"jsonrpc": "127.0.0.1:0"}, "workers": 1},
    verifier_threads=1,
)


def alert(number: int) -> bytes:
    return number.to_bytes(32)


@dataclass(frozen=True)
class Operators:
    """Three operators of one wei each."""

    keys: list[SecretKey] = field(default_factory=lambda: [SecretKey.from_bytes(alert(n)) for n in (1, 2, 3)])

    def id(self, operator: int) -> bytes:
        return self.keys[operator].public_key_g1.operator_id

    def teach(self, intake: Intake) -> None:
        intake.add_operator_set(
            SET_ID,
            b"".join(key.public_key_g1.operator_id for key in self.keys),
            b"".join(key.public_key_g2.to_bytes() for key in self.keys),
            [[1] * len(self.keys)],
            [len(self.keys)],
        )

    def sign(self, operator: int, task: dict[str, Any]) -> bytes:
        message = bytes.fromhex(task["alert_hash"][2:])
        digest = sign_hash(message, task["reference_block_number"], ROLLUP_CHAIN_ID)
        return self.keys[operator].sign(digest).to_bytes()


@pytest.fixture(scope="module")
def operators() -> Operators:
    return Operators()


def intake_with(operators: Operators, settings: IntakeSettings = SETTINGS) -> Intake:
    intake = Intake(settings)
    operators.teach(intake)
    intake.set_head(HEAD, SET_ID)
    intake.reserve(0, 1_000, 1_000)
    return intake


@pytest.fixture
def intake(operators: Operators) -> Iterator[Intake]:
    made = intake_with(operators)
    yield made
    made.stop()


@pytest.fixture
async def client(intake: Intake) -> AsyncIterator[JsonRpcClient]:
    ports = await asyncio.to_thread(intake.start)
    async with JsonRpcClient(f"http://127.0.0.1:{ports.jsonrpc}", timeout_s=30) as connected:
        yield connected


async def create(client: JsonRpcClient, message_hash: bytes) -> dict[str, Any]:
    task: dict[str, Any] = await client.call("aggregator_createTask", "0x" + message_hash.hex())
    return task


def send(
    client: JsonRpcClient, operators: Operators, operator: int, task: dict[str, Any], signature: bytes | None = None
) -> asyncio.Task[Any]:
    signature = signature or operators.sign(operator, task)
    params = [task, "0x" + signature.hex(), "0x" + operators.id(operator).hex()]
    return asyncio.create_task(client.call("aggregator_processSignedTaskResponse", *params))


async def next_batch(intake: Intake) -> IntakeBatch:
    batch = await asyncio.to_thread(intake.next_batch, BATCH_DEADLINE_MS)
    assert batch is not None
    return batch


def signers(batch: IntakeBatch) -> list[tuple[int, bytes]]:
    ids = [batch.operator_ids[start : start + 32] for start in range(0, len(batch.operator_ids), 32)]
    return list(zip(batch.task_indices, ids, strict=True))


async def test_a_signature_comes_as_a_column_and_is_answered_after_commit(
    intake: Intake, client: JsonRpcClient, operators: Operators
) -> None:
    task = await create(client, alert(1))
    assert (task["task_index"], task["reference_block_number"]) == (0, HEAD)
    answer = send(client, operators, 0, task)
    batch = await next_batch(intake)
    assert not answer.done()
    assert signers(batch) == [(0, operators.id(0))]
    assert batch.signatures == operators.sign(0, task)
    assert batch.reference_blocks == [HEAD]
    assert batch.alert_hashes == {0: alert(1)}
    assert batch.quorum_reached == []
    (stored,) = batch.tasks
    assert (stored.task_index, stored.alert_hash, stored.reference_block, stored.set_id) == (0, alert(1), HEAD, SET_ID)
    assert stored.created_at > 1.7e9
    assert intake.commit(batch.id, [], []) == []
    assert (await answer)["reply"] is False


async def test_the_quorum_is_told_and_what_was_confirmed_is_finished(
    intake: Intake, client: JsonRpcClient, operators: Operators
) -> None:
    task = await create(client, alert(1))
    quorums = []
    for operator in (0, 1):
        answer = send(client, operators, operator, task)
        batch = await next_batch(intake)
        quorums.append(batch.quorum_reached)
        intake.commit(batch.id, [], [])
        await answer
    assert quorums == [[], [0]]
    assert intake.finish(0, "confirmed", TX_HASH)
    late = await send(client, operators, 2, task)
    assert late["reply"] is True
    with pytest.raises(PeerRefusedError, match="already finished: 0x0505"):
        await create(client, alert(1))
    intake.alert_unconfirmed(alert(1))
    assert (await create(client, alert(1)))["task_index"] == 1


async def test_a_batch_that_failed_is_refused_to_its_senders(
    intake: Intake, client: JsonRpcClient, operators: Operators
) -> None:
    task = await create(client, alert(1))
    answer = send(client, operators, 0, task)
    batch = await next_batch(intake)
    intake.fail(batch.id, "the disk is full")
    with pytest.raises(PeerRefusedError, match="the disk is full"):
        await answer
    with pytest.raises(IntakeRefusedError, match=f"batch {batch.id}"):
        intake.commit(batch.id, [], [])


async def test_a_bad_signature_is_named(intake: Intake, client: JsonRpcClient, operators: Operators) -> None:
    task = await create(client, alert(1))
    answer = send(client, operators, 0, task, signature=operators.sign(1, task))
    batch = await next_batch(intake)
    assert batch.bad_signatures == [BadSignature(operators.id(0), 0, alert(1), "127.0.0.1")]
    assert signers(batch) == []
    intake.commit(batch.id, [], [])
    with pytest.raises(PeerRefusedError, match="Incorrect Signature"):
        await answer
    stats = intake.stats()
    assert stats.gauges["cooling_operators"] == 1
    assert stats.signatures["invalid"] == 1
    assert stats.signatures_by_operator[operators.id(0)]["invalid"] == 1
    assert stats.signatures_by_operator[operators.id(1)]["invalid"] == 0


async def test_stats_tell_of_requests_batches_and_tasks(
    intake: Intake, client: JsonRpcClient, operators: Operators
) -> None:
    task = await create(client, alert(1))
    answer = send(client, operators, 0, task)
    batch = await next_batch(intake)
    intake.commit(batch.id, [], [])
    await answer
    stats = intake.stats()
    assert stats.gauges["open_tasks"] == 1
    assert stats.gauges["unsigned_tasks"] == 0
    assert stats.signatures["counted"] == 1
    assert sum(stats.verify_seconds.counts) == 1
    assert stats.verify_seconds.sum > 0
    assert (sum(stats.batch_sizes.counts), stats.batch_sizes.sum) == (1, 1.0)
    assert {(request.transport, request.method): request.outcomes for request in stats.requests} == {
        ("jsonrpc", "createTask"): {"ok": 1},
        ("jsonrpc", "processSignedTaskResponse"): {"ok": 1},
    }
    assert all(sum(request.seconds.counts) == 1 for request in stats.requests)
    assert {connection.transport: connection.open > 0 for connection in stats.connections} == {
        "jsonrpc": True,
        "grpc": False,
        "net_rpc": False,
    }


async def test_restored_tasks_go_on(intake: Intake, client: JsonRpcClient, operators: Operators) -> None:
    def stored(index: int, state: Any, signed_by: int, tx_hash: bytes | None = None) -> StoredTask:
        ids = b"".join(operators.id(operator) for operator in range(signed_by))
        return StoredTask(index, alert(index), HEAD, state, 1.0, tx_hash, ids)

    met = intake.restore(
        [
            stored(500, "open", 1),
            stored(501, "open", 2),
            stored(502, "submitted", 2),
            stored(503, "confirmed", 0, TX_HASH),
            stored(504, "expired", 1),
        ]
    )
    assert met == [501]
    task = await create(client, alert(500))
    assert task["task_index"] == 500
    assert (await send(client, operators, 0, task))["reply"] is False
    answer = send(client, operators, 1, task)
    batch = await next_batch(intake)
    assert (signers(batch), batch.tasks, batch.quorum_reached) == ([(500, operators.id(1))], [], [500])
    intake.commit(batch.id, [], [])
    await answer
    with pytest.raises(PeerRefusedError, match="already finished"):
        await create(client, alert(503))
    assert (await create(client, alert(504)))["task_index"] == 0


async def test_a_new_round_asks_for_new_signatures(intake: Intake, client: JsonRpcClient, operators: Operators) -> None:
    old = await create(client, alert(1))
    answer = send(client, operators, 0, old)
    batch = await next_batch(intake)
    intake.commit(batch.id, [], [])
    await answer
    with pytest.raises(UnknownReferenceBlockError, match="reference block 107 of task 0"):
        intake.new_round(0, 107)
    intake.add_reference_block(107, SET_ID)
    intake.new_round(0, 107)
    with pytest.raises(PeerRefusedError, match="task 0 not initialized or already completed"):
        await send(client, operators, 0, old)
    new = await create(client, alert(1))
    assert (new["task_index"], new["reference_block_number"]) == (0, 107)
    with pytest.raises(IntakeRefusedError, match="task 77"):
        intake.new_round(77, 107)


async def test_replicas_agree_on_a_task_through_the_owner(operators: Operators) -> None:
    intake = intake_with(operators, replace(SETTINGS, shared=True))
    try:
        ports = await asyncio.to_thread(intake.start)
        async with JsonRpcClient(f"http://127.0.0.1:{ports.jsonrpc}", timeout_s=30) as client:
            created = asyncio.create_task(create(client, alert(1)))
            batch = await next_batch(intake)
            (proposed,) = batch.announcements
            assert (proposed.alert_hash, proposed.task_index, proposed.reference_block) == (alert(1), 0, HEAD)
            assert not created.done()
            intake.add_reference_block(90, SET_ID)
            intake.commit(batch.id, [], [AnnouncedTask(7, alert(1), 90)])
            task = await created
            assert (task["task_index"], task["reference_block_number"]) == (7, 90)
            assert intake.note_signatures(7, operators.id(0)) is False
            assert intake.note_signatures(7, operators.id(1) + operators.id(0)) is True
            assert intake.note_signatures(999, operators.id(0)) is False
    finally:
        intake.stop()


async def test_indices_are_asked_for(operators: Operators) -> None:
    intake = intake_with(operators)
    assert intake.next_batch(0) is None
    bare = Intake(SETTINGS)
    operators.teach(bare)
    bare.set_head(HEAD, SET_ID)
    batch = bare.next_batch(0)
    assert batch is not None
    assert batch.needs_indices
    bare.reserve(40, 10, 50)
    bare.commit(batch.id, [], [])
    assert bare.next_batch(0) is None
    with pytest.raises(IntakeRefusedError, match="45 to 54 cannot be reserved"):
        bare.reserve(45, 10, 60)


async def test_all_transports_are_served_and_stop(operators: Operators) -> None:
    loopback = "127.0.0.1:0"
    listeners = {"jsonrpc": loopback, "grpc": loopback, "net_rpc": loopback}
    intake = intake_with(operators, replace(SETTINGS, servers={"listeners": listeners, "workers": 1}))
    ports = await asyncio.to_thread(intake.start)
    try:
        for port in (ports.jsonrpc, ports.grpc, ports.net_rpc):
            _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 10)
            writer.close()
            await writer.wait_closed()
        with pytest.raises(IntakeRefusedError, match="started before"):
            intake.start()
    finally:
        await asyncio.to_thread(intake.stop)
    assert intake.next_batch(BATCH_DEADLINE_MS) is None
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ports.jsonrpc)


def test_a_port_in_use_is_named(operators: Operators) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        intake = intake_with(operators, replace(SETTINGS, servers={"listeners": {"jsonrpc": address}}))
        with pytest.raises(ServerStartError, match=address):
            intake.start()
        intake.stop()


def test_wrong_settings_and_columns_are_refused(operators: Operators) -> None:
    with pytest.raises(IntakeRefusedError, match="0 quorum numbers"):
        Intake(replace(SETTINGS, quorum_numbers=b"", quorum_threshold_percentages=b""))
    with pytest.raises(ServerStartError, match="lisssteners"):
        Intake(replace(SETTINGS, servers={"lisssteners": {}}))
    with pytest.raises(ValueError, match="-1"):
        Intake(replace(SETTINGS, cool_down_s=-1.0))
    intake = Intake(SETTINGS)
    with pytest.raises(UnknownOperatorSetError, match="operator set 5"):
        intake.set_head(1, 5)
    with pytest.raises(ValueError, match="whole number of 32 bytes, got 31"):
        intake.add_operator_set(1, b"x" * 31, b"", [[]], [0])
    with pytest.raises(IntakeRefusedError, match="1 operator ids, but 0 G2 keys"):
        intake.add_operator_set(1, operators.id(0), b"", [[1]], [1])
    with pytest.raises(IntakeRefusedError, match="not a point of the curve"):
        intake.add_operator_set(1, operators.id(0), b"\x01" * 128, [[1]], [1])
    with pytest.raises(ValueError, match="lacks its transaction"):
        intake.restore([StoredTask(1, alert(1), 1, "confirmed", 1.0, None, b"")])
    with pytest.raises(UnknownReferenceBlockError, match="reference block 3 of task 1"):
        intake.restore([StoredTask(1, alert(1), 3, "open", 1.0, None, b"")])
