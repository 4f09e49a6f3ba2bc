"""EigenLayer's M2 core contracts: where they stand, and their deployment on a development chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mach.chain.blocks import latest_block
from mach.chain.contract_deployer import ContractDeployer
from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from mach.chain.sender import TransactionSender

DEVNET_CHAIN_ID = 31337
"""The chain id of anvil and hardhat: core is deployed there without asking."""

MINIMUM_WITHDRAWAL_DELAY_BLOCKS = 50_400
"""Seven days of 12-second blocks, as on mainnet."""

TOKEN_SUPPLY_WEI = 10**30


class CoreDeploymentRefusedError(ConfigurationError):
    """Deploying EigenLayer's core was asked for on a chain that is not a development chain."""


@dataclass(frozen=True, slots=True)
class CoreAddresses:
    """EigenLayer's core on one chain, with the strategy and token that operators restake (checksum addresses)."""

    delegation_manager: str
    strategy_manager: str
    avs_directory: str
    strategy: str
    token: str | None


async def deploy_core(sender: TransactionSender, *, allow_any_chain: bool = False) -> CoreAddresses:
    """Deploys the M2 core with one mock token and one whitelisted strategy; the sender owns and pauses everything.

    A deployment of our own on a public chain would be an island that no restaker uses: unless `allow_any_chain`, chains
    other than 31337 are refused with `CoreDeploymentRefusedError`. The whole token supply goes to the sender.
    """
    if sender.chain_id != DEVNET_CHAIN_ID and not allow_any_chain:
        raise CoreDeploymentRefusedError(
            f"EigenLayer's core is only deployed on chain id {DEVNET_CHAIN_ID}, this is {sender.chain_id}: give the "
            f"addresses of the existing core, or allow it with --allow-core"
        )
    deploy = ContractDeployer(sender)
    owner = sender.address
    block = await latest_block(sender.w3)

    admin, pausers, empty, deposit_contract, token = await deploy.create_all(
        ("ProxyAdmin",),
        ("PauserRegistry", [owner], owner),
        ("EmptyContract",),
        ("ETHPOSDepositMock",),
        ("ERC20PresetFixedSupply", "Mach devnet token", "MDT", TOKEN_SUPPLY_WEI, owner),
    )
    delegation, strategies, slasher, pods, directory = await deploy.create_all(
        *[("TransparentUpgradeableProxy", empty, admin, b"")] * 5
    )
    pod, delegation_code, strategies_code, slasher_code, directory_code, strategy_code = await deploy.create_all(
        ("EigenPod", deposit_contract, pods, block.timestamp),
        ("DelegationManager", strategies, slasher, pods),
        ("StrategyManager", delegation, pods, slasher),
        ("Slasher", strategies, delegation),
        ("AVSDirectory", delegation),
        ("StrategyBase", strategies),
    )
    beacon, strategy = await deploy.create_all(
        ("UpgradeableBeacon", pod),
        (
            "TransparentUpgradeableProxy",
            strategy_code,
            admin,
            deploy.encode("StrategyBase", "initialize", token, pausers),
        ),
    )
    (pods_code,) = await deploy.create_all(
        ("EigenPodManager", deposit_contract, beacon, strategies, slasher, delegation)
    )
    await deploy.upgrade_all(
        admin,
        (
            delegation,
            delegation_code,
            deploy.encode(
                "DelegationManager", "initialize", owner, pausers, 0, MINIMUM_WITHDRAWAL_DELAY_BLOCKS, [], []
            ),
        ),
        (
            strategies,
            strategies_code,
            deploy.encode("StrategyManager", "initialize", owner, owner, pausers, 0),
        ),
        (slasher, slasher_code, deploy.encode("Slasher", "initialize", owner, pausers, 0)),
        (pods, pods_code, deploy.encode("EigenPodManager", "initialize", owner, pausers, 0)),
        (directory, directory_code, deploy.encode("AVSDirectory", "initialize", owner, pausers, 0)),
    )
    await deploy.call("StrategyManager", strategies, "addStrategiesToDepositWhitelist", [strategy], [False])
    return CoreAddresses(delegation, strategies, directory, strategy, token)
