"""The followed operator set against what the contracts answer, through every kind of change."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

import pytest
from eth_abi.abi import encode
from tests.contracts.deployed_chain import (
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    STAKE_WEI,
    DeployedChain,
    fund_and_allow,
    make_operators,
    register,
)
from tests.contracts.l1_proxy import l1_proxy

from mach import bls
from mach.chain import operators
from mach.chain.connection import connection
from mach.chain.contracts import encode_call
from mach.chain.deployment import MachParameters, QuorumParameters, allow_operators, deploy
from mach.chain.errors import L1UnavailableError, RevertedError
from mach.chain.head_follower import HeadFollower, NoHeadError
from mach.chain.operator_set import NoSignatureError
from mach.chain.operator_set_follower import OperatorSetFollower, OperatorSetUnknownError
from mach.chain.registry import OperatorKeyUnknownError, OperatorRegistry
from mach.chain.sender import TransactionSender
from mach.chain.transaction import Call

if TYPE_CHECKING:
    from tests.contracts.deployed_chain import Anvil, Operator

    from mach.chain.connection import L1Client
    from mach.chain.deploy_output import DeployOutput
    from mach.chain.indexed_operator_set import IndexedOperatorSet


def followed(
    w3: L1Client, deployment: DeployOutput, quorum_numbers: bytes = b"\x00"
) -> tuple[HeadFollower, OperatorSetFollower]:
    follower = OperatorSetFollower(w3, deployment, quorum_numbers)
    return HeadFollower(w3, [follower]), follower


async def assert_as_the_contracts_say(
    w3: L1Client, deployment: DeployOutput, held: IndexedOperatorSet, block: int, seed: int = 0
) -> None:
    """Members, stakes and keys as the registry reads them, and indices of random subsets as the retriever answers."""
    registry = OperatorRegistry(w3, deployment)
    read = await registry.operator_set(held.quorum_numbers, block)
    assert dict(held.members) == dict(read.members)
    assert held.total_stakes == read.total_stakes
    assert held.quorum_apks == read.quorum_apks
    luck = random.Random(seed)
    for size in {0, 1, len(held.members) // 2, len(held.members)}:
        subset = sorted(luck.sample(sorted(held.members), min(size, len(held.members))))
        assert held.check_signatures_indices(subset) == await registry.check_signatures_indices(
            block, held.quorum_numbers, subset
        )


async def leave(chain: DeployedChain, w3: L1Client, operator: Operator) -> None:
    await operators.deregister_from_avs(chain.sender(w3, operator.account), chain.deployment)


async def join(chain: DeployedChain, w3: L1Client, operator: Operator) -> None:
    sender = chain.sender(w3, operator.account)
    await operators.register_with_avs(sender, chain.deployment, operator.bls_key, socket="127.0.0.1:8091")


async def update_stake(chain: DeployedChain, w3: L1Client, operator: Operator, more_wei: int) -> None:
    """A deposit, which the AVS counts once somebody tells it to look."""
    await operators.deposit_into_strategy(chain.sender(w3, operator.account), chain.deployment, more_wei)
    data = encode_call(w3, "RegistryCoordinator", "updateOperators", [operator.account.address])
    await chain.sender(w3).send(Call(chain.deployment.registry_coordinator, data, "update the stake"))


async def test_the_reference_block_is_the_heads_parent(chain: DeployedChain, w3: L1Client) -> None:
    heads, follower = followed(w3, chain.deployment)
    with pytest.raises(NoHeadError):
        follower.current()
    for _ in range(3):
        await heads.poll()
        current = follower.current()
        assert current.reference_block == chain.anvil.block_number() - 1
        await assert_as_the_contracts_say(w3, chain.deployment, current.operators, current.reference_block)
        chain.anvil.mine(1)
    assert follower.sets_read == 2


async def test_heads_that_change_nothing_cost_one_request(chain: DeployedChain) -> None:
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        heads, follower = followed(w3, chain.deployment)
        await heads.poll()
        first = follower.current().operators
        for blocks in (1, 1, 5, 0, 300):
            if blocks:
                chain.anvil.mine(blocks)
            proxy.requests.clear()
            await heads.poll()
            assert len(proxy.requests) == 1
            assert follower.current().operators is first
        assert follower.at(heads.head.number - 100) is first


async def test_a_head_that_changes_the_set_costs_two_requests(chain: DeployedChain, w3: L1Client) -> None:
    newcomer, leaver = make_operators(1, first=50)[0], chain.operators[0]
    await fund_and_allow(chain.sender(w3), chain.deployment, [newcomer])
    sender = chain.sender(w3, newcomer.account)
    await operators.register_with_eigenlayer(sender, chain.deployment)
    await operators.deposit_into_strategy(sender, chain.deployment, STAKE_WEI)
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as counted:
        heads, follower = followed(counted, chain.deployment)
        await heads.poll()
        sets = [follower.current().operators]
        for change in (
            join(chain, w3, newcomer),
            update_stake(chain, w3, chain.operators[1], STAKE_WEI // 2),
            leave(chain, w3, leaver),
            join(chain, w3, leaver),
        ):
            await change
            changed_at = chain.anvil.block_number()
            proxy.requests.clear()
            await heads.poll()
            assert len(proxy.requests) == 2
            # The head's parent still has the set of before.
            assert follower.current().operators is sets[-1]
            chain.anvil.mine(1)
            proxy.requests.clear()
            await heads.poll()
            assert len(proxy.requests) == 1
            current = follower.current()
            assert current.reference_block == changed_at
            sets.append(current.operators)
            await assert_as_the_contracts_say(w3, chain.deployment, current.operators, changed_at)
            assert follower.at(changed_at - 1) is sets[-2]
        assert len({held.set_id for held in sets}) == 5
        # Who left and came back has the same stake, at other places of the histories.
        assert sets[2].members == sets[4].members


async def test_several_changes_between_two_turns(chain: DeployedChain, w3: L1Client) -> None:
    heads, follower = followed(w3, chain.deployment)
    await heads.poll()
    start = chain.anvil.block_number()
    for operator in chain.operators[:2]:
        await leave(chain, w3, operator)
        chain.anvil.mine(1)
    await join(chain, w3, chain.operators[0])
    await heads.poll()
    head = chain.anvil.block_number()
    current = follower.current()
    await assert_as_the_contracts_say(w3, chain.deployment, current.operators, head - 1)
    for block in range(start - 1, head + 1):
        held = await follower.read_at(block)
        await assert_as_the_contracts_say(w3, chain.deployment, held, block)
        assert follower.at(block) is held


async def test_older_blocks_are_read_when_asked_for(chain: DeployedChain, w3: L1Client) -> None:
    before = chain.anvil.block_number()
    await leave(chain, w3, chain.operators[0])
    chain.anvil.mine(5)
    heads, follower = followed(w3, chain.deployment)
    with pytest.raises(OperatorSetUnknownError, match=f"block {before} is after the followed head"):
        await follower.read_at(before)
    await heads.poll()
    assert follower.at(before) is None
    held = await follower.read_at(before)
    assert len(held.members) == 3
    assert follower.at(before) is held
    with pytest.raises(OperatorSetUnknownError):
        await follower.read_at(heads.head.number + 1)
    with pytest.raises(RevertedError):
        await follower.read_at(1)


async def test_two_followers_name_a_set_alike(chain: DeployedChain, w3: L1Client) -> None:
    first_heads, first = followed(w3, chain.deployment)
    await first_heads.poll()
    chain.anvil.mine(7)
    second_heads, second = followed(w3, chain.deployment)
    await first_heads.poll()
    await second_heads.poll()
    assert first.current().operators.set_id == second.current().operators.set_id < 2**63


async def test_a_change_that_a_reorganisation_took_back(chain: DeployedChain, w3: L1Client) -> None:
    heads, follower = followed(w3, chain.deployment)
    await heads.poll()
    before = follower.current().operators
    snapshot = chain.anvil.rpc("evm_snapshot")
    common = chain.anvil.block_number()
    await leave(chain, w3, chain.operators[0])
    chain.anvil.mine(2)
    await heads.poll()
    assert len(follower.current().operators.members) == 2
    assert chain.anvil.rpc("evm_revert", snapshot)
    await leave(chain, w3, chain.operators[1])
    chain.anvil.rpc("anvil_mine", hex(4), hex(3))
    await heads.poll()
    assert heads.reorganisations == 1
    current = follower.current()
    assert chain.operators[0].operator_id in current.operators.members
    assert chain.operators[1].operator_id not in current.operators.members
    await assert_as_the_contracts_say(w3, chain.deployment, current.operators, current.reference_block)
    assert follower.at(common) is before


async def test_a_set_that_cannot_be_read_holds_the_head_back(chain: DeployedChain, w3: L1Client) -> None:
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as lied_to:
        heads, follower = followed(lied_to, chain.deployment)
        await heads.poll()
        before = follower.current()
        await leave(chain, w3, chain.operators[0])
        chain.anvil.mine(1)
        for lie in ("0x", "0x" + "00" * 31, "0x" + "ff" * 320, None, [], 7):
            proxy.tamper = lambda call, answer, lie=lie: (
                {**answer, "result": lie} if call["method"] == "eth_call" else answer
            )
            with pytest.raises(L1UnavailableError):
                await heads.poll()
            assert follower.current() == before
        proxy.tamper = None
        await heads.poll()
        assert len(follower.current().operators.members) == 2


async def test_a_key_that_the_logs_lack_is_named(chain: DeployedChain, w3: L1Client) -> None:
    chain.anvil.mine(50)
    late = dataclasses.replace(chain.deployment, deployment_block=chain.anvil.block_number())
    heads, _ = followed(w3, late)
    with pytest.raises(OperatorKeyUnknownError, match="deploymentBlock"):
        await heads.poll()


async def test_any_signers_aggregate_to_the_sum_of_their_keys(chain: DeployedChain, w3: L1Client) -> None:
    heads, follower = followed(w3, chain.deployment)
    await heads.poll()
    held = follower.current().operators
    registry = OperatorRegistry(w3, chain.deployment)
    plain = await registry.operator_set(b"\x00", held.reference_block)
    digest = b"\x07" * 32
    signatures = {one.operator_id: one.bls_key.sign(digest).to_bytes() for one in chain.operators}
    for chosen in range(1, 8):
        signed_by = {
            operator_id: signature
            for place, (operator_id, signature) in enumerate(sorted(signatures.items()))
            if chosen >> place & 1
        }
        fast = held.non_signer_stakes_and_signature(signed_by)
        assert fast == await registry.non_signer_stakes_and_signature(plain, signed_by)
        assert fast == await registry.non_signer_stakes_and_signature(held, signed_by)
        assert bls.Signature.from_bytes(fast.sigma).verify(bls.PublicKeyG2.from_bytes(fast.apk_g2), digest)
    with pytest.raises(NoSignatureError, match="none of 1 signatures"):
        held.non_signer_stakes_and_signature({b"\x01" * 32: b""})


async def test_columns_are_sorted_by_operator(chain: DeployedChain, w3: L1Client) -> None:
    heads, follower = followed(w3, chain.deployment)
    await heads.poll()
    columns = follower.current().operators.columns()
    in_order = sorted(chain.operators, key=lambda one: one.operator_id)
    assert columns.operator_ids == b"".join(one.operator_id for one in in_order)
    assert columns.public_keys_g2 == b"".join(one.bls_key.public_key_g2.to_bytes() for one in in_order)
    assert (columns.stakes, columns.totals) == ([[STAKE_WEI] * 3], [3 * STAKE_WEI])


async def test_everyone_may_leave(chain: DeployedChain, w3: L1Client) -> None:
    heads, follower = followed(w3, chain.deployment)
    await heads.poll()
    for operator in chain.operators:
        await leave(chain, w3, operator)
    chain.anvil.mine(1)
    await heads.poll()
    held = follower.current().operators
    assert dict(held.members) == {}
    assert held.total_stakes == {0: 0}
    assert held.quorum_apks == (bytes(64),)


async def test_two_quorums_with_different_members(anvil: Anvil) -> None:
    both, first_only, second_only = make_operators(3)
    async with connection(anvil.url, CHAIN_ID) as w3:
        sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
        deployment = await deploy(
            sender, MachParameters((ROLLUP_CHAIN_ID,)), quorums=(QuorumParameters(), QuorumParameters())
        )
        heads, follower = followed(w3, deployment, b"\x00\x01")
        await heads.poll()
        assert dict(follower.current().operators.members) == {}
        for operator, quorums in ((both, b"\x00\x01"), (first_only, b"\x00"), (second_only, b"\x01")):
            await operators.fund_operators(
                sender, deployment, [operator.account.address], ether_wei=10**18, tokens_wei=STAKE_WEI
            )
            await allow_operators(sender, deployment, [operator.account.address])
            own = TransactionSender(w3, operator.account, CHAIN_ID)
            await operators.register_with_eigenlayer(own, deployment)
            await operators.deposit_into_strategy(own, deployment, STAKE_WEI)
            await operators.register_with_avs(own, deployment, operator.bls_key, quorum_numbers=quorums)
            anvil.mine(1)
            await heads.poll()
            current = follower.current()
            await assert_as_the_contracts_say(w3, deployment, current.operators, current.reference_block)
        digest = b"\x07" * 32
        registry = OperatorRegistry(w3, deployment)
        plain = await registry.operator_set(b"\x00\x01", current.reference_block)
        for signers in ([both], [both, second_only], [both, first_only, second_only]):
            signatures = {one.operator_id: one.bls_key.sign(digest).to_bytes() for one in signers}
            assert current.operators.non_signer_stakes_and_signature(
                signatures
            ) == await registry.non_signer_stakes_and_signature(plain, signatures)
        # A change of a quorum that is not followed moves nobody's stake, but a member's place in the bitmaps' history.
        first_heads, first = followed(w3, deployment, b"\x00")
        await first_heads.poll()
        before = first.current().operators
        data = encode_call(w3, "RegistryCoordinator", "deregisterOperator", b"\x01")
        own = TransactionSender(w3, both.account, CHAIN_ID)
        await own.send(Call(deployment.registry_coordinator, data, "leave the second quorum"))
        anvil.mine(1)
        await first_heads.poll()
        after = first.current().operators
        assert after.members == before.members
        assert after.set_id != before.set_id
        await assert_as_the_contracts_say(w3, deployment, after, anvil.block_number() - 1)


async def test_only_stakes_of_followed_quorums_count_as_changes(chain: DeployedChain, w3: L1Client) -> None:
    """An event of another quorum's stake, as the node would send it, reads nothing anew."""
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as lied_to:
        heads, follower = followed(lied_to, chain.deployment)
        await heads.poll()
        await update_stake(chain, w3, chain.operators[0], 5)
        read = follower.sets_read

        def other_quorum(call: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
            if call["method"] != "eth_getLogs":
                return answer
            data = "0x" + encode(["uint8", "uint96"], [9, 1]).hex()
            return {**answer, "result": [{**log, "data": data} for log in answer["result"]]}  # type: ignore[attr-defined]

        proxy.tamper = other_quorum
        assert await heads.poll()
        assert follower.sets_read == read


async def test_a_new_operator_is_followed_by_key_too(chain: DeployedChain, w3: L1Client) -> None:
    heads, follower = followed(w3, chain.deployment)
    await heads.poll()
    newcomer = make_operators(1, first=80)[0]
    await fund_and_allow(chain.sender(w3), chain.deployment, [newcomer])
    await register(w3, chain.deployment, newcomer)
    chain.anvil.mine(1)
    await heads.poll()
    assert follower.current().operators.members[newcomer.operator_id].public_key_g2 == newcomer.bls_key.public_key_g2
