"""What an operator does on L1: join EigenLayer, deposit, register its BLS key with the AVS, leave, and look at itself.

Registrations are idempotent: doing one again changes nothing and says so in `Outcome.changed`.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address

from mach.chain.blocks import latest_block
from mach.chain.connection import L1Client, request, require_code
from mach.chain.contracts import contract_at, encode_call
from mach.chain.errors import RevertedError
from mach.chain.json_rpc import RpcCall, call, quantity
from mach.chain.points import g1_bytes, g1_struct, g2_struct
from mach.chain.transaction import Call, Receipt
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.bls import SecretKey
    from mach.chain.deploy_output import DeployOutput
    from mach.chain.sender import TransactionSender

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"

SIGNATURE_VALIDITY_S = 3600
"""How long the operator's signature for the AVS directory stays usable."""


class OperatorError(MachError):
    """An operator's request cannot be carried out as things stand on chain."""


class NotRegisteredWithEigenLayerError(OperatorError):
    """The address is no EigenLayer operator."""


class OperatorNotAllowlistedError(OperatorError):
    """The service manager only takes operators on its allowlist, and this one is not."""


class InsufficientStakeError(OperatorError):
    """The operator's stake in a quorum is below the quorum's minimum."""


class InsufficientTokenBalanceError(OperatorError):
    """The operator has fewer tokens than it wants to deposit."""


class BlsKeyMismatchError(OperatorError):
    """The operator registered another BLS key before; the registry keeps one key for an address for ever."""


class RegistrationStatus(enum.Enum):
    """An operator's standing at the AVS, in the registry coordinator's numbering."""

    NEVER_REGISTERED = 0
    REGISTERED = 1
    DEREGISTERED = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request did: `changed` False when everything was so already (then there is no receipt)."""

    changed: bool
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class QuorumStanding:
    """An operator's stake in one quorum: what the AVS counts now, what it would count anew, and the least allowed."""

    quorum_number: int
    registered: bool
    current_stake_wei: int
    available_stake_wei: int
    minimum_stake_wei: int


@dataclass(frozen=True, slots=True)
class OperatorStatus:
    """Everything L1 knows of one operator. `operator_id` is 32 bytes, None before the BLS key is registered."""

    address: str
    balance_wei: int
    registered_with_eigenlayer: bool
    strategy_shares_wei: int | None
    allowlist_enabled: bool
    allowlisted: bool
    avs_status: RegistrationStatus
    operator_id: bytes | None
    quorums: tuple[QuorumStanding, ...]


async def register_with_eigenlayer(
    sender: TransactionSender,
    deployment: DeployOutput,
    *,
    metadata_uri: str = "",
    earnings_receiver: str | None = None,
    delegation_approver: str | None = None,
) -> Outcome:
    """Registers the sender as an EigenLayer operator; `earnings_receiver` None stands for the operator itself."""
    delegation = deployment.require("delegation_manager")
    await require_code(sender.w3, delegation, "DelegationManager")
    if await _is_eigenlayer_operator(sender.w3, delegation, sender.address):
        return Outcome(changed=False)
    details = (
        to_checksum_address(earnings_receiver or sender.address),
        to_checksum_address(delegation_approver or ZERO_ADDRESS),
        0,
    )
    data = encode_call(sender.w3, "DelegationManager", "registerAsOperator", details, metadata_uri)
    label = f"register {sender.address} with EigenLayer"
    return Outcome(changed=True, receipt=await sender.send(Call(delegation, data, label)))


async def deposit_into_strategy(
    sender: TransactionSender, deployment: DeployOutput, amount_wei: int, *, strategy: str | None = None
) -> Outcome:
    """Deposits `amount_wei` of the strategy's token, on top of earlier deposits; approves the transfer first.

    `strategy` None stands for the deployment's. Raises `InsufficientTokenBalanceError`, and `ContractNotFoundError`
    when the strategy's address holds no code.
    """
    if amount_wei <= 0:
        raise OperatorError(f"deposit amount {amount_wei} must be above 0 wei")
    manager = deployment.require("strategy_manager")
    target = to_checksum_address(strategy or deployment.require("strategy"))
    await asyncio.gather(
        require_code(sender.w3, manager, "StrategyManager"), require_code(sender.w3, target, "strategy")
    )
    strategy_contract = contract_at(sender.w3, "StrategyBase", target)
    token = await _read(sender.w3, strategy_contract, "underlyingToken")
    token_contract = contract_at(sender.w3, "ERC20PresetFixedSupply", token)
    balance, allowance = await asyncio.gather(
        _read(sender.w3, token_contract, "balanceOf", sender.address),
        _read(sender.w3, token_contract, "allowance", sender.address, manager),
    )
    if balance < amount_wei:
        raise InsufficientTokenBalanceError(
            f"{sender.address} has {balance} wei of token {token} and wants to deposit {amount_wei}: fund it first"
        )
    if allowance < amount_wei:
        approve = encode_call(sender.w3, "ERC20PresetFixedSupply", "approve", manager, amount_wei)
        await sender.send(Call(token, approve, f"approve {amount_wei} wei of token {token}"))
    deposit = encode_call(sender.w3, "StrategyManager", "depositIntoStrategy", target, token, amount_wei)
    label = f"deposit {amount_wei} wei into strategy {target}"
    return Outcome(changed=True, receipt=await sender.send(Call(manager, deposit, label)))


