"""`mach.chain.operators` on a real anvil: joining, leaving, and every refusal."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from eth_account import Account
from tests.contracts.deployed_chain import STAKE_WEI, Operator, fund_and_allow, make_operators, register

from mach.bls import SecretKey
from mach.chain import operators
from mach.chain.deployment import allow_operators
from mach.chain.errors import ContractNotFoundError, RevertedError
from mach.chain.operators import RegistrationStatus

if TYPE_CHECKING:
    from tests.contracts.deployed_chain import DeployedChain

    from mach.chain.connection import L1Client

NEWCOMER = make_operators(1, first=50)[0]
NOWHERE = "0x" + "44" * 20


async def test_a_registered_operator_is_reported_in_full(chain: DeployedChain, w3: L1Client) -> None:
    member = chain.operators[0]
    status = await operators.operator_status(w3, chain.deployment, member.account.address)
    assert status.registered_with_eigenlayer
    assert status.allowlist_enabled
    assert status.allowlisted
    assert status.avs_status is RegistrationStatus.REGISTERED
    assert status.operator_id == member.operator_id
    assert status.strategy_shares_wei == STAKE_WEI
    (quorum,) = status.quorums
    assert quorum == operators.QuorumStanding(0, True, STAKE_WEI, STAKE_WEI, 10**18)


async def test_a_stranger_is_reported_as_one(chain: DeployedChain, w3: L1Client) -> None:
    status = await operators.operator_status(w3, chain.deployment, NEWCOMER.account.address)
    assert not status.registered_with_eigenlayer
    assert not status.allowlisted
    assert status.avs_status is RegistrationStatus.NEVER_REGISTERED
    assert status.operator_id is None
    assert [quorum.registered for quorum in status.quorums] == [False]


async def test_every_registration_may_be_done_twice(chain: DeployedChain, w3: L1Client) -> None:
    await fund_and_allow(chain.sender(w3), chain.deployment, [NEWCOMER])
    sender = chain.sender(w3, NEWCOMER.account)
    assert (await operators.register_with_eigenlayer(sender, chain.deployment)).changed
    assert not (await operators.register_with_eigenlayer(sender, chain.deployment)).changed
    await operators.deposit_into_strategy(sender, chain.deployment, STAKE_WEI)
    first = await operators.register_with_avs(sender, chain.deployment, NEWCOMER.bls_key)
    assert first.changed
    assert first.receipt is not None
    second = await operators.register_with_avs(sender, chain.deployment, NEWCOMER.bls_key)
    assert second == operators.Outcome(changed=False)


async def test_leaving_and_coming_back(chain: DeployedChain, w3: L1Client) -> None:
    member = chain.operators[1]
    sender = chain.sender(w3, member.account)
    assert (await operators.deregister_from_avs(sender, chain.deployment)).changed
    assert not (await operators.deregister_from_avs(sender, chain.deployment)).changed
    status = await operators.operator_status(w3, chain.deployment, member.account.address)
    assert status.avs_status is RegistrationStatus.DEREGISTERED
    assert status.operator_id == member.operator_id
    assert status.quorums[0].current_stake_wei == 0
    assert (await operators.register_with_avs(sender, chain.deployment, member.bls_key)).changed
    status = await operators.operator_status(w3, chain.deployment, member.account.address)
    assert status.avs_status is RegistrationStatus.REGISTERED
    assert status.quorums[0].current_stake_wei == STAKE_WEI


async def test_deposits_add_up(chain: DeployedChain, w3: L1Client) -> None:
    member = chain.operators[0]
    sender = chain.sender(w3, member.account)
    await operators.deposit_into_strategy(sender, chain.deployment, 5)
    await operators.deposit_into_strategy(sender, chain.deployment, 6, strategy=chain.deployment.strategy)
    status = await operators.operator_status(w3, chain.deployment, member.account.address)
    assert status.strategy_shares_wei == STAKE_WEI + 11


async def test_an_operator_off_the_allowlist_is_refused(chain: DeployedChain, w3: L1Client) -> None:
    await fund(chain, w3, NEWCOMER)
    sender = chain.sender(w3, NEWCOMER.account)
    await operators.register_with_eigenlayer(sender, chain.deployment)
    await operators.deposit_into_strategy(sender, chain.deployment, STAKE_WEI)
    with pytest.raises(operators.OperatorNotAllowlistedError, match=NEWCOMER.account.address):
        await operators.register_with_avs(sender, chain.deployment, NEWCOMER.bls_key)


async def test_too_little_stake_is_refused_with_both_figures(chain: DeployedChain, w3: L1Client) -> None:
    await fund_and_allow(chain.sender(w3), chain.deployment, [NEWCOMER])
    sender = chain.sender(w3, NEWCOMER.account)
    await operators.register_with_eigenlayer(sender, chain.deployment)
    await operators.deposit_into_strategy(sender, chain.deployment, 10**18 - 1)
    with pytest.raises(operators.InsufficientStakeError, match=f"has {10**18 - 1} wei .* needs {10**18}"):
        await operators.register_with_avs(sender, chain.deployment, NEWCOMER.bls_key)
    await operators.deposit_into_strategy(sender, chain.deployment, 1)
    assert (await operators.register_with_avs(sender, chain.deployment, NEWCOMER.bls_key)).changed


async def test_eigenlayer_comes_first(chain: DeployedChain, w3: L1Client) -> None:
    await fund_and_allow(chain.sender(w3), chain.deployment, [NEWCOMER])
    with pytest.raises(operators.NotRegisteredWithEigenLayerError, match="register-with-eigenlayer"):
        await operators.register_with_avs(chain.sender(w3, NEWCOMER.account), chain.deployment, NEWCOMER.bls_key)


async def test_another_bls_key_is_refused(chain: DeployedChain, w3: L1Client) -> None:
    member, other = chain.operators[0], SecretKey.from_bytes((99).to_bytes(32))
    sender = chain.sender(w3, member.account)
    await operators.deregister_from_avs(sender, chain.deployment)
    with pytest.raises(operators.BlsKeyMismatchError, match=other.public_key_g1.operator_id.hex()):
        await operators.register_with_avs(sender, chain.deployment, other)


async def test_the_same_bls_key_for_two_operators_reverts_on_chain(chain: DeployedChain, w3: L1Client) -> None:
    twin = Operator(Account.from_key((60).to_bytes(32)), chain.operators[0].bls_key)
    await fund_and_allow(chain.sender(w3), chain.deployment, [twin])
    with pytest.raises(RevertedError, match="public key already registered"):
        await register(w3, chain.deployment, twin)


async def test_a_deposit_beyond_the_balance_is_refused(chain: DeployedChain, w3: L1Client) -> None:
    sender = chain.sender(w3, chain.operators[0].account)
    with pytest.raises(operators.InsufficientTokenBalanceError, match=f"wants to deposit {STAKE_WEI * 10}"):
        await operators.deposit_into_strategy(sender, chain.deployment, STAKE_WEI * 10)
    with pytest.raises(operators.OperatorError, match="above 0"):
        await operators.deposit_into_strategy(sender, chain.deployment, 0)


async def test_a_strategy_without_code_is_named(chain: DeployedChain, w3: L1Client) -> None:
    sender = chain.sender(w3, chain.operators[0].account)
    with pytest.raises(ContractNotFoundError, match=f"strategy {NOWHERE} has no code"):
        await operators.deposit_into_strategy(sender, chain.deployment, 1, strategy=NOWHERE)


async def test_a_coordinator_without_code_is_named(chain: DeployedChain, w3: L1Client) -> None:
    wrong = dataclasses.replace(chain.deployment, registry_coordinator=NOWHERE)
    with pytest.raises(ContractNotFoundError, match=f"RegistryCoordinator {NOWHERE} has no code"):
        await operators.operator_status(w3, wrong, NEWCOMER.account.address)
    with pytest.raises(ContractNotFoundError, match=f"RegistryCoordinator {NOWHERE} has no code"):
        await operators.register_with_avs(chain.sender(w3, NEWCOMER.account), wrong, NEWCOMER.bls_key)


async def test_a_contract_of_another_kind_is_named(chain: DeployedChain, w3: L1Client) -> None:
    wrong = dataclasses.replace(chain.deployment, registry_coordinator=chain.deployment.stake_registry)
    with pytest.raises(operators.OperatorError, match=f"{chain.deployment.stake_registry} does not answer"):
        await operators.operator_status(w3, wrong, NEWCOMER.account.address)


async def test_a_quorum_that_does_not_exist_is_named(chain: DeployedChain, w3: L1Client) -> None:
    with pytest.raises(operators.OperatorError, match="quorum 3 does not exist"):
        await operators.register_with_avs(
            chain.sender(w3, chain.operators[0].account),
            chain.deployment,
            chain.operators[0].bls_key,
            quorum_numbers=b"\x03",
        )


async def test_only_the_whitelister_allows(chain: DeployedChain, w3: L1Client) -> None:
    with pytest.raises(RevertedError) as caught:
        await allow_operators(
            chain.sender(w3, chain.operators[0].account), chain.deployment, [NEWCOMER.account.address]
        )
    assert caught.value.error_name == "NotWhitelister"


async def test_a_deployment_file_of_the_original_is_enough_for_registration(chain: DeployedChain, w3: L1Client) -> None:
    await fund_and_allow(chain.sender(w3), chain.deployment, [NEWCOMER])
    sender = chain.sender(w3, NEWCOMER.account)
    await operators.register_with_eigenlayer(sender, chain.deployment)
    await operators.deposit_into_strategy(sender, chain.deployment, STAKE_WEI)
    original = dataclasses.replace(
        chain.deployment,
        mach_service_manager_registry=None,
        mach_service_manager_proxy_admin=None,
        delegation_manager=None,
        strategy_manager=None,
        avs_directory=None,
        strategy=None,
        token=None,
        deployment_block=None,
        settlement_chain_id=None,
    )
    assert (await operators.register_with_avs(sender, original, NEWCOMER.bls_key)).changed


async def fund(chain: DeployedChain, w3: L1Client, operator: Operator) -> None:
    await operators.fund_operators(
        chain.sender(w3), chain.deployment, [operator.account.address], ether_wei=10**18, tokens_wei=STAKE_WEI
    )
