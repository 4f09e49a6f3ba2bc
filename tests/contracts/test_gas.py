"""Gas of `confirmAlert` in real transactions with 60 operators, against the original's contracts."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING

import pytest
from py_ecc.optimized_bn128.optimized_curve import field_modulus
from tests.contracts.deployed_chain import (
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    STAKE_WEI,
    DeployedChain,
    confirm,
    deploy_with_operators,
    fund_and_allow,
    make_operators,
    running_anvil,
)

from mach.chain import operators
from mach.chain.connection import connection
from mach.chain.contracts import encode_call
from mach.chain.deployment import MachParameters, QuorumParameters, deploy
from mach.chain.registry import OperatorRegistry
from mach.chain.sender import TransactionSender
from mach.chain.service_manager import AlertHeader
from mach.chain.settlement import Settlement, SettlementSettings
from mach.chain.transaction import Call
from mach.protocol.alerts import sign_hash
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.contracts.deployed_chain import Anvil, Operator

    from mach.chain.connection import L1Client

OPERATORS = 60
NON_SIGNERS = (0, 1, 5, 10)

ORIGINAL_GAS = 290_000
"""The original's `confirmAlert` without non-signers: the lowest that was measured on its contracts."""
ORIGINAL_GAS_PER_NON_SIGNER = 17_900
"""What one more non-signer adds to the original's `checkSignatures`, measured with the same 60 operators."""
GOAL_BASE, GOAL_PER_NON_SIGNER = 0.88, 0.80


async def measure(chain: DeployedChain) -> dict[int, int]:
    async with connection(chain.anvil.url, CHAIN_ID) as w3:
        # The first alert of a rollup also pays for storage that every later one finds warm in use: not the steady cost.
        await confirm(w3, chain.deployment, chain.operators, alert=b"\xee" * 32)
        gas = {}
        for count in NON_SIGNERS:
            block = chain.anvil.block_number() - 1
            alert = alert_hashed_at_the_first_try(block, 1 + count * 1000)
            signers = chain.operators[count:]
            receipt = await confirm(w3, chain.deployment, signers, alert=alert, reference_block=block)
            gas[count] = receipt.gas_used
        return gas


def alert_hashed_at_the_first_try(reference_block: int, start: int) -> bytes:
    """An alert whose digest is the x of a curve point.

    Hash to curve tries x, x + 1, …, about 6,500 gas each: that luck is no property of the contract.
    """
    for number in itertools.count(start):
        alert = number.to_bytes(32)
        x = int.from_bytes(sign_hash(alert, reference_block, ROLLUP_CHAIN_ID)) % field_modulus
        # Euler's criterion: y² = x³ + 3 has a solution.
        if pow(x**3 + 3, (field_modulus - 1) // 2, field_modulus) == 1:
            return alert
    raise AssertionError("half of all digests are")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedChain]:
    """A chain with 60 operators."""
    with running_anvil(tmp_path_factory.mktemp("gas")) as node:
        yield asyncio.run(deploy_with_operators(node, make_operators(OPERATORS)))


@pytest.mark.timeout(180)
def test_confirm_alert_costs_less_than_the_original(crowd: DeployedChain, capsys: pytest.CaptureFixture[str]) -> None:
    gas = asyncio.run(measure(crowd))
    with capsys.disabled():
        print(f"\nconfirmAlert on rollup {ROLLUP_CHAIN_ID}, {OPERATORS} operators, gas used by the transaction")
        print("non-signers     ours  original  ratio")
        for count, used in gas.items():
            original = ORIGINAL_GAS + count * ORIGINAL_GAS_PER_NON_SIGNER
            print(f"{count:11} {used:8,} {original:9,}  {used / original:5.1%}")
        print(f"each further non-signer: {(gas[10] - gas[1]) / 9:,.0f}")
    assert gas[0] <= GOAL_BASE * ORIGINAL_GAS
    # From one on: the first non-signer also pays for reaching the coordinator at all.
    assert (gas[10] - gas[1]) / 9 <= GOAL_PER_NON_SIGNER * ORIGINAL_GAS_PER_NON_SIGNER


