"""What operators and an aggregator promise: an alert is confirmed once, whoever is late, doubled, or killed."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from mach.chain.contracts import contract_at
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.protocol.alerts import BlockMismatch
from mach.transport.jsonrpc_client import PeerRefusedError

from .conftest import OPERATOR_NAMES

if TYPE_CHECKING:
    from .conftest import BlsNetwork


def alert(number: int) -> tuple[dict[str, Any], str]:
    """An alert's parameters, and its message hash as 0x-hex."""
    value = BlockMismatch(number.to_bytes(32, "big"), (number + 1).to_bytes(32, "big"), number)
    params = {
        "invalid_output_root": "0x" + value.invalid_output_root.hex(),
        "expect_output_root": "0x" + value.expect_output_root.hex(),
        "l2_block_number": number,
    }
    return params, "0x" + value.message_hash().hex()


async def confirmed(network: BlsNetwork, message_hash: str, deadline_s: float = 30.0) -> None:
    await network.eventually(
        lambda: bool(network.seen("aggregator", "task.confirmed", alert=message_hash)),
        f"alert {message_hash} is confirmed",
        deadline_s,
    )
    assert await network.manager.contains(L2_CHAIN_ID, bytes.fromhex(message_hash[2:]))


async def test_one_hundred_alerts_that_reach_all_operators_at_once_are_confirmed_in_one_task_each(
    network: BlsNetwork,
) -> None:
    network.configure("aggregator", late_signature_window_s=0.05)
    await network.start("aggregator", *OPERATOR_NAMES)
    hashes = []
    for number in range(1, 101):
        params, message_hash = alert(number)
        answers = await network.raise_at_all(params)
        indices = {answer["task_index"] for answer in answers if isinstance(answer, dict)}
        assert len(indices) == 1, answers
        await confirmed(network, message_hash)
        hashes.append(bytes.fromhex(message_hash[2:]))
    assert len(network.seen("aggregator", "task.created")) == 100
    assert len(network.seen("aggregator", "task.confirmed")) == 100
    assert not network.seen("aggregator", "task.attempt_failed")
    assert await network.confirmations() == hashes


async def test_an_aggregator_killed_between_signatures_goes_on_where_it_was(network: BlsNetwork) -> None:
    await network.start("aggregator", *OPERATOR_NAMES)
    params, message_hash = alert(7)
    first = await network.raise_alert("operator1", params)
    assert first["status"] == "submitted"
    await network.kill("aggregator")
    waiting = asyncio.create_task(network.raise_alert("operator2", params))
    await network.eventually(lambda: bool(network.seen("operator2", "alert.not_delivered")), "operator2 tries in vain")
    await network.start("aggregator")
    second = await waiting
    assert second["task_index"] == first["task_index"]
    await confirmed(network, message_hash)
    assert await network.confirmations() == [bytes.fromhex(message_hash[2:])]
    submitted = network.seen("aggregator", "task.submitted", alert=message_hash)
    assert [event["signatures"] for event in submitted] == [2]


async def test_an_aggregator_killed_after_its_transaction_left_does_not_send_another(network: BlsNetwork) -> None:
    await network.anvil.mine_every(3600)  # nothing is mined unless told
    await network.start("aggregator", *OPERATOR_NAMES)
    params, message_hash = alert(8)
    await network.raise_at_all(params)
    await network.eventually(lambda: bool(network.seen("aggregator", "task.submitted")), "the transaction is sent")
    await network.kill("aggregator")
    await network.start("aggregator")
    await network.eventually(lambda: bool(network.seen("aggregator", "task.resumed")), "the task is taken up")
    await network.anvil.mine()
    await confirmed(network, message_hash)
    assert await network.confirmations() == [bytes.fromhex(message_hash[2:])]
    with sqlite3.connect(network.layout.folder / "db" / "aggregator.sqlite") as database:
        assert database.execute("select count(*) from submissions").fetchone() == (1,)


async def test_two_of_three_confirm_and_the_contract_gets_the_third_as_non_signer(network: BlsNetwork) -> None:
    await network.start("aggregator", "operator1", "operator3")
    params, message_hash = alert(9)
    await asyncio.gather(*(network.raise_alert(name, params) for name in ("operator1", "operator3")))
    await confirmed(network, message_hash)
    (submitted,) = network.seen("aggregator", "task.submitted", alert=message_hash)
    assert (submitted["signatures"], submitted["non_signers"]) == (2, 1)
    found = await network.manager.find_alert_confirmed(bytes.fromhex(message_hash[2:]))
    assert found is not None
    w3 = network.manager._w3
    transaction = await w3.eth.get_transaction(found.tx_hash)
    contract = contract_at(w3, "MachServiceManager", network.manager.address)
    _, arguments = contract.decode_function_input(transaction["input"])
    non_signers = arguments["nonSignerStakesAndSignature"]["nonSignerPubkeys"]
    registered = contract_at(w3, "BLSApkRegistry", network.deployment.apk_registry)
    logs = await registered.events.NewPubkeyRegistration().get_logs(from_block=0)
    absent = [log["args"]["pubkeyG1"] for log in logs if log["args"]["operator"] == await operator_address(network, 2)]
    assert [(key["X"], key["Y"]) for key in non_signers] == [(key["X"], key["Y"]) for key in absent]


