"""Deploys Mach on a settlement chain: EigenLayer's core where it may, the middleware, and our own contracts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mach.chain.blocks import latest_block
from mach.chain.connection import require_code
from mach.chain.contract_deployer import ContractDeployer
from mach.chain.deploy_output import DeployOutput, DeployOutputError
from mach.chain.eigenlayer_core import CoreAddresses, CoreDeploymentRefusedError, deploy_core
from mach.chain.eigenlayer_middleware import MiddlewareAddresses, QuorumParameters, deploy_middleware
from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.chain.sender import TransactionSender

__all__ = [
    "CoreAddresses",
    "CoreDeploymentRefusedError",
    "DeployOutput",
    "DeployOutputError",
    "MachParameters",
    "MiddlewareAddresses",
    "QuorumParameters",
    "allow_operators",
    "deploy",
    "deploy_core",
    "deploy_mach",
    "deploy_middleware",
]

DEFAULT_QUORUM_THRESHOLD_PERCENT = 66
"""What the original's deployment sets: two of three equal operators confirm an alert."""


@dataclass(frozen=True, slots=True)
class MachParameters:
    """How a `MachServiceManager` is initialized; a role that is None goes to the deployer (checksum addresses)."""

    rollup_chain_ids: tuple[int, ...]
    quorum_threshold_percent: int = DEFAULT_QUORUM_THRESHOLD_PERCENT
    alert_confirmer: str | None = None
    whitelister: str | None = None

    def __post_init__(self) -> None:
        if not self.rollup_chain_ids:
            raise ConfigurationError("no rollup chain id given: name at least one rollup to watch")
        for chain_id in self.rollup_chain_ids:
            if not 0 < chain_id < 2**256:
                raise ConfigurationError(f"rollup chain id {chain_id} must be between 1 and 2^256 - 1")
        if not 1 <= self.quorum_threshold_percent <= 100:
            raise ConfigurationError(f"quorum threshold {self.quorum_threshold_percent} must be 1 to 100 percent")


async def deploy(
    sender: TransactionSender,
    mach: MachParameters,
    *,
    core: CoreAddresses | None = None,
    quorums: tuple[QuorumParameters, ...] = (QuorumParameters(),),
    allow_core: bool = False,
) -> DeployOutput:
    """Deploys everything that a chain lacks for Mach and returns where it stands.

    Without `core` EigenLayer's own core is deployed too: on chain id 31337, elsewhere only with `allow_core`
    (`CoreDeploymentRefusedError`). Raises `RevertedError` with step and reason, `InsufficientFundsError`,
    `L1UnavailableError`, and `ContractNotFoundError` when a given core address holds no code.
    """
    start = (await latest_block(sender.w3)).number
    if core is None:
        core = await deploy_core(sender, allow_any_chain=allow_core)
    else:
        await require_code(sender.w3, core.delegation_manager, "DelegationManager")
        await require_code(sender.w3, core.strategy_manager, "StrategyManager")
        await require_code(sender.w3, core.avs_directory, "AVSDirectory")
        await require_code(sender.w3, core.strategy, "the restakeable strategy")
    middleware = await deploy_middleware(sender, core, quorums)
    registry, manager_admin = await deploy_mach(sender, core, middleware, mach)
    return DeployOutput(
        mach_service_manager=middleware.service_manager,
        mach_avs_proxy_admin=middleware.proxy_admin,
        registry_coordinator=middleware.registry_coordinator,
        stake_registry=middleware.stake_registry,
        apk_registry=middleware.apk_registry,
        index_registry=middleware.index_registry,
        operator_state_retriever=middleware.operator_state_retriever,
        pauser_registry=middleware.pauser_registry,
        mach_service_manager_registry=registry,
        mach_service_manager_proxy_admin=manager_admin,
        delegation_manager=core.delegation_manager,
        strategy_manager=core.strategy_manager,
        avs_directory=core.avs_directory,
        strategy=core.strategy,
        token=core.token,
        deployment_block=int(start),
        settlement_chain_id=sender.chain_id,
    )


async def deploy_mach(
    sender: TransactionSender, core: CoreAddresses, middleware: MiddlewareAddresses, parameters: MachParameters
) -> tuple[str, str]:
    """Puts `MachServiceManager` behind its proxy and registers it for each of its rollups.

    Returns the addresses of the `MachServiceManagerRegistry` (a proxy) and of the service manager's proxy admin.
    """
    deployer = ContractDeployer(sender)
    manager, registry_code = await deployer.create_all(
        # The constructor asks the coordinator for its registries: it can only run after the middleware is initialized.
        (
            "MachServiceManager",
            core.avs_directory,
            middleware.registry_coordinator,
            middleware.stake_registry,
        ),
        ("MachServiceManagerRegistry",),
    )
    initializer = deployer.encode(
        "MachServiceManager",
        "initialize",
        middleware.pauser_registry,
        0,
        sender.address,
        parameters.alert_confirmer or sender.address,
        parameters.whitelister or sender.address,
        list(parameters.rollup_chain_ids),
    )
    manager_admin = await deployer.proxy_admin_of(middleware.service_manager)
    await deployer.upgrade_all(manager_admin, (middleware.service_manager, manager, initializer))
    (registry,) = await deployer.create_all(
        ("MachProxy", registry_code, sender.address, deployer.encode("MachServiceManagerRegistry", "initialize"))
    )
    calls: list[tuple[object, ...]] = [
        ("MachServiceManagerRegistry", registry, "registerServiceManager", chain_id, middleware.service_manager)
        for chain_id in parameters.rollup_chain_ids
    ]
    if parameters.quorum_threshold_percent != DEFAULT_QUORUM_THRESHOLD_PERCENT:
        calls.append(
            (
                "MachServiceManager",
                middleware.service_manager,
                "updateQuorumThresholdPercentage",
                parameters.quorum_threshold_percent,
            )
        )
    await deployer.call_all(calls)
    return registry, manager_admin


async def allow_operators(sender: TransactionSender, deployment: DeployOutput, operators: Sequence[str]) -> None:
    """Puts operators on the service manager's allowlist; the sender must be its whitelister.

    Raises `RevertedError`: `NotWhitelister()`, or `AlreadyInAllowlist()` for an operator who is on it.
    """
    await ContractDeployer(sender).call(
        "MachServiceManager", deployment.mach_service_manager, "allowOperators", list(operators)
    )
