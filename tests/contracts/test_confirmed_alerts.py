"""Alerts that stand on L1, known from events: what the contract holds, through removals and reorganisations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.contracts.deployed_chain import (
    ALERT,
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    DeployedChain,
    confirm,
    deploy_with_operators,
    make_operators,
)
from tests.contracts.l1_proxy import l1_proxy

from mach.chain.confirmed_alerts import ConfirmedAlert, ConfirmedAlerts
from mach.chain.connection import connection
from mach.chain.contracts import encode_call
from mach.chain.errors import L1UnavailableError, RevertedError
from mach.chain.head_follower import HeadFollower
from mach.chain.sender import TransactionSender
from mach.chain.transaction import Call

if TYPE_CHECKING:
    from tests.contracts.deployed_chain import Anvil

    from mach.chain.connection import L1Client
    from mach.chain.deploy_output import DeployOutput

OTHER_ROLLUP = 10


async def owner_calls(w3: L1Client, deployment: DeployOutput, function: str, *arguments: object) -> None:
    data = encode_call(w3, "MachServiceManager", function, *arguments)
    await TransactionSender(w3, DEPLOYER, CHAIN_ID).send(Call(deployment.mach_service_manager, data, function))


class Followed:
    """Alerts with their follower, and what listeners were told."""

    def __init__(self, w3: L1Client, deployment: DeployOutput, **settings: int) -> None:
        self.alerts = ConfirmedAlerts(w3, deployment, ROLLUP_CHAIN_ID, **settings)
        self.heads = HeadFollower(w3, [self.alerts])
        self.told: list[tuple[bytes, bool]] = []
        self.alerts.add_listener(self.tell)

    def tell(self, alert: ConfirmedAlert, stands: bool) -> None:
        self.told.append((alert.message_hash, stands))


async def test_a_confirmation_is_known_with_the_next_head(chain: DeployedChain, w3: L1Client) -> None:
    followed = Followed(w3, chain.deployment)
    await followed.heads.poll()
    assert followed.alerts.get(ALERT) is None
    assert ALERT not in followed.alerts
    receipt = await confirm(w3, chain.deployment, chain.operators)
    reference_block = receipt.block_number - 2
    await followed.heads.poll()
    found = followed.alerts.get(ALERT)
    assert found is not None
    assert (found.transaction_hash, found.block_number, found.block_hash, found.reference_block) == (
        receipt.transaction_hash,
        receipt.block_number,
        receipt.block_hash,
        reference_block,
    )
    assert found.removed_in_block is None
    assert followed.told == [(ALERT, True)]
    assert list(followed.alerts) == [found]


async def test_what_stood_before_the_start_is_known_from_the_start(chain: DeployedChain, w3: L1Client) -> None:
    await confirm(w3, chain.deployment, chain.operators)
    chain.anvil.mine(100)
    followed = Followed(w3, chain.deployment)
    await followed.heads.poll()
    assert ALERT in followed.alerts
    assert len(followed.alerts) == 1


async def test_a_removed_alert_is_known_as_such(chain: DeployedChain, w3: L1Client) -> None:
    followed = Followed(w3, chain.deployment)
    await followed.heads.poll()
    await confirm(w3, chain.deployment, chain.operators)
    await followed.heads.poll()
    snapshot = chain.anvil.rpc("evm_snapshot")
    await owner_calls(w3, chain.deployment, "removeAlert", ROLLUP_CHAIN_ID, ALERT)
    await followed.heads.poll()
    found = followed.alerts.get(ALERT)
    assert found is not None
    assert found.removed_in_block == chain.anvil.block_number()
    with pytest.raises(RevertedError, match="ResolvedAlert"):
        await confirm(w3, chain.deployment, chain.operators)
    chain.anvil.rpc("evm_revert", snapshot)
    chain.anvil.rpc("anvil_mine", "0x3", "0x7")
    await followed.heads.poll()
    found = followed.alerts.get(ALERT)
    assert found is not None
    assert found.removed_in_block is None
    assert followed.told == [(ALERT, True)]


async def test_a_confirmation_that_a_reorganisation_took_back(chain: DeployedChain, w3: L1Client) -> None:
    followed = Followed(w3, chain.deployment)
    await followed.heads.poll()
    snapshot = chain.anvil.rpc("evm_snapshot")
    await confirm(w3, chain.deployment, chain.operators)
    await followed.heads.poll()
    chain.anvil.rpc("evm_revert", snapshot)
    chain.anvil.rpc("anvil_mine", "0x3", "0x7")
    await followed.heads.poll()
    assert ALERT not in followed.alerts
    again = await confirm(w3, chain.deployment, chain.operators[:2])
    await followed.heads.poll()
    found = followed.alerts.get(ALERT)
    assert found is not None
    assert found.block_hash == again.block_hash
    assert followed.told == [(ALERT, True), (ALERT, False), (ALERT, True)]


async def test_a_restart_tells_only_what_changed(chain: DeployedChain, w3: L1Client) -> None:
    followed = Followed(w3, chain.deployment)
    await followed.heads.poll()
    for number in range(3):
        await confirm(w3, chain.deployment, chain.operators, alert=bytes([number + 1] * 32))
    await followed.heads.poll()
    followed.told.clear()
    await followed.alerts.restart(followed.heads.head)
    assert followed.told == []
    assert len(followed.alerts) == 3


async def test_alerts_of_other_rollups_are_not_ours(anvil: Anvil) -> None:
    chain = await deploy_with_operators(anvil, make_operators(3))
    async with connection(anvil.url, CHAIN_ID) as w3:
        await owner_calls(w3, chain.deployment, "setRollupChainID", OTHER_ROLLUP, True)
        anvil.mine(1)
        followed = Followed(w3, chain.deployment)
        await followed.heads.poll()
        await confirm(w3, chain.deployment, chain.operators, rollup_chain_id=OTHER_ROLLUP)
        await followed.heads.poll()
        assert ALERT not in followed.alerts
        await confirm(w3, chain.deployment, chain.operators)
        await followed.heads.poll()
        assert ALERT in followed.alerts


async def test_the_oldest_are_forgotten_beyond_the_bound(chain: DeployedChain, w3: L1Client) -> None:
    followed = Followed(w3, chain.deployment, bound=2)
    await followed.heads.poll()
    for number in range(3):
        await confirm(w3, chain.deployment, chain.operators, alert=bytes([number + 1] * 32))
        await followed.heads.poll()
    assert [alert.message_hash[0] for alert in followed.alerts] == [2, 3]


async def test_a_listener_can_leave(chain: DeployedChain, w3: L1Client) -> None:
    followed = Followed(w3, chain.deployment)
    await followed.heads.poll()
    followed.alerts.remove_listener(followed.tell)
    await confirm(w3, chain.deployment, chain.operators)
    await followed.heads.poll()
    assert followed.told == []


async def test_an_event_without_its_hash_takes_nothing_in(chain: DeployedChain, w3: L1Client) -> None:
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as lied_to:
        followed = Followed(lied_to, chain.deployment)
        await followed.heads.poll()
        await confirm(w3, chain.deployment, chain.operators)
        proxy.tamper = lambda call, answer: (
            {**answer, "result": [{**log, "data": "0x"} for log in answer["result"]]}
            if call["method"] == "eth_getLogs"
            else answer
        )
        with pytest.raises(L1UnavailableError, match="lacks its message hash"):
            await followed.heads.poll()
        proxy.tamper = None
        await followed.heads.poll()
        assert ALERT in followed.alerts
