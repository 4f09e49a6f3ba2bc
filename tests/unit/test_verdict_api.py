"""The verifier's verdict API and the operator that asks it: who may ask, and who can have answered."""

from __future__ import annotations

import json
import secrets
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.operator_world import L2_CHAIN_ID, World, mismatch, running_world, until, verdict_api

from mach.config.verifier import VerifierConfig
from mach.operator.confirmations import NOT_FOUND
from mach.operator.verdict_sources import (
    ApiVerdicts,
    DatabaseVerdicts,
    VerdictSourceError,
)
from mach.storage.raised_alerts import raised
from mach.storage.verdict_log import VerdictLog, VerdictRecord
from mach.transport.listening import start_site
from mach.transport.verdict_wire import MAC_HEADER, NONCE_HEADER, VerdictApiSecret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path) as started:
        yield started


async def test_the_api_confirms_as_the_file_does(world: World) -> None:
    secret = VerdictApiSecret(secrets.token_hex(32))
    async with verdict_api(world, secret) as url, ApiVerdicts(url, secret, chain_id=L2_CHAIN_ID, timeout_s=5) as source:
        operator = await world.operator(source)
        alert = mismatch(7)
        assert (await operator.tell(alert))["reason"] == NOT_FOUND
        await world.raise_alert(alert)
        await until(lambda: world.aggregator.signed == [alert.message_hash()], "the alert is signed")
        many = [mismatch(number) for number in range(1, 252)]
        for one in many[::2]:
            await world.raise_alert(one)
        found = await source.find([one.message_hash() for one in many])
        in_file = await DatabaseVerdicts(world.verifier_url, chain_id=L2_CHAIN_ID, timeout_s=5).find(
            [one.message_hash() for one in many]
        )
        assert set(found) == set(in_file) == {one.message_hash() for one in many[::2]}
        assert found.keys() >= (await raised(world.verifier, [alert.message_hash()])).keys()
        assert {one.basis for one in found.values()} == {"re-execution"}


async def test_the_api_answers_nobody_without_the_token(world: World) -> None:
    secret = VerdictApiSecret(secrets.token_hex(32))
    hash_ = "0x" + mismatch(7).message_hash().hex()
    await world.raise_alert(mismatch(7))
    record = VerdictRecord(7, b"\x01" * 32, "INVALID", b"\x02" * 32, None, "[]", None, 1, 2, 3.0, 0.1)
    await VerdictLog(world.verifier).record(record)
    async with verdict_api(world, secret) as url, aiohttp.ClientSession() as session:
        for header in (None, "Bearer ", f"Bearer {secret.bearer[:-1]}", secret.bearer, "Basic x", "Bearer \u00fc"):
            headers = {} if header is None else {"Authorization": header}
            for path in ("/v1/verdicts/7", f"/v1/verdicts/{hash_}", f"/v1/alerts?message_hash={hash_}"):
                async with session.get(url + path, headers=headers) as response:
                    assert (response.status, await response.read()) == (401, b"")
        good = {"Authorization": f"Bearer {secret.bearer}", NONCE_HEADER: "n"}
        async with session.get(f"{url}/v1/verdicts/7", headers=good) as response:
            (verdict,) = (await response.json())["verdicts"]
            assert (verdict["verdict"], verdict["block_hash"]) == ("INVALID", "0x" + "01" * 32)
            body = await response.read()
            assert secret.sealed("n", "/v1/verdicts/7", 200, body, response.headers[MAC_HEADER])
            assert not secret.sealed("m", "/v1/verdicts/7", 200, body, response.headers[MAC_HEADER])
        async with session.get(f"{url}/v1/verdicts/{hash_}", headers=good) as response:
            assert (await response.json())["alert"]["message_hash"] == hash_
        async with session.get(f"{url}/v1/verdicts/0x{'00' * 32}", headers=good) as response:
            assert response.status == 404
        hundred_and_one = ",".join([hash_] * 101)
        for path in (
            "/v1/verdicts/-1",
            "/v1/verdicts/9e9",
            "/v1/verdicts/0x12",
            "/v1/alerts",
            "/v1/verdicts/" + "9" * 40,
        ):
            async with session.get(url + path, headers=good) as response:
                assert response.status == 400, path
        async with session.get(f"{url}/v1/alerts?message_hash={hundred_and_one}", headers=good) as response:
            assert response.status == 400


async def test_what_took_the_verifiers_port_confirms_nothing(world: World) -> None:
    """It learns the bearer token and can replay answers; it cannot make one."""
    secret, alert = VerdictApiSecret(secrets.token_hex(32)), mismatch(7)
    forged = {
        "message_hash": "0x" + alert.message_hash().hex(),
        "block_number": 7,
        "method": "alert_blockMismatch",
        "params": {},
        "basis": "re-execution",
        "raised_at": 0,
        "replaced_at": None,
    }
    macs: list[str] = ["", "00" * 32]

    async def impostor(request: web.Request) -> web.Response:
        body = json.dumps({"chain_id": L2_CHAIN_ID, "alerts": [forged]}).encode()
        # the bearer token is all it has
        thief = VerdictApiSecret(request.headers["Authorization"].removeprefix("Bearer "))
        macs.append(thief.seal(request.headers[NONCE_HEADER], request.raw_path, 200, body))
        return web.Response(body=body, headers={MAC_HEADER: macs.pop(0)})

    app = web.Application()
    app.router.add_get("/v1/alerts", impostor)
    runner, port = await start_site(app, "127.0.0.1", 0)
    world.stack.push_async_callback(runner.cleanup)
    async with ApiVerdicts(f"http://127.0.0.1:{port}", secret, chain_id=L2_CHAIN_ID, timeout_s=5) as source:
        for _ in range(4):
            with pytest.raises(VerdictSourceError, match="without proof that it is the verifier"):
                await source.find([alert.message_hash()])
        operator = await world.operator(source)
        assert (await operator.tell(alert))["status"] == "unconfirmed"
    assert world.aggregator.signed == []


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_a_token_is_admitted_only_whole(presented: str) -> None:
    secret = VerdictApiSecret("k" * 32)
    assert secret.admits(presented) == (presented == f"Bearer {secret.bearer}")
    assert secret.admits(f"Bearer {secret.bearer}")


@pytest.mark.parametrize(
    ("address", "good"),
    [("127.0.0.1:1", True), ("[::1]:1", True), (":1", True), ("0.0.0.0:1", False), ("host:1", False)],
)
def test_the_verdict_api_listens_on_loopback_only(address: str, good: bool) -> None:
    settings_: dict[str, Any] = {"l2_rpc_url": ["http://a"], "layer2_chain_id": 1, "l2_chain_config": "c"}
    with nullcontext() if good else pytest.raises(ValidationError, match="loopback only"):
        VerifierConfig(**settings_, verdict_api_ip_port_address=address)
