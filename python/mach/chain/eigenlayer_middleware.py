"""EigenLayer's middleware v0.1.2 around one AVS: coordinator, registries, the service manager's proxy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mach.chain.contract_deployer import ContractDeployer
from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from mach.chain.eigenlayer_core import CoreAddresses
    from mach.chain.sender import TransactionSender

ETHER_WEI = 10**18
MULTIPLIER_ONE = 10**18
"""A strategy multiplier that counts one share as one unit of stake (`StakeRegistry.WEIGHTING_DIVISOR`)."""

_MAX_OPERATORS = 200
"""`OperatorStateRetriever` and the index registry are loops over operators: EigenLayer's own deployments use 200."""

_UINT96_MAX = 2**96 - 1
_BIPS = 10_000
_UINT16_MAX = 2**16 - 1


@dataclass(frozen=True, slots=True)
class QuorumParameters:
    """One quorum as `RegistryCoordinator.initialize` takes it.

    A full quorum lets an operator in who has `kick_bips_of_operator_stake` (basis points) of the smallest operator's
    stake when that one has less than `kick_bips_of_total_stake` of all; a churn approver must sign. `strategies` are
    (strategy address, multiplier) pairs; none stands for the core's one strategy at multiplier one.
    """

    minimum_stake_wei: int = ETHER_WEI
    max_operator_count: int = _MAX_OPERATORS
    kick_bips_of_operator_stake: int = 11_000
    kick_bips_of_total_stake: int = 1_001
    strategies: tuple[tuple[str, int], ...] = field(default=())

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_stake_wei <= _UINT96_MAX:
            raise ConfigurationError(f"minimum stake {self.minimum_stake_wei} wei does not fit in 96 bits")
        if not 1 <= self.max_operator_count < 2**32:
            raise ConfigurationError(f"operator max count {self.max_operator_count} must be 1 to {2**32 - 1}")
        # The contract reverts without a reason where these bounds do not hold.
        if not _BIPS < self.kick_bips_of_operator_stake <= _UINT16_MAX:
            raise ConfigurationError(
                f"kick bips of operator stake {self.kick_bips_of_operator_stake} must be above {_BIPS}"
            )
        if not 0 <= self.kick_bips_of_total_stake < _BIPS:
            raise ConfigurationError(f"kick bips of total stake {self.kick_bips_of_total_stake} must be below {_BIPS}")


@dataclass(frozen=True, slots=True)
class MiddlewareAddresses:
    """The middleware of one AVS (checksum addresses).

    `proxy_admin` administers the registries' proxies. `service_manager` is a `MachProxy` still without implementation,
    which has an admin of its own.
    """

    proxy_admin: str
    pauser_registry: str
    registry_coordinator: str
    stake_registry: str
    apk_registry: str
    index_registry: str
    operator_state_retriever: str
    service_manager: str


async def deploy_middleware(
    sender: TransactionSender,
    core: CoreAddresses,
    quorums: tuple[QuorumParameters, ...] = (QuorumParameters(),),
    *,
    churn_approver: str | None = None,
    ejector: str | None = None,
) -> MiddlewareAddresses:
    """Deploys the registries and initializes the quorums; the sender owns them, and is each role that is not given."""
    deploy = ContractDeployer(sender)
    owner = sender.address
    admin, pausers, empty, retriever = await deploy.create_all(
        ("ProxyAdmin",), ("PauserRegistry", [owner], owner), ("EmptyContract",), ("OperatorStateRetriever",)
    )
    coordinator, stakes, apks, indices, service_manager = await deploy.create_all(
        *[("TransparentUpgradeableProxy", empty, admin, b"")] * 4, ("MachProxy", empty, owner, b"")
    )
    stakes_code, apks_code, indices_code, coordinator_code = await deploy.create_all(
        ("StakeRegistry", coordinator, core.delegation_manager),
        ("BLSApkRegistry", coordinator),
        ("IndexRegistry", coordinator),
        ("RegistryCoordinator", service_manager, stakes, apks, indices),
    )
    await deploy.upgrade_all(admin, (stakes, stakes_code, b""), (apks, apks_code, b""), (indices, indices_code, b""))
    initializer = deploy.encode(
        "RegistryCoordinator",
        "initialize",
        owner,
        churn_approver or owner,
        ejector or owner,
        pausers,
        0,
        [(q.max_operator_count, q.kick_bips_of_operator_stake, q.kick_bips_of_total_stake) for q in quorums],
        [q.minimum_stake_wei for q in quorums],
        [list(q.strategies) or [(core.strategy, MULTIPLIER_ONE)] for q in quorums],
    )
    await deploy.upgrade_all(admin, (coordinator, coordinator_code, initializer))
    return MiddlewareAddresses(
        proxy_admin=admin,
        pauser_registry=pausers,
        registry_coordinator=coordinator,
        stake_registry=stakes,
        apk_registry=apks,
        index_registry=indices,
        operator_state_retriever=retriever,
        service_manager=service_manager,
    )
