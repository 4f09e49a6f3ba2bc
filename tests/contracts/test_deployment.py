"""`mach.chain.deployment` on a real anvil: wiring, parameters, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.deployed_chain import CHAIN_ID, DEPLOYER, ROLLUP_CHAIN_ID, Anvil, DeployedChain

from mach.chain.connection import connection
from mach.chain.contracts import contract_at
from mach.chain.deployment import (
    CoreAddresses,
    CoreDeploymentRefusedError,
    MachParameters,
    QuorumParameters,
    deploy,
    deploy_core,
)
from mach.chain.errors import ContractNotFoundError, InsufficientFundsError
from mach.chain.sender import TransactionSender

if TYPE_CHECKING:
    from mach.chain.connection import L1Client

ADDRESS_SLOT = 0xB53127684A568B3173AE13B9F8A6016E243E63B6E8EE1178D6A717850B5D6103
"""ERC-1967: where a proxy keeps its admin."""


async def read(w3: L1Client, name: str, address: str, function: str, *arguments: Any) -> Any:
    return await contract_at(w3, name, address).functions[function](*arguments).call()


async def test_the_contracts_know_each_other(chain: DeployedChain, w3: L1Client) -> None:
    where = chain.deployment
    coordinator, manager = where.registry_coordinator, where.mach_service_manager
    assert await read(w3, "RegistryCoordinator", coordinator, "serviceManager") == manager
    assert await read(w3, "RegistryCoordinator", coordinator, "stakeRegistry") == where.stake_registry
    assert await read(w3, "RegistryCoordinator", coordinator, "blsApkRegistry") == where.apk_registry
    assert await read(w3, "RegistryCoordinator", coordinator, "indexRegistry") == where.index_registry
    assert await read(w3, "RegistryCoordinator", coordinator, "pauserRegistry") == where.pauser_registry
    assert await read(w3, "StakeRegistry", where.stake_registry, "delegation") == where.delegation_manager
    assert await read(w3, "MachServiceManager", manager, "registryCoordinator") == coordinator
    assert await read(w3, "MachServiceManager", manager, "avsDirectory") == where.avs_directory
    assert await read(w3, "MachServiceManager", manager, "pauserRegistry") == where.pauser_registry
    assert await read(w3, "MachServiceManager", manager, "owner") == DEPLOYER.address
    assert await read(w3, "MachServiceManager", manager, "alertConfirmer") == DEPLOYER.address
    assert await read(w3, "MachServiceManager", manager, "quorumThresholdPercentage") == 66
    registry = where.require("mach_service_manager_registry")
    assert await read(w3, "MachServiceManagerRegistry", registry, "serviceManagers", ROLLUP_CHAIN_ID) == manager
    assert await read(w3, "StrategyBase", where.require("strategy"), "underlyingToken") == where.token
    for proxy in (where.registry_coordinator, where.stake_registry, where.apk_registry, where.index_registry):
        word = await w3.eth.get_storage_at(w3.to_checksum_address(proxy), ADDRESS_SLOT)
        assert w3.to_checksum_address(bytes(word)[-20:]) == where.mach_avs_proxy_admin
    assert where.settlement_chain_id == CHAIN_ID
    assert where.deployment_block == 0


async def test_parameters_reach_the_contracts(anvil: Anvil) -> None:
    confirmer, whitelister = "0x" + "11" * 20, "0x" + "22" * 20
    async with connection(anvil.url, CHAIN_ID) as w3:
        where = await deploy(
            TransactionSender(w3, DEPLOYER, CHAIN_ID),
            MachParameters((10, 8453), 75, alert_confirmer=confirmer, whitelister=whitelister),
            quorums=(QuorumParameters(minimum_stake_wei=5, max_operator_count=7), QuorumParameters()),
        )
        manager, stakes = where.mach_service_manager, where.stake_registry
        assert await read(w3, "MachServiceManager", manager, "quorumThresholdPercentage") == 75
        assert await read(w3, "MachServiceManager", manager, "alertConfirmer") == confirmer
        assert await read(w3, "MachServiceManager", manager, "whitelister") == whitelister
        assert await read(w3, "MachServiceManager", manager, "rollupChainIDs", 10) is True
        assert await read(w3, "MachServiceManager", manager, "rollupChainIDs", 8453) is True
        assert await read(w3, "MachServiceManager", manager, "rollupChainIDs", ROLLUP_CHAIN_ID) is False
        assert await read(w3, "RegistryCoordinator", where.registry_coordinator, "quorumCount") == 2
        assert await read(w3, "StakeRegistry", stakes, "minimumStakeForQuorum", 0) == 5
        assert await read(w3, "StakeRegistry", stakes, "minimumStakeForQuorum", 1) == 10**18
        limits = await read(w3, "RegistryCoordinator", where.registry_coordinator, "getOperatorSetParams", 0)
        assert limits[0] == 7


async def test_a_second_avs_stands_on_the_same_core(chain: DeployedChain, w3: L1Client) -> None:
    first = chain.deployment
    core = CoreAddresses(
        delegation_manager=first.require("delegation_manager"),
        strategy_manager=first.require("strategy_manager"),
        avs_directory=first.require("avs_directory"),
        strategy=first.require("strategy"),
        token=None,
    )
    second = await deploy(chain.sender(w3), MachParameters((10,)), core=core)
    assert second.delegation_manager == first.delegation_manager
    assert second.mach_service_manager != first.mach_service_manager
    assert await read(w3, "StakeRegistry", second.stake_registry, "delegation") == first.delegation_manager


async def test_a_core_address_without_code_is_named(chain: DeployedChain, w3: L1Client) -> None:
    nowhere = "0x" + "33" * 20
    core = CoreAddresses(
        delegation_manager=chain.deployment.require("delegation_manager"),
        strategy_manager=chain.deployment.require("strategy_manager"),
        avs_directory=nowhere,
        strategy=chain.deployment.require("strategy"),
        token=None,
    )
    before = chain.anvil.block_number()
    with pytest.raises(ContractNotFoundError, match=f"AVSDirectory {nowhere} has no code"):
        await deploy(chain.sender(w3), MachParameters((10,)), core=core)
    assert chain.anvil.block_number() == before


async def test_core_is_for_development_chains_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.contracts.deployed_chain import running_anvil

    with running_anvil(tmp_path_factory.mktemp("other"), "--chain-id", "17000") as node:
        async with connection(node.url, 17000) as w3:
            sender = TransactionSender(w3, DEPLOYER, 17000)
            with pytest.raises(CoreDeploymentRefusedError, match="this is 17000"):
                await deploy(sender, MachParameters((10,)))
            assert node.block_number() == 0
            core = await deploy_core(sender, allow_any_chain=True)
            assert await read(w3, "DelegationManager", core.delegation_manager, "owner") == DEPLOYER.address


async def test_an_unfunded_deployer_is_told_so(anvil: Anvil) -> None:
    anvil.rpc("anvil_setBalance", DEPLOYER.address, "0x0")
    async with connection(anvil.url, CHAIN_ID) as w3:
        with pytest.raises(InsufficientFundsError, match=DEPLOYER.address):
            await deploy(TransactionSender(w3, DEPLOYER, CHAIN_ID), MachParameters((10,)))