async def fund_operators(
    sender: TransactionSender, deployment: DeployOutput, operators: Sequence[str], *, ether_wei: int, tokens_wei: int
) -> None:
    """Sends each operator ether and tokens of the deployment's strategy from the sender's own holdings."""
    token = deployment.require("token")
    calls = []
    for operator in map(to_checksum_address, operators):
        if ether_wei:
            calls.append(Call(operator, b"", f"send {ether_wei} wei to {operator}", ether_wei))
        if tokens_wei:
            data = encode_call(sender.w3, "ERC20PresetFixedSupply", "transfer", operator, tokens_wei)
            calls.append(Call(token, data, f"send {tokens_wei} wei of token {token} to {operator}"))
    await sender.send_all(calls)


async def register_with_avs(
    sender: TransactionSender,
    deployment: DeployOutput,
    bls_key: SecretKey,
    *,
    socket: str = "",
    quorum_numbers: bytes = b"\x00",
) -> Outcome:
    """Registers the sender as operator, with its BLS key, in the quorums it is not yet in (one byte a quorum).

    The sender's account also signs for the AVS directory. Raises
    `NotRegisteredWithEigenLayerError`, `OperatorNotAllowlistedError`, `InsufficientStakeError`,
    `BlsKeyMismatchError`, and `RevertedError` for what only the contract can find.
    """
    w3 = sender.w3
    coordinator = contract_at(w3, "RegistryCoordinator", deployment.registry_coordinator)
    await require_code(w3, deployment.registry_coordinator, "RegistryCoordinator")
    status = await operator_status(w3, deployment, sender.address, quorum_numbers=quorum_numbers)
    operator_id = bls_key.public_key_g1.operator_id
    if status.operator_id is not None and status.operator_id != operator_id:
        raise BlsKeyMismatchError(
            f"operator {sender.address} registered the BLS key with id 0x{status.operator_id.hex()}, the given key has "
            f"0x{operator_id.hex()}: use the first key, or another operator address"
        )
    wanted = bytes(standing.quorum_number for standing in status.quorums if not standing.registered)
    if not wanted:
        return Outcome(changed=False)
    _check_admission(status, deployment, wanted)
    directory = contract_at(w3, "AVSDirectory", await _avs_directory(w3, deployment))
    salt = secrets.token_bytes(32)
    point, block = await asyncio.gather(
        _read(w3, coordinator, "pubkeyRegistrationMessageHash", sender.address),
        latest_block(w3),
    )
    expiry = block.timestamp + SIGNATURE_VALIDITY_S
    digest = await _read(
        w3,
        directory,
        "calculateOperatorAVSRegistrationDigestHash",
        sender.address,
        deployment.mach_service_manager,
        salt,
        expiry,
    )
    proof = (
        g1_struct(bls_key.sign_point(g1_bytes(point))),
        g1_struct(bls_key.public_key_g1.to_bytes()),
        g2_struct(bls_key.public_key_g2.to_bytes()),
    )
    signature = sender.sign_digest(digest)
    data = encode_call(w3, "RegistryCoordinator", "registerOperator", wanted, socket, proof, (signature, salt, expiry))
    label = f"register operator {sender.address} with the AVS"
    return Outcome(changed=True, receipt=await sender.send(Call(deployment.registry_coordinator, data, label)))


async def deregister_from_avs(
    sender: TransactionSender, deployment: DeployOutput, *, quorum_numbers: bytes = b"\x00"
) -> Outcome:
    """Takes the sender out of those of the quorums that it is in."""
    await require_code(sender.w3, deployment.registry_coordinator, "RegistryCoordinator")
    status = await operator_status(sender.w3, deployment, sender.address, quorum_numbers=quorum_numbers)
    present = bytes(standing.quorum_number for standing in status.quorums if standing.registered)
    if not present:
        return Outcome(changed=False)
    data = encode_call(sender.w3, "RegistryCoordinator", "deregisterOperator", present)
    label = f"deregister operator {sender.address} from the AVS"
    return Outcome(changed=True, receipt=await sender.send(Call(deployment.registry_coordinator, data, label)))


