"""Alerts confirmed by the real contracts from what `OperatorRegistry` and `ServiceManager` put together."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import pytest
from tests.contracts.deployed_chain import (
    ALERT,
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    STAKE_WEI,
    DeployedChain,
    confirm,
    fund_and_allow,
    make_operators,
    register,
)

from mach.chain import operators
from mach.chain.connection import connection
from mach.chain.contracts import encode_call
from mach.chain.deployment import MachParameters, QuorumParameters, allow_operators, deploy
from mach.chain.errors import RevertedError
from mach.chain.registry import NoSignatureError, OperatorKeyUnknownError, OperatorRegistry
from mach.chain.sender import TransactionSender
from mach.chain.service_manager import ServiceManager
from mach.chain.transaction import Call

if TYPE_CHECKING:
    from tests.contracts.deployed_chain import Anvil

    from mach.chain.connection import L1Client
    from mach.chain.deployment import DeployOutput


async def set_threshold(w3: L1Client, deployment: DeployOutput, percent: int) -> None:
    data = encode_call(w3, "MachServiceManager", "updateQuorumThresholdPercentage", percent)
    sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
    await sender.send(Call(deployment.mach_service_manager, data, "set the threshold"))


@pytest.mark.parametrize("non_signers", [0, 1, 2])
async def test_an_alert_is_confirmed_and_read_back(chain: DeployedChain, w3: L1Client, non_signers: int) -> None:
    await set_threshold(w3, chain.deployment, 33)
    manager = ServiceManager(w3, chain.deployment)
    assert await manager.find_alert_confirmed(ALERT) is None
    assert not await manager.contains(ROLLUP_CHAIN_ID, ALERT)
    start = await manager.block_number()
    receipt = await confirm(w3, chain.deployment, chain.operators[non_signers:], percentages=b"\x21")
    assert await manager.contains(ROLLUP_CHAIN_ID, ALERT)
    assert not await manager.contains(10, ALERT)
    assert await manager.total_alerts(ROLLUP_CHAIN_ID) == 1
    assert await manager.query_message_hashes(ROLLUP_CHAIN_ID, 0, 10) == [ALERT]
    found = await manager.find_alert_confirmed(ALERT, from_block=start)
    assert found is not None
    assert (found.tx_hash, found.block_number) == (receipt.transaction_hash, receipt.block_number)
    assert await manager.find_alert_confirmed(ALERT, from_block=receipt.block_number + 1) is None
    assert await manager.find_alert_confirmed(b"\xa2" * 32) is None


async def test_two_of_three_reach_the_default_threshold_and_one_does_not(chain: DeployedChain, w3: L1Client) -> None:
    with pytest.raises(RevertedError) as caught:
        await confirm(w3, chain.deployment, chain.operators[:1])
    assert caught.value.error_name == "InsufficientThreshold"
    assert caught.value.transaction_hash is None
    assert (await confirm(w3, chain.deployment, chain.operators[:2])).succeeded


async def test_the_same_alert_is_confirmed_once(chain: DeployedChain, w3: L1Client) -> None:
    await confirm(w3, chain.deployment, chain.operators)
    with pytest.raises(RevertedError) as caught:
        await confirm(w3, chain.deployment, chain.operators)
    assert caught.value.error_name == "AlreadyAdded"
    assert await ServiceManager(w3, chain.deployment).total_alerts(ROLLUP_CHAIN_ID) == 1


async def test_signatures_over_another_alert_are_refused(chain: DeployedChain, w3: L1Client) -> None:
    with pytest.raises(RevertedError, match="confirm the alert"):
        await confirm(w3, chain.deployment, chain.operators, signed_alert=b"\xff" * 32)
    assert not await ServiceManager(w3, chain.deployment).contains(ROLLUP_CHAIN_ID, ALERT)


async def test_a_rollup_that_is_not_served_is_refused_by_name(chain: DeployedChain, w3: L1Client) -> None:
    manager = ServiceManager(w3, chain.deployment)
    assert await manager.serves_rollup(ROLLUP_CHAIN_ID)
    assert not await manager.serves_rollup(10)
    with pytest.raises(RevertedError) as caught:
        await confirm(w3, chain.deployment, chain.operators, rollup_chain_id=10)
    assert caught.value.error_name == "InvalidRollupChainID"


async def test_the_operator_set_is_what_the_contracts_count(chain: DeployedChain, w3: L1Client) -> None:
    registry = OperatorRegistry(w3, chain.deployment)
    block = chain.anvil.block_number() - 1
    members = await registry.operator_set(b"\x00", block)
    assert set(members.members) == {operator.operator_id for operator in chain.operators}
    for operator in chain.operators:
        member = members.members[operator.operator_id]
        assert member.address == operator.account.address
        assert member.public_key_g1 == operator.bls_key.public_key_g1
        assert member.public_key_g2 == operator.bls_key.public_key_g2
        assert member.stakes == {0: STAKE_WEI}
    assert members.total_stakes == {0: 3 * STAKE_WEI} == await registry.total_stakes(b"\x00", block)
    assert [member.operator_id for member in members.non_signers([])] == sorted(members.members)


async def test_an_operator_who_left_counts_at_the_block_before_only(chain: DeployedChain, w3: L1Client) -> None:
    before = chain.anvil.block_number()
    leaver = chain.operators[2]
    await operators.deregister_from_avs(chain.sender(w3, leaver.account), chain.deployment)
    chain.anvil.mine(2)
    registry = OperatorRegistry(w3, chain.deployment)
    assert leaver.operator_id in (await registry.operator_set(b"\x00", before)).members
    assert leaver.operator_id not in (await registry.operator_set(b"\x00", before + 2)).members
    assert (await confirm(w3, chain.deployment, chain.operators[:2])).succeeded
    other = b"\xa2" * 32
    assert (await confirm(w3, chain.deployment, chain.operators[:2], alert=other, reference_block=before)).succeeded


async def test_an_operator_who_joins_later_is_found_by_the_same_registry(chain: DeployedChain, w3: L1Client) -> None:
    registry = OperatorRegistry(w3, chain.deployment)
    assert len((await registry.operator_set(b"\x00", chain.anvil.block_number())).members) == 3
    newcomer = make_operators(1, first=70)[0]
    await fund_and_allow(chain.sender(w3), chain.deployment, [newcomer])
    await register(w3, chain.deployment, newcomer)
    members = (await registry.operator_set(b"\x00", chain.anvil.block_number())).members
    assert members[newcomer.operator_id].public_key_g2 == newcomer.bls_key.public_key_g2


async def test_signatures_of_strangers_confirm_nothing(chain: DeployedChain, w3: L1Client) -> None:
    with pytest.raises(NoSignatureError, match="none of 1 signatures"):
        await confirm(w3, chain.deployment, make_operators(1, first=90))
    strangers = make_operators(2, first=90)
    assert (await confirm(w3, chain.deployment, [*chain.operators, *strangers])).succeeded


async def test_a_deployment_block_that_is_too_late_is_named(chain: DeployedChain, w3: L1Client) -> None:
    chain.anvil.mine(100)
    late = dataclasses.replace(chain.deployment, deployment_block=chain.anvil.block_number())
    with pytest.raises(OperatorKeyUnknownError, match="deploymentBlock"):
        await OperatorRegistry(w3, late).operator_set(b"\x00", chain.anvil.block_number())


async def test_a_quorum_that_did_not_exist_reverts(chain: DeployedChain, w3: L1Client) -> None:
    with pytest.raises(RevertedError, match=r"quorums \[1\]"):
        await OperatorRegistry(w3, chain.deployment).operator_set(b"\x01", chain.anvil.block_number())


async def test_a_confirmation_that_a_reorganisation_took_back_is_forgotten(chain: DeployedChain, w3: L1Client) -> None:
    manager = ServiceManager(w3, chain.deployment)
    snapshot = chain.anvil.rpc("evm_snapshot")
    await confirm(w3, chain.deployment, chain.operators)
    assert await manager.find_alert_confirmed(ALERT) is not None
    chain.anvil.rpc("evm_revert", snapshot)
    chain.anvil.mine(3)
    assert await manager.find_alert_confirmed(ALERT) is None
    again = await confirm(w3, chain.deployment, chain.operators[:2])
    found = await manager.find_alert_confirmed(ALERT)
    assert found is not None
    assert found.tx_hash == again.transaction_hash


async def test_members_of_two_quorums_count_in_both(anvil: Anvil) -> None:
    both, first_only, second_only = make_operators(3)
    async with connection(anvil.url, CHAIN_ID) as w3:
        sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
        deployment = await deploy(
            sender, MachParameters((ROLLUP_CHAIN_ID,)), quorums=(QuorumParameters(), QuorumParameters())
        )
        for operator, quorums, stake in (
            (both, b"\x00\x01", STAKE_WEI),
            (first_only, b"\x00", STAKE_WEI // 4),
            (second_only, b"\x01", STAKE_WEI // 4),
        ):
            await operators.fund_operators(
                sender, deployment, [operator.account.address], ether_wei=10**18, tokens_wei=stake
            )
            await allow_operators(sender, deployment, [operator.account.address])
            own = TransactionSender(w3, operator.account, CHAIN_ID)
            await operators.register_with_eigenlayer(own, deployment)
            await operators.deposit_into_strategy(own, deployment, stake)
            await operators.register_with_avs(own, deployment, operator.bls_key, quorum_numbers=quorums)
        anvil.mine(2)
        everyone = await OperatorRegistry(w3, deployment).operator_set(b"\x00\x01", anvil.block_number() - 1)
        assert everyone.members[both.operator_id].stakes == {0: STAKE_WEI, 1: STAKE_WEI}
        assert everyone.total_stakes == {0: STAKE_WEI * 5 // 4, 1: STAKE_WEI * 5 // 4}
        assert not everyone.threshold_met([first_only.operator_id, second_only.operator_id], b"\x42\x42")
        confirm_both = functools.partial(confirm, quorum_numbers=b"\x00\x01", percentages=b"\x42\x42")
        for number, signers in enumerate([[both, first_only, second_only], [both], [both, second_only]], start=1):
            assert (await confirm_both(w3, deployment, signers, alert=bytes([number] * 32))).succeeded
        with pytest.raises(RevertedError) as caught:
            await confirm_both(w3, deployment, [first_only, second_only])
        assert caught.value.error_name == "InsufficientThreshold"