async def used_and_limit(
    w3: L1Client, chain: DeployedChain, quorum_numbers: bytes, signers: Sequence[Operator], alert: bytes
) -> tuple[int, int]:
    """Gas that `confirmAlert` used, and the limit it was sent with."""
    settings = SettlementSettings(quorum_numbers, ROLLUP_CHAIN_ID, CHAIN_ID)
    settlement = Settlement.build(w3, chain.deployment, DEPLOYER, settings)
    await settlement.start()
    current = settlement.operators.current()
    header = AlertHeader(alert, quorum_numbers, b"\x01" * len(quorum_numbers), current.reference_block, ROLLUP_CHAIN_ID)
    digest = sign_hash(alert, current.reference_block, ROLLUP_CHAIN_ID)
    signatures = {one.operator_id: one.bls_key.sign(digest).to_bytes() for one in signers}
    transaction = await settlement.prepare_alert(header, current.operators, signatures)
    await settlement.sender.broadcast(transaction)
    receipt = await settlement.sender.wait(transaction.hash, 20)
    return receipt.gas_used, transaction.gas_limit


async def accept_one_percent(w3: L1Client, chain: DeployedChain) -> None:
    data = encode_call(w3, "MachServiceManager", "updateQuorumThresholdPercentage", 1)
    await chain.sender(w3).send(Call(chain.deployment.mach_service_manager, data, "set the threshold"))


@pytest.mark.timeout(180)
async def test_limits_are_close_above_what_is_used(crowd: DeployedChain) -> None:
    async with connection(crowd.anvil.url, CHAIN_ID) as w3:
        await accept_one_percent(w3, crowd)
        for non_signers, seed in itertools.product((0, 1, 2, 10, 50), range(3)):
            alert = keccak256(bytes([non_signers, seed]))
            used, limit = await used_and_limit(w3, crowd, b"\x00", crowd.operators[non_signers:], alert)
            assert 0.70 <= used / limit <= 0.90


@pytest.mark.timeout(180)
async def test_limits_hold_for_several_quorums(anvil: Anvil) -> None:
    numbers = b"\x00\x01\x02"
    async with connection(anvil.url, CHAIN_ID) as w3:
        sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
        deployment = await deploy(
            sender, MachParameters((ROLLUP_CHAIN_ID,)), quorums=(QuorumParameters(),) * len(numbers)
        )
        chain = DeployedChain(anvil, deployment, make_operators(8))
        await fund_and_allow(sender, deployment, chain.operators)
        for operator in chain.operators:
            own = chain.sender(w3, operator.account)
            await operators.register_with_eigenlayer(own, deployment)
            await operators.deposit_into_strategy(own, deployment, STAKE_WEI)
            await operators.register_with_avs(own, deployment, operator.bls_key, quorum_numbers=numbers, socket="x")
        anvil.mine(2)
        await accept_one_percent(w3, chain)
        for quorums, non_signers in itertools.product((1, 2, 3), (0, 1, 7)):
            alert = keccak256(bytes([quorums, non_signers]))
            used, limit = await used_and_limit(w3, chain, numbers[:quorums], chain.operators[non_signers:], alert)
            assert 0.65 <= used / limit <= 0.90


@pytest.mark.timeout(180)
async def test_indices_of_a_crowd_are_the_contracts(crowd: DeployedChain) -> None:
    luck = random.Random(1)
    async with connection(crowd.anvil.url, CHAIN_ID) as w3:
        settlement = Settlement.build(
            w3, crowd.deployment, DEPLOYER, SettlementSettings(b"\x00", ROLLUP_CHAIN_ID, CHAIN_ID)
        )
        await settlement.start()
        current = settlement.operators.current()
        registry = OperatorRegistry(w3, crowd.deployment)
        for _ in range(20):
            subset = sorted(luck.sample(sorted(current.operators.members), luck.randrange(OPERATORS + 1)))
            read = await registry.check_signatures_indices(current.reference_block, b"\x00", subset)
            assert current.operators.check_signatures_indices(subset) == read