async def test_nobody_waits_for_late_signatures_once_everybody_has_signed(network: BlsNetwork) -> None:
    network.configure("aggregator", late_signature_window_s=60.0)
    await network.start("aggregator", *OPERATOR_NAMES)
    params, message_hash = alert(16)
    for name in OPERATOR_NAMES[:2]:
        await network.raise_alert(name, params)
    await network.eventually(lambda: bool(network.seen("aggregator", "task.quorum")), "the quorum is reached")
    assert not network.seen("aggregator", "task.submitted")
    await network.raise_alert(OPERATOR_NAMES[2], params)
    await confirmed(network, message_hash)
    assert [event["signatures"] for event in network.seen("aggregator", "task.submitted")] == [3]


async def test_one_of_three_confirms_nothing_and_later_signatures_complete_it(network: BlsNetwork) -> None:
    await network.start("aggregator", *OPERATOR_NAMES)
    params, message_hash = alert(10)
    first = await network.raise_alert("operator2", params)
    assert first["status"] == "submitted"
    # a whole other alert comes and goes in the meantime
    other, other_hash = alert(11)
    await network.raise_at_all(other)
    await confirmed(network, other_hash)
    assert not network.seen("aggregator", "task.quorum", alert=message_hash)
    assert not await network.manager.contains(L2_CHAIN_ID, bytes.fromhex(message_hash[2:]))
    last = await network.raise_alert("operator3", params)
    assert last["task_index"] == first["task_index"]
    await confirmed(network, message_hash)


async def test_an_operator_starts_without_an_aggregator_and_delivers_when_it_comes(network: BlsNetwork) -> None:
    for name in OPERATOR_NAMES:
        network.configure(name, submit_deadline_s=0.5)
    await network.start(*OPERATOR_NAMES)
    params, message_hash = alert(12)
    answers = await network.raise_at_all(params)
    assert [answer["status"] for answer in answers if isinstance(answer, dict)] == ["queued"] * 3
    await network.kill("operator1")
    await network.start("operator1", "aggregator")
    await confirmed(network, message_hash)


async def test_the_same_alert_twice_is_one_submission(network: BlsNetwork) -> None:
    await network.start("aggregator", "operator1")
    params, message_hash = alert(13)
    answers = await asyncio.gather(*(network.raise_alert("operator1", params) for _ in range(10)))
    assert len({answer["task_index"] for answer in answers}) == 1
    assert len(network.seen("aggregator", "signature.counted", alert=message_hash)) == 1
    assert len(network.seen("operator1", "alert.signed")) == 1


async def test_an_alert_that_stands_on_l1_is_answered_as_finished(network: BlsNetwork) -> None:
    await network.start("aggregator", *OPERATOR_NAMES)
    params, message_hash = alert(14)
    await network.raise_at_all(params)
    await confirmed(network, message_hash)
    with pytest.raises(PeerRefusedError, match=f"the task {message_hash} already finished: 0x"):
        await network.aggregator("aggregator_createTask", message_hash)


async def test_bad_signatures_and_tasks_are_refused_by_name(network: BlsNetwork) -> None:
    await network.start("aggregator")
    _, message_hash = alert(15)
    task = await network.aggregator("aggregator_createTask", message_hash)
    operators = await network.manager._w3.eth.get_block("latest")
    assert operators["number"] > task["reference_block_number"]
    logs = (
        await contract_at(network.manager._w3, "BLSApkRegistry", network.deployment.apk_registry)
        .events.NewPubkeyRegistration()
        .get_logs(from_block=0)
    )
    assert len(logs) == 3
    operator_id = await operator_id_of(network, 1)
    generator = "0x" + (1).to_bytes(32, "big").hex() + (2).to_bytes(32, "big").hex()
    refused = [
        ((task, generator, operator_id), "Incorrect Signature"),
        ((task, "0x" + "11" * 64, operator_id), "Incorrect Signature"),
        ((task, generator, "0x" + "ab" * 32), "not part of task 0's quorum"),
        ((task | {"task_index": 5}, generator, operator_id), "task not found"),
        ((task | {"reference_block_number": 1}, generator, operator_id), "not initialized or already completed"),
        ((task | {"alert_hash": "0x" + "22" * 32}, generator, operator_id), "not initialized or already completed"),
    ]
    for params, text in refused:
        with pytest.raises(PeerRefusedError, match=text):
            await network.aggregator("aggregator_processSignedTaskResponse", *params)
    again = await network.aggregator("aggregator_createTask", message_hash)
    assert again == task


async def operator_address(network: BlsNetwork, number: int) -> str:
    import json

    from eth_utils import to_checksum_address

    return str(to_checksum_address(json.loads(network.layout.ecdsa_key(f"operator{number}").read_text())["address"]))


async def operator_id_of(network: BlsNetwork, number: int) -> str:
    coordinator = contract_at(network.manager._w3, "RegistryCoordinator", network.deployment.registry_coordinator)
    operator_id = await coordinator.functions.getOperatorId(await operator_address(network, number)).call()
    return "0x" + bytes(operator_id).hex()
