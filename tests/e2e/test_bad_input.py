"""What mistakes are answered with: one line on stderr that names value and remedy, exit code 2, no traceback."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml

from mach.devnet.layout import LOOPBACK, Layout, Ports
from mach.devnet.services import command_of, write_configs
from mach.keys import ScryptCost, create_ecdsa_key, save_ecdsa_keystore

if TYPE_CHECKING:
    from .conftest import BlsNetwork

SECRET = "correct horse battery staple"


async def refusal(layout: Layout, name: str, **environment: str) -> str:
    """Runs a service that must refuse to start; returns its one line."""
    script = Path(sys.executable).with_name(command_of(name))
    process = await asyncio.create_subprocess_exec(
        str(script),
        "--config",
        str(layout.config(name)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    try:
        async with asyncio.timeout(60):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    lines = stderr.decode().splitlines()
    assert process.returncode == 2, (stdout, lines)
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert "Traceback" not in lines[0]
    return lines[0]


def change(layout: Layout, name: str, **settings: Any) -> None:
    path = layout.config(name)
    changed = yaml.safe_load(path.read_text()) | settings
    path.write_text(yaml.safe_dump({key: value for key, value in changed.items() if value is not None}))


@pytest.mark.parametrize("name", ["aggregator", "operator1", "verifier1"])
async def test_settings_that_are_missing_or_wrong(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path)
    write_configs(layout, Ports.free())
    change(layout, name, layer2_chain_id=None)
    assert "`layer2_chain_id` is missing" in await refusal(layout, name)
    change(layout, name, layer2_chain_id="ten")
    assert "`layer2_chain_id`" in await refusal(layout, name)
    layout.config(name).write_text(": : :")
    assert "is not YAML" in await refusal(layout, name)


async def test_verifier_without_a_node_or_with_the_wrong_one(network: BlsNetwork) -> None:
    layout = network.layout
    layout.chain_config.write_text(json.dumps({"chainId": 901}))
    change(layout, "verifier1", l2_rpc_url="http://127.0.0.1:1")
    assert "http://127.0.0.1:1 cannot be reached" in await refusal(layout, "verifier1")
    change(layout, "verifier1", l2_rpc_url=network.anvil.url)
    line = await refusal(layout, "verifier1")
    assert f"{network.anvil.url} serves chain id 31337, layer2_chain_id is 901" in line
    change(layout, "verifier1", layer2_chain_id=10)
    assert "is for chain id 901, layer2_chain_id is 10" in await refusal(layout, "verifier1")
    layout.chain_config.unlink()
    assert "l2_chain_config" in await refusal(layout, "verifier1")


async def test_aggregator_and_operator_check_chain_contracts_and_keys(network: BlsNetwork) -> None:
    layout = network.layout
    for name in ("aggregator", "operator1"):
        good = layout.config(name).read_text()
        change(layout, name, eth_rpc_url="http://user:hunter2@127.0.0.1:1/v3/apikey")
        line = await refusal(layout, name)
        assert "127.0.0.1:1" in line
        assert "hunter2" not in line
        assert "apikey" not in line
        layout.config(name).write_text(good)
        change(layout, name, layer1_chain_id=1)
        assert "serves chain id 31337, expected 1" in await refusal(layout, name)
        layout.config(name).write_text(good)
        change(layout, name, avs_deployment=str(layout.folder / "none.json"))
        assert "none.json is not there" in await refusal(layout, name)
        elsewhere = json.loads(layout.deployment.read_text())
        elsewhere["machServiceManager"] = "0x" + "12" * 20
        (layout.folder / "elsewhere.json").write_text(json.dumps(elsewhere))
        change(layout, name, avs_deployment=str(layout.folder / "elsewhere.json"))
        line = await refusal(layout, name)
        assert "0x1212121212121212121212121212121212121212" in line
        assert "has no code" in line
        layout.config(name).write_text(good)


async def test_wrong_passwords_and_keys(network: BlsNetwork) -> None:
    layout = network.layout
    wrong = layout.folder / "wrong.password"
    wrong.write_text(SECRET)
    for name, key in (
        ("aggregator", "ecdsa_keystore_password_file"),
        ("operator1", "operator_ecdsa_key_password_file"),
        ("operator2", "operator_bls_key_password_file"),
    ):
        change(layout, name, **{key: str(wrong)})
        line = await refusal(layout, name)
        assert "password" in line
        assert SECRET not in line
    change(layout, "operator3", operator_bls_key_password_file=None)
    line = await refusal(layout, "operator3", OPERATOR_BLS_KEY_PASSWORD=SECRET)
    assert "operator3.bls.key.json" in line
    assert SECRET not in line


async def test_an_operator_that_is_not_registered_and_a_stranger_as_confirmer(network: BlsNetwork) -> None:
    layout = network.layout
    stranger = create_ecdsa_key()
    save_ecdsa_keystore(layout.ecdsa_key("stranger"), stranger, "devnet", cost=ScryptCost.LIGHT)
    change(layout, "operator1", ecdsa_private_key_store_path=str(layout.ecdsa_key("stranger")))
    line = await refusal(layout, "operator1")
    assert f"operator {stranger.address} is not registered" in line
    assert "mach operator register-with-avs" in line
    change(layout, "operator2", bls_private_key_store_path=str(layout.bls_key("operator3")))
    change(layout, "operator2", operator_bls_key_password_file=str(layout.password("operator3")))
    assert "is registered with another BLS key" in await refusal(layout, "operator2")
    change(layout, "aggregator", ecdsa_keystore_path=str(layout.ecdsa_key("stranger")))
    line = await refusal(layout, "aggregator")
    assert f"the given key is of {stranger.address}" in line


async def test_a_port_in_use(network: BlsNetwork) -> None:
    with socket.create_server((LOOPBACK, 0)) as occupied:
        port = occupied.getsockname()[1]
        change(network.layout, "aggregator", aggregator_jsonrpc_server_ip_port_address=f"{LOOPBACK}:{port}")
        assert f"{LOOPBACK}:{port} is already in use" in await refusal(network.layout, "aggregator")
        change(network.layout, "operator1", operator_server_ip_port_addr=f"{LOOPBACK}:{port}")
        assert f"{LOOPBACK}:{port} is already in use" in await refusal(network.layout, "operator1")


GARBAGE: list[tuple[bytes, int]] = [
    (b"", -32700),
    (b"\xff\xfe", -32700),
    (b"{", -32700),
    (b"[" * 100_000, -32700),
    (b"[]", -32600),
    (b"7", -32600),
    (b'{"method": 5}', -32600),
    (b'{"id": {}, "method": "aggregator_createTask"}', -32600),
    (b'{"id": 1, "method": "aggregator_nothing"}', -32601),
    (b'{"id": 1, "method": "aggregator_createTask"}', -32602),
    (b'{"id": 1, "method": "aggregator_createTask", "params": {}}', -32602),
    (b'{"id": 1, "method": "aggregator_createTask", "params": []}', -32602),
    (b'{"id": 1, "method": "aggregator_createTask", "params": ["0x12"]}', -32602),
    (b'{"id": 1, "method": "aggregator_createTask", "params": [null]}', -32602),
    (b'{"id": 1, "method": "aggregator_createTask", "params": ["0x' + b"0" * 64 + b'"]}', -32602),
    (b'{"id": 1, "method": "aggregator_processSignedTaskResponse", "params": [{}, "0x", "0x"]}', -32602),
    (b'{"id": 1, "method": "aggregator_processSignedTaskResponse", "params": [1, 2, 3, 4]}', -32602),
    (b'{"id": 1, "method": "aggregator_initOperator", "params": [1e99, 0, "", "", "", ""]}', -32602),
]


async def test_garbage_gets_the_aggregators_errors_and_changes_nothing(network: BlsNetwork) -> None:
    await network.start("aggregator")
    url = f"http://{LOOPBACK}:{network.ports.aggregator}"
    json_type = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:
        for body, code in GARBAGE:
            async with session.post(url, data=body, headers=json_type) as response:
                assert response.status == 200
                answer = await response.json()
            assert answer["error"]["code"] == code, (body[:80], answer)
        async with session.post(url, data=b"{}", headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 415
        async with session.post(url, data=io.BytesIO(b" " * 5_300_000), headers=json_type) as response:
            assert response.status == 413
        async with session.post(url, data=b"{}", headers=json_type | {"Host": "evil.example"}) as response:
            assert response.status == 403
        batch = b'[{"id": 1, "method": "aggregator_createTask", "params": ["0x' + b"1" * 64 + b'"]}, 5]'
        async with session.post(url, data=batch, headers=json_type) as response:
            first, second = await response.json()
        assert first["result"]["task_index"] == 0
        assert second["error"]["code"] == -32600
    assert network.services["aggregator"].pid is not None


OPERATOR_GARBAGE: list[tuple[bytes, int, int]] = [
    (b"{", 400, 1),
    (b"[]", 400, 1),
    (b'{"id": 1, "method": "alert_nothing", "params": {}}', 404, 1),
    (b'{"id": 1, "method": "alert_blockHash"}', 400, 1),
    (b'{"id": 1, "method": "alert_blockHash", "params": null}', 400, 1),
    (b'{"id": 1, "method": "alert_blockHash", "params": {"hash": null}}', 400, 3),
    (b'{"id": 1, "method": "alert_blockHash", "params": {"hash": "0x' + b"0" * 64 + b'"}}', 400, 3),
    (b'{"id": 1, "method": "alert_blockHash", "params": [1, 2]}', 400, 3),
    (b'{"id": 1, "method": "alert_blockMismatch", "params": {"invalid_output_root": "0x12"}}', 400, 3),
    (
        b'{"id": 1, "method": "alert_blockMismatch", "params": {"invalid_output_root": "0x'
        + b"1" * 64
        + b'", "expect_output_root": "'
        + b"2" * 64
        + b'"}}',
        400,
        3,
    ),
    (b'{"id": 1, "method": "alert_blockHash", "params": {"hash": "' + b"1" * 64 + b'", "avs_name": "x"}}', 400, 3),
]


async def test_garbage_gets_the_operators_errors_and_is_not_signed(network: BlsNetwork) -> None:
    await network.start("operator1")
    url = f"http://{LOOPBACK}:{network.ports.operators[0]}"
    async with aiohttp.ClientSession() as session:
        for body, status, code in OPERATOR_GARBAGE:
            async with session.post(url, data=body) as response:
                answer = await response.json()
                assert (response.status, answer["error"]["code"]) == (status, code), (body[:80], answer)
        healthy = {"id": 1, "method": "health_check", "params": [{"block_hash": "0x12", "block_number": "0x1"}]}
        async with session.post(f"{url}/mach", json=healthy) as response:
            assert await response.json() == {"jsonrpc": "2.0", "id": 1, "result": True}
        async with session.post(url, json={"id": 1, "method": "operator_getConfig", "params": []}) as response:
            settings = (await response.json())["result"]
        assert settings["layer2_chain_id"] == 901
        assert not any("password" in key or "private" in key for key in settings)
    assert not network.seen("operator1", "alert.accepted")


async def test_the_node_api_and_metrics_are_as_eigenlayer_names_them(network: BlsNetwork) -> None:
    ports = Ports.free()
    change(
        network.layout,
        "operator1",
        enable_node_api=True,
        node_api_ip_port_address=f"{LOOPBACK}:{ports.l1}",
        enable_metrics=True,
        eigen_metrics_ip_port_address=f"{LOOPBACK}:{ports.l2}",
    )
    await network.start("operator1")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{LOOPBACK}:{ports.l1}/eigen/node") as response:
            assert (await response.json())["spec_version"] == "v0.0.1"
        async with session.get(f"http://{LOOPBACK}:{ports.l1}/eigen/node/health") as response:
            assert response.status == 206  # no aggregator yet
        async with session.get(f"http://{LOOPBACK}:{ports.l1}/eigen/node/services") as response:
            (service,) = await response.json()
        async with session.get(f"http://{LOOPBACK}:{ports.l1}/eigen/node/services/none/health") as response:
            assert response.status == 404
        change(network.layout, "aggregator", metrics_ip_port_address=f"{LOOPBACK}:{ports.lying_node}")
        await network.start("aggregator")
        await network.eventually(lambda: bool(network.seen("operator1", "aggregator.agrees")), "they have met")
        async with session.get(f"http://{LOOPBACK}:{ports.lying_node}/metrics") as response:
            counted = 'eigen_rpc_request_total{method="initOperator",outcome="ok",transport="jsonrpc"} 1.0'
            assert counted in await response.text()
        health = f"http://{LOOPBACK}:{ports.l1}/eigen/node/services/{service['id']}/health"
        async with session.get(health) as response:
            assert response.status == 200
        async with session.get(f"http://{LOOPBACK}:{ports.l2}/metrics") as response:
            text = await response.text()
    assert 'eigen_performance_score{avs_name="mach"} 100.0' in text
