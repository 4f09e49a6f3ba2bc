"""An operator signs what its own verifier found and nothing else: from the verifier's real file and its real API."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator_world import ALERTS, L2_CHAIN_ID, World, mismatch, running_world, text, until, verdict_api

from mach.bls import Signature
from mach.config.operator import OperatorConfig
from mach.errors import ConfigurationError
from mach.operator.confirmations import NOT_FOUND, TRUSTED
from mach.operator.node_api import node_api
from mach.operator.requests import claim_of
from mach.operator.signer import OutboxFullError
from mach.operator.verdict_sources import (
    ApiVerdicts,
    DatabaseVerdicts,
    verdict_source,
)
from mach.protocol.alerts import Alert, BlockMismatch, OutputOracleMismatch, sign_hash
from mach.storage.database import open_database
from mach.storage.errors import DatabaseError
from mach.storage.raised_alerts import RaisedAlert, claim_database, record_raised
from mach.transport.listening import start_site
from mach.transport.verdict_wire import VerdictApiSecret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path) as started:
        yield started


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: type(alert).__name__)
async def test_a_forged_alert_is_kept_and_never_signed(world: World, alert: Alert) -> None:
    operator = await world.operator()
    answer = await operator.tell(alert)
    assert (answer["status"], answer["reason"], answer["task_index"]) == ("unconfirmed", NOT_FOUND, None)
    honest = mismatch(8)
    await world.raise_alert(honest)
    assert (await operator.tell(honest))["status"] == "submitted"
    await operator.restart()
    assert (await operator.tell(alert))["status"] == "unconfirmed"
    assert world.aggregator.signed == [honest.message_hash()]
    assert "0x" + alert.message_hash().hex() not in world.aggregator.tasks
    assert await operator.outbox.unfinished() != []
    assert operator.metrics.alerts.labels("signed")._value.get() == 0  # since the restart


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: type(alert).__name__)
async def test_what_the_own_verifier_found_is_signed_at_once(world: World, alert: Alert) -> None:
    operator = await world.operator()
    await world.raise_alert(alert)
    answer = await operator.tell(alert)
    assert (answer["status"], answer["basis"]) == ("submitted", "re-execution")
    ((message_hash, signature, block),) = world.aggregator.signatures
    digest = sign_hash(message_hash, block, L2_CHAIN_ID)
    assert message_hash == alert.message_hash()
    assert Signature.from_bytes(signature).verify(operator.key.public_key_g2, digest)


async def test_an_alert_that_came_before_its_verdict_is_signed_with_it(world: World) -> None:
    operator = await world.operator()
    alert, forged = mismatch(7), mismatch(7, expected=9)
    for told in (forged, alert):
        assert (await operator.tell(told))["status"] == "unconfirmed"
    await world.raise_alert(alert)
    await until(lambda: world.aggregator.signed == [alert.message_hash()], "the alert is signed")
    await until(lambda: operator.metrics.unconfirmed._value.get() == 1, "one is left")
    assert await operator.state(forged) == "unconfirmed"


async def test_killed_between_verdict_and_signature_it_goes_on(world: World) -> None:
    operator = await world.operator()
    await operator.stop()
    await operator.start(deliver=False)  # dies before it has signed anything
    alert, later = mismatch(7), mismatch(8)
    await world.raise_alert(alert)
    assert (await operator.tell(alert, deadline_s=0.01))["status"] == "queued"
    assert (await operator.tell(later))["status"] == "unconfirmed"
    assert world.aggregator.signed == []
    await operator.stop()
    await world.raise_alert(later)  # found while the operator is down
    await operator.start()
    await until(lambda: len(world.aggregator.signed) == 2, "both are signed")
    assert set(world.aggregator.signed) == {alert.message_hash(), later.message_hash()}


async def test_strangers_push_out_each_other_only(world: World) -> None:
    operator = await world.operator(max_unconfirmed=5)
    for number in range(100, 140):
        assert (await operator.tell(mismatch(number)))["status"] == "unconfirmed"
    kept = [json.loads(record.statement)["params"]["l2_block_number"] for record in await operator.outbox.unconfirmed()]
    assert kept == [135, 136, 137, 138, 139]
    for number in range(1, 4):
        await world.raise_alert(mismatch(number))
        assert (await operator.tell(mismatch(number)))["status"] == "submitted"
    # one that was pushed out is taken when its verdict is there
    await world.raise_alert(mismatch(100))
    assert (await operator.tell(mismatch(100)))["status"] == "submitted"
    assert operator.metrics.alerts.labels("evicted")._value.get() == 35


async def test_the_bound_on_confirmed_alerts_holds_for_those_that_waited(world: World) -> None:
    operator = await world.operator(max_unconfirmed=50)
    await operator.stop()
    await operator.start(deliver=False)
    for number in range(1, 6):
        await operator.tell(mismatch(number))
        await world.raise_alert(mismatch(number))
    for number in range(1, 4):
        assert (await operator.tell(mismatch(number), deadline_s=0.01))["status"] == "queued"
    with pytest.raises(OutboxFullError, match="3 alerts wait for the aggregator"):
        await operator.tell(mismatch(4))
    await operator.restart()
    await until(lambda: len(set(world.aggregator.signed)) == 5, "all are signed, some after others")


async def test_an_alert_that_nobody_confirms_expires(world: World) -> None:
    operator = await world.operator(expiry_s=0.05)
    alert = mismatch(7)
    await operator.tell(alert)

    async def gone() -> bool:
        return await operator.state(alert) is None

    await until(gone, "it expires")
    await world.raise_alert(alert)
    assert (await operator.tell(alert))["status"] == "submitted"


async def test_a_verifier_that_cannot_be_asked_confirms_nothing(world: World) -> None:
    missing = world.folder / "none.sqlite"
    operator = await world.operator(
        DatabaseVerdicts(f"sqlite+aiosqlite:///{missing}", chain_id=L2_CHAIN_ID, timeout_s=5)
    )
    alert = mismatch(7)
    answer = await operator.tell(alert)
    assert answer["status"] == "unconfirmed"
    assert "none.sqlite cannot be read" in answer["reason"]
    assert not missing.exists()
    assert operator.metrics.verdict_source_up._value.get() == 0
    late = await open_database(f"sqlite+aiosqlite:///{missing}", "verifier")
    await claim_database(late, L2_CHAIN_ID)
    row = RaisedAlert(alert.message_hash(), 7, "alert_blockMismatch", "{}", "re-execution", 0.0)
    await late.transaction(lambda connection: record_raised(connection, row))
    await late.close()
    await until(lambda: world.aggregator.signed == [alert.message_hash()], "it is signed when the verifier is there")
    assert operator.confirmations.problem is None


async def test_the_verifier_of_another_chain_confirms_nothing(world: World) -> None:
    alert, secret = mismatch(7), VerdictApiSecret(secrets.token_hex(32))
    await world.raise_alert(alert)
    async with verdict_api(world, secret) as url, ApiVerdicts(url, secret, chain_id=10, timeout_s=5) as over_http:
        for source in (DatabaseVerdicts(world.verifier_url, chain_id=10, timeout_s=5), over_http):
            operator = await world.operator(source)
            answer = await operator.tell(alert)
            assert answer["status"] == "unconfirmed"
            assert "chain 901, layer2_chain_id is 10" in answer["reason"]
    with pytest.raises(DatabaseError, match="is of the rollup with chain id 901, layer2_chain_id is 10"):
        await claim_database(world.verifier, 10)


async def test_agreement_is_signed_only_where_the_operator_allows_it(world: World) -> None:
    strict, lenient = await world.operator(), await world.operator(sign_agreement=True)
    alert = mismatch(7)
    await world.raise_alert(alert, "agreement")
    answer = await strict.tell(alert)
    assert answer["status"] == "unconfirmed"
    assert "agreement of endpoints, not by re-execution" in answer["reason"]
    answer = await lenient.tell(alert)
    assert (answer["status"], answer["basis"]) == ("submitted", "agreement")
    await world.raise_alert(alert)  # now it was executed again, too
    await until(lambda: world.aggregator.signed == [alert.message_hash()] * 2, "the strict one signs")
    record = await strict.outbox.get(alert.message_hash())
    assert record is not None
    assert record.basis == "re-execution"


async def test_two_claims_about_one_block_are_not_both_signed(world: World) -> None:
    operator = await world.operator()
    first, same_claim, other = mismatch(7), mismatch(7, invalid=5), mismatch(7, expected=9)
    for alert in (first, same_claim, other):
        await world.raise_alert(alert)
    assert (await operator.tell(first))["status"] == "submitted"
    assert (await operator.tell(same_claim))["status"] == "submitted"
    answer = await operator.tell(other)
    assert answer["status"] == "unconfirmed"
    assert "says something else about block 7" in answer["reason"]
    await operator.restart()
    assert (await operator.tell(other))["status"] == "unconfirmed"
    assert world.aggregator.signed == [first.message_hash(), same_claim.message_hash()]
    await world.reorganise(fork_point=7)
    assert (await operator.tell(other))["status"] == "unconfirmed"  # block 7 itself stayed
    await world.reorganise(fork_point=6)
    await until(lambda: other.message_hash() in world.aggregator.signed, "it is signed after the reorganisation")


async def test_a_block_that_cannot_be_executed_contradicts_nothing(world: World) -> None:
    operator = await world.operator()
    for alert in (mismatch(7, expected=0), mismatch(7, expected=9), mismatch(7, expected=0, invalid=4)):
        await world.raise_alert(alert)
        assert (await operator.tell(alert))["status"] == "submitted"


async def test_an_output_proposed_again_under_its_index_is_another_subject(world: World) -> None:
    operator = await world.operator()
    first, again, other = (OutputOracleMismatch(bytes([root]) * 32, 3) for root in (5, 6, 7))
    for alert, block in ((first, 100), (again, 120), (other, 120)):
        await world.raise_alert(alert, block=block)
    assert (await operator.tell(first))["status"] == "submitted"
    assert (await operator.tell(again))["status"] == "submitted"
    assert "something else about output root of block 120" in (await operator.tell(other))["reason"]


async def test_the_journal_stands_in_the_transaction_of_the_signature(world: World) -> None:
    """Two alerts that passed the first look at once: the second signature is never stored, so it never leaves."""
    operator = await world.operator()
    await operator.stop()
    await operator.start(deliver=False)
    first, other = mismatch(7), mismatch(7, expected=9)
    for alert in (first, other):
        await world.raise_alert(alert)
        await operator.tell(alert, deadline_s=0.01)
    assert [await operator.state(alert) for alert in (first, other)] == ["accepted", "accepted"]
    await operator.restart()
    await until(lambda: len(world.aggregator.signed) == 1, "one is signed")

    async def withheld() -> bool:
        return sorted([await operator.state(first) or "", await operator.state(other) or ""]) == [
            "submitted",
            "unconfirmed",
        ]

    await until(withheld, "the other is withheld")
    assert len(world.aggregator.signed) == 1


async def test_trusting_signs_whatever_it_is_told_and_says_so(world: World) -> None:
    operator = await world.operator(None)
    for alert in (mismatch(7), mismatch(7, expected=9), *ALERTS[1:]):
        answer = await operator.tell(alert)
        assert (answer["status"], answer["basis"]) == ("submitted", TRUSTED)
    app = node_api("mach", operator.signer, operator.confirmations)
    runner, port = await start_site(app, "127.0.0.1", 0)
    world.stack.push_async_callback(runner.cleanup)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/eigen/node/services") as got:
        (service,) = await got.json()
    assert "WARNING: signs EVERY alert" in service["description"]


async def test_what_was_taken_on_trust_is_not_signed_after_trust_ends(world: World) -> None:
    operator = await world.operator(None)
    await operator.stop()
    await operator.start(deliver=False)
    forged, honest = mismatch(7), mismatch(8)
    for alert in (forged, honest):
        assert (await operator.tell(alert, deadline_s=0.01))["status"] == "queued"
    operator.source = DatabaseVerdicts(world.verifier_url, chain_id=L2_CHAIN_ID, timeout_s=5)
    await world.raise_alert(honest)
    await operator.restart()
    await until(lambda: world.aggregator.signed == [honest.message_hash()], "the honest one is signed")

    async def withheld() -> bool:
        return await operator.state(forged) == "unconfirmed"

    await until(withheld, "the forged one is withheld")


@given(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_claims_name_subject_and_value(number: int, invalid: bytes, expected: bytes) -> None:
    found = claim_of(text(BlockMismatch(invalid, expected, number)), None)
    assert (found.subject, found.value) == (f"block {number}", expected)
    output = text(OutputOracleMismatch(expected, number))
    assert (claim_of(output, 5).subject, claim_of(output, 5).value) == ("output root of block 5", expected)


def test_an_operator_names_exactly_one_verifier_or_says_that_it_trusts(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("short")
    base: dict[str, Any] = {
        "eth_rpc_url": "http://127.0.0.1:1",
        "layer1_chain_id": 1,
        "layer2_chain_id": L2_CHAIN_ID,
        "ecdsa_private_key_store_path": "a",
        "bls_private_key_store_path": "b",
    }
    database = {"verdict_database_url": "sqlite+aiosqlite:///verifier.sqlite"}
    api = {"verdict_api_url": "http://127.0.0.1:8391"}
    for given_, words in (
        ({}, "no verifier of its own to ask.*trust_alerts"),
        (database | api, "name two verifiers"),
        (api, "needs `verdict_api_token_file`"),
        (api | {"verdict_api_token_file": token}, "has 5 characters, it needs 32"),
        ({"verdict_database_url": "postgresql+asyncpg://u:secret@h/n"}, "must name the verifier's file"),
        ({"verdict_database_url": "sqlite+aiosqlite:///:memory:"}, "must name the verifier's file"),
    ):
        with pytest.raises(ConfigurationError, match=words) as caught:
            verdict_source(OperatorConfig(**base | given_))
        assert "secret" not in str(caught.value)
    assert isinstance(verdict_source(OperatorConfig(**base | database)), DatabaseVerdicts)
    assert verdict_source(OperatorConfig(**base | {"trust_alerts": True})) is None