async def operator_status(
    w3: L1Client, deployment: DeployOutput, operator: str, *, quorum_numbers: bytes | None = None
) -> OperatorStatus:
    """What L1 knows of `operator`; `quorum_numbers` None stands for every quorum there is.

    Raises `ContractNotFoundError` when the deployment's contracts are not on this chain, and `OperatorError` for a
    quorum that does not exist.
    """
    address = to_checksum_address(operator)
    coordinator = contract_at(w3, "RegistryCoordinator", deployment.registry_coordinator)
    apks = contract_at(w3, "BLSApkRegistry", deployment.apk_registry)
    manager = contract_at(w3, "MachServiceManager", deployment.mach_service_manager)
    await asyncio.gather(
        require_code(w3, deployment.registry_coordinator, "RegistryCoordinator"),
        require_code(w3, deployment.mach_service_manager, "MachServiceManager"),
    )
    quorum_count, status, operator_id, allowlist_enabled, allowlisted, balance, delegation = await asyncio.gather(
        _read(w3, coordinator, "quorumCount"),
        _read(w3, coordinator, "getOperatorStatus", address),
        _read(w3, apks, "operatorToPubkeyHash", address),
        _read(w3, manager, "allowlistEnabled"),
        _read(w3, manager, "allowlist", address),
        call(w3, RpcCall("eth_getBalance", (address, "latest"), quantity), f"read the balance of {address}"),
        _delegation_manager(w3, deployment),
    )
    numbers = bytes(range(quorum_count)) if quorum_numbers is None else quorum_numbers
    for number in numbers:
        if number >= quorum_count:
            raise OperatorError(f"quorum {number} does not exist: the AVS has quorums 0 to {quorum_count - 1}")
    registered_id = bytes(operator_id) if any(operator_id) else None
    shares: int | None = None
    if deployment.strategy is not None:
        delegation_contract = contract_at(w3, "DelegationManager", delegation)
        shares = await _read(w3, delegation_contract, "operatorShares", address, deployment.strategy)
    return OperatorStatus(
        address=address,
        balance_wei=balance,
        registered_with_eigenlayer=await _is_eigenlayer_operator(w3, delegation, address),
        strategy_shares_wei=shares,
        allowlist_enabled=allowlist_enabled,
        allowlisted=allowlisted,
        avs_status=RegistrationStatus(status),
        operator_id=registered_id,
        quorums=await _standings(w3, deployment, address, registered_id, numbers),
    )


async def _standings(
    w3: L1Client, deployment: DeployOutput, address: str, operator_id: bytes | None, numbers: bytes
) -> tuple[QuorumStanding, ...]:
    stakes = contract_at(w3, "StakeRegistry", deployment.stake_registry)
    coordinator = contract_at(w3, "RegistryCoordinator", deployment.registry_coordinator)
    bitmap = 0 if operator_id is None else await _read(w3, coordinator, "getCurrentQuorumBitmap", operator_id)

    async def standing(number: int) -> QuorumStanding:
        minimum, available, current = await asyncio.gather(
            _read(w3, stakes, "minimumStakeForQuorum", number),
            _read(w3, stakes, "weightOfOperatorForQuorum", number, address),
            _read(w3, stakes, "getCurrentStake", operator_id or bytes(32), number),
        )
        return QuorumStanding(number, bool(bitmap >> number & 1), current, available, minimum)

    return tuple(await asyncio.gather(*(standing(number) for number in numbers)))


def _check_admission(status: OperatorStatus, deployment: DeployOutput, wanted: bytes) -> None:
    if not status.registered_with_eigenlayer:
        raise NotRegisteredWithEigenLayerError(
            f"{status.address} is not an EigenLayer operator: run `mach operator register-with-eigenlayer` first"
        )
    if status.allowlist_enabled and not status.allowlisted:
        raise OperatorNotAllowlistedError(
            f"operator {status.address} is not on the allowlist of service manager {deployment.mach_service_manager}: "
            f"ask its whitelister to allow it"
        )
    for standing in status.quorums:
        if standing.quorum_number in wanted and standing.available_stake_wei < standing.minimum_stake_wei:
            raise InsufficientStakeError(
                f"operator {status.address} has {standing.available_stake_wei} wei of stake for quorum "
                f"{standing.quorum_number}, which needs {standing.minimum_stake_wei}: deposit or be delegated more"
            )


async def _is_eigenlayer_operator(w3: L1Client, delegation: str, operator: str) -> bool:
    return bool(await _read(w3, contract_at(w3, "DelegationManager", delegation), "isOperator", operator))


async def _delegation_manager(w3: L1Client, deployment: DeployOutput) -> str:
    """From the deployment file, or, where the original wrote it, from the stake registry."""
    if deployment.delegation_manager is not None:
        return deployment.delegation_manager
    return str(await _read(w3, contract_at(w3, "StakeRegistry", deployment.stake_registry), "delegation"))


async def _avs_directory(w3: L1Client, deployment: DeployOutput) -> str:
    if deployment.avs_directory is not None:
        return deployment.avs_directory
    manager = contract_at(w3, "MachServiceManager", deployment.mach_service_manager)
    return str(await _read(w3, manager, "avsDirectory"))


async def _read(w3: L1Client, contract: Any, function: str, *arguments: Any) -> Any:
    try:
        return await request(w3, contract.functions[function](*arguments).call(), f"read {function}")
    except RevertedError as error:
        raise OperatorError(f"contract {contract.address} does not answer {function}: {error.reason}") from error
