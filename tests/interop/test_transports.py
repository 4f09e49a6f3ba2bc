"""The aggregator's three transports as others speak them: Go's own net/rpc and gob, Google's gRPC, plain JSON-RPC.

One operator signs over each of them, over the same task of a real aggregator; the alert is confirmed on a real L1.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import L1_CHAIN_ID, LOOPBACK, Ports
from mach.keys import load_bls_keystore
from mach.protocol.alerts import BlockMismatch, sign_hash
from tests.e2e.conftest import OPERATOR_NAMES, network

if TYPE_CHECKING:
    from mach.bls import SecretKey
    from tests.e2e.conftest import BlsNetwork

__all__ = ["network"]

CLIENT = Path(__file__).parent / "go_client"
BUILD_DEADLINE_S = 240


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, built from its source with nothing but Go's standard library."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed: the net/rpc client cannot be built")
    program = tmp_path_factory.mktemp("go") / "client"

    async def build() -> None:
        process = await asyncio.create_subprocess_exec(
            go,
            "build",
            "-o",
            str(program),
            ".",
            cwd=CLIENT,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"},
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(process.communicate(), BUILD_DEADLINE_S)
        assert process.returncode == 0, errors.decode()

    asyncio.run(build())
    return program


async def call_go(program: Path, transport: str, port: int, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs the Go client over one connection; one answer a call."""
    process = await asyncio.create_subprocess_exec(
        str(program),
        "-transport",
        transport,
        "-address",
        f"{LOOPBACK}:{port}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    lines = "".join(json.dumps({"method": method, "params": params}) + "\n" for method, params in calls)
    answers, errors = await asyncio.wait_for(process.communicate(lines.encode()), 60)
    assert process.returncode == 0, errors.decode()
    return [json.loads(line) for line in answers.splitlines()]


# ---- Protocol buffers, as far as aggregator.proto needs them ----


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(**fields: bytes | int) -> bytes:
    """Fields by number: `f1=b"…"` or `f4=7`. Zero and empty are left out, as proto3 does."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, int):
            out += varint(number << 3) + varint(value) if value else b""
        elif value:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def fields_of(data: bytes) -> dict[int, bytes | int]:
    """The reverse."""

    def read_varint(at: int) -> tuple[int, int]:
        value, shift = 0, 0
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    found: dict[int, bytes | int] = {}
    at = 0
    while at < len(data):
        key, at = read_varint(at)
        if key & 7 == 0:
            found[key >> 3], at = read_varint(at)
        else:
            length, at = read_varint(at)
            found[key >> 3], at = data[at : at + length], at + length
    return found


async def call_grpc(port: int, method: str, request: bytes) -> dict[int, bytes | int]:
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        call = channel.unary_unary(f"/aggregator.Aggregator/{method}")
        return fields_of(await call(request, timeout=30))


def key_of(network: BlsNetwork, operator: str) -> SecretKey:
    password = network.layout.password(operator).read_text().strip()
    return load_bls_keystore(network.layout.bls_key(operator), password)


async def test_one_operator_over_each_transport_confirms_one_alert(network: BlsNetwork, go_client: Path) -> None:
    grpc_port, go_port = Ports.free().l2, Ports.free().l2_auth
    network.configure(
        "aggregator",
        aggregator_grpc_server_ip_port_address=f"{LOOPBACK}:{grpc_port}",
        aggregator_server_ip_port_address=f"{LOOPBACK}:{go_port}",
    )
    await network.start("aggregator")
    alert = BlockMismatch(b"\x01" * 32, b"\x02" * 32, 7).message_hash()
    keys = [key_of(network, name) for name in OPERATOR_NAMES]

    # The same task, whoever asks.
    ((go_task,), grpc_answer, json_task) = await asyncio.gather(
        call_go(go_client, "net_rpc", go_port, ("CreateTask", {"alert_hash": "0x" + alert.hex()})),
        call_grpc(grpc_port, "CreateTask", message(f1=alert)),
        network.aggregator("aggregator_createTask", "0x" + alert.hex()),
    )
    info = fields_of(bytes(grpc_answer[1]))  # type: ignore[arg-type]
    reference, index = int(info[5]), int(info.get(4, 0))
    assert info[1] == alert
    assert go_task["result"]["reference_block_number"] == json_task["reference_block_number"] == reference
    assert go_task["result"]["task_index"] == json_task["task_index"] == index

    digest = sign_hash(alert, reference, L2_CHAIN_ID)
    signatures = [key.sign(digest).to_bytes() for key in keys]
    ids = [key.public_key_g1.operator_id for key in keys]

    # Somebody else's signature is refused over each, in the same words.
    wrong = "signature of operator 0x" + ids[0].hex() + ": Incorrect Signature."
    signed = message(f1=bytes(grpc_answer[1]), f2=signatures[1], f3=ids[0])  # type: ignore[arg-type]
    with pytest.raises(grpc.aio.AioRpcError, match=r"Incorrect Signature\.") as refused:
        await call_grpc(grpc_port, "ProcessSignedTaskResponse", signed)
    assert refused.value.code() == grpc.StatusCode.UNKNOWN
    go_wrong = {"alert": go_task["result"], "signature": "0x" + signatures[1].hex(), "operator_id": "0x" + ids[0].hex()}
    (go_refused,) = await call_go(go_client, "net_rpc", go_port, ("ProcessSignedTaskResponse", go_wrong))
    assert wrong in go_refused["error"]

    signed = message(f1=bytes(grpc_answer[1]), f2=signatures[0], f3=ids[0])  # type: ignore[arg-type]
    assert 1 not in await call_grpc(grpc_port, "ProcessSignedTaskResponse", signed)  # `reply` is false so far
    go_signed = {
        "alert": go_task["result"],
        "signature": "0x" + signatures[1].hex(),
        "operator_id": "0x" + ids[1].hex(),
    }
    init = {
        "layer1_chain_id": L1_CHAIN_ID,
        "chain_id": L2_CHAIN_ID,
        "operator_id": "0x" + ids[1].hex(),
        "operator_address": network.deployment.mach_service_manager,
        "operator_state_retriever_addr": network.deployment.operator_state_retriever,
        "registry_coordinator_addr": network.deployment.registry_coordinator,
    }
    initialised, taken = await call_go(
        go_client, "net_rpc", go_port, ("InitOperator", init), ("ProcessSignedTaskResponse", go_signed)
    )
    assert initialised["result"]["ok"] is True, initialised
    assert "error" not in taken, taken
    await network.aggregator(
        "aggregator_processSignedTaskResponse", json_task, "0x" + signatures[2].hex(), "0x" + ids[2].hex()
    )
    await network.eventually(
        lambda: bool(network.seen("aggregator", "task.confirmed", alert="0x" + alert.hex())), "the alert is confirmed"
    )
    assert await network.manager.contains(L2_CHAIN_ID, alert)
    (submitted,) = network.seen("aggregator", "task.submitted")
    assert submitted["signatures"] in (2, 3)

    # From now on everybody is told that it is finished, and by which transaction.
    found = await network.manager.find_alert_confirmed(alert)
    assert found is not None
    told = f"already finished: 0x{found.tx_hash.hex()}"
    (go_finished,) = await call_go(go_client, "net_rpc", go_port, ("CreateTask", {"alert_hash": "0x" + alert.hex()}))
    assert told in go_finished["error"]
    with pytest.raises(grpc.aio.AioRpcError, match=told):
        await call_grpc(grpc_port, "CreateTask", message(f1=alert))
