"""Operators as they run by default: they sign what their own verifier found, on real chains, and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mach.devnet.faults import Fault, FaultKind
from mach.devnet.l2_genesis import L2_CHAIN_ID

from .conftest import OPERATOR_NAMES
from .test_bls_mode import alert, confirmed
from .test_verifier import l2, verified_up_to

if TYPE_CHECKING:
    from .conftest import BlsNetwork
    from .test_verifier import L2

__all__ = ["l2"]


def outbox(network: BlsNetwork, name: str) -> dict[str, tuple[str, str | None]]:
    """State and basis of every alert in an operator's outbox, by message hash."""
    with closing(sqlite3.connect(network.layout.folder / "db" / f"{name}.sqlite")) as database:
        rows = database.execute("select message_hash, state, basis from alerts").fetchall()
    return {"0x" + row[0].hex(): (row[1], row[2]) for row in rows}


async def test_a_forged_alert_at_every_port_is_never_signed_and_a_true_one_is_confirmed(
    network: BlsNetwork, l2: L2
) -> None:
    for name in OPERATOR_NAMES:
        network.configure(name, trust_alerts=False)
    await network.start("aggregator", *OPERATOR_NAMES)
    forged, forged_hash = alert(l2.sequencer.head.number)
    for answer in await network.raise_at_all(forged):
        assert isinstance(answer, dict)
        assert answer["status"] == "unconfirmed"
        assert "cannot be asked" in answer["reason"]  # no verifier has run yet
    await network.start("verifier1", "verifier2", "verifier3")
    fault = Fault(FaultKind.STATE_ROOT, l2.sequencer.head.number + 1)
    l2.lying_node.set_fault(fault)
    head = await l2.build(2)
    await verified_up_to(network, head)
    (invalid,) = network.seen("verifier1", "block.invalid")
    await confirmed(network, invalid["alert"])
    for answer in await network.raise_at_all(forged):
        assert isinstance(answer, dict)
        assert answer["reason"] == "this operator's own verifier has not raised this alert"
    assert {outbox(network, name)[forged_hash] for name in OPERATOR_NAMES} == {("unconfirmed", None)}
    assert {outbox(network, name)[invalid["alert"]][1] for name in OPERATOR_NAMES} == {"re-execution"}
    assert not any(network.seen(name, "alert.signed", alert=forged_hash) for name in OPERATOR_NAMES)
    assert not network.seen("aggregator", "task.created", alert=forged_hash)
    assert await network.confirmations() == [bytes.fromhex(invalid["alert"][2:])]
    assert not await network.manager.contains(L2_CHAIN_ID, bytes.fromhex(forged_hash[2:]))


@pytest.mark.slow  # the same in one process: tests/unit/test_operator_verdicts.py
async def test_an_operator_killed_between_verdict_and_signature_goes_on(network: BlsNetwork, l2: L2) -> None:
    """Over the verdict API; the operator dies first with the alert unconfirmed, then with it confirmed but unsigned."""
    token = network.layout.folder / "verdict-api.token"
    token.write_text("0123456789abcdef" * 4)
    port = network.ports.operators[2]
    network.configure(
        "verifier1", verdict_api_token_file=str(token), verdict_api_ip_port_address=f"127.0.0.1:{port}", operators=[]
    )
    network.configure(
        "operator1",
        trust_alerts=False,
        verdict_database_url=None,
        verdict_api_url=f"http://127.0.0.1:{port}",
        verdict_api_token_file=str(token),
        submit_deadline_s=0.5,
    )
    l2.lying_node.set_fault(Fault(FaultKind.GAS_USED, l2.sequencer.head.number + 1))
    head = await l2.build(2)
    network.configure("verifier2", operators=[f"http://127.0.0.1:{network.ports.operators[0]}"])
    await network.start("operator1", "verifier2")  # another verifier tells of it; the own one is not up
    await network.eventually(lambda: bool(network.seen("operator1", "alert.unconfirmed")), "it is told")
    (told,) = network.seen("operator1", "alert.unconfirmed")
    assert "cannot be reached" in told["reason"]
    await network.kill("operator1")
    await network.kill("verifier2")
    await asyncio.gather(network.start("operator1"), network.start("verifier1"))
    await verified_up_to(network, head)
    await network.eventually(
        lambda: outbox(network, "operator1").get(told["alert"]) == ("accepted", "re-execution"), "it is confirmed"
    )
    await network.kill("operator1")
    assert not network.seen("operator1", "alert.signed")
    await network.start("aggregator", "operator1")
    await network.eventually(lambda: bool(network.seen("operator1", "alert.submitted", alert=told["alert"])), "signed")
