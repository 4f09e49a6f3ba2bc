"""The kinds of L2 that the devnet runs: which node, which genesis, and what its sequencer puts into a block."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from mach.devnet import ethereum_genesis, l2_genesis
from mach.devnet.accounts import traffic_target
from mach.devnet.deposits import L1Origin, l1_info_deposit, user_deposit
from mach.devnet.engine import EthereumAttributes, PayloadAttributes, ValidatorWithdrawal
from mach.devnet.geth import GETH
from mach.devnet.op_geth import OP_GETH
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mach.devnet.l2_genesis import Genesis
    from mach.devnet.node_builds import NodeBuild

_SEQUENCER_FEE_VAULT: Final = bytes.fromhex("4200000000000000000000000000000000000011")
_USER_DEPOSIT_EVERY: Final = 4
_VALIDATORS: Final = 24


class L2Kind(StrEnum):
    """What `--l2` names."""

    OP_STACK = "op-stack"
    ETHEREUM = "ethereum"


class L2Stack(Protocol):
    """One kind of L2."""

    @property
    def node(self) -> NodeBuild:
        """The node that runs it."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What only this node takes on its command line."""

    @property
    def get_payload(self) -> str:
        """The Engine API's call for a built block."""

    def genesis(self, binary: Path, funded: Iterable[str], *, timestamp: int, chain_id: int) -> Genesis:
        """The genesis, with ether for `funded`. Raises `NodeUnavailableError`."""

    def attributes(self, number: int, parent_timestamp: int, attempt: int) -> PayloadAttributes | EthereumAttributes:
        """What block `number` is made from. A further attempt at it differs: the same would name the same payload."""


class OpStack:
    """op-geth through Jovian: L1-info deposit, now and then a user's deposit, then what the pool holds."""

    node = OP_GETH
    arguments = ("--rollup.disabletxpoolgossip",)
    get_payload = "engine_getPayloadV4"

    def genesis(self, binary: Path, funded: Iterable[str], *, timestamp: int, chain_id: int) -> Genesis:
        return l2_genesis.build_genesis(binary, funded, timestamp=timestamp, chain_id=chain_id)

    def attributes(self, number: int, parent_timestamp: int, attempt: int) -> PayloadAttributes:
        origin = L1Origin.of_block(number)
        deposits = [l1_info_deposit(origin)]
        if number % _USER_DEPOSIT_EVERY == 0:
            target = bytes.fromhex(traffic_target()[2:])
            deposits.append(user_deposit(origin, number // _USER_DEPOSIT_EVERY, target))
        return PayloadAttributes(
            timestamp=max(parent_timestamp + 1, int(time.time())),
            prev_randao=_randao(number, attempt),
            fee_recipient=_SEQUENCER_FEE_VAULT,
            parent_beacon_block_root=keccak256(b"mach devnet beacon root" + origin.hash),
            transactions=[deposit.encode() for deposit in deposits],
            gas_limit=l2_genesis.GAS_LIMIT,
            eip1559_denominator=l2_genesis.EIP1559_DENOMINATOR,
            eip1559_elasticity=l2_genesis.EIP1559_ELASTICITY,
            min_base_fee_wei=0,
        )


class Ethereum:
    """geth through Osaka, as a consensus layer drives it: what the pool holds, and withdrawals of validators."""

    node = GETH
    arguments = ("--miner.gaslimit", str(l2_genesis.GAS_LIMIT))
    get_payload = "engine_getPayloadV5"

    def genesis(self, binary: Path, funded: Iterable[str], *, timestamp: int, chain_id: int) -> Genesis:
        return ethereum_genesis.build_genesis(binary, funded, timestamp=timestamp, chain_id=chain_id)

    def attributes(self, number: int, parent_timestamp: int, attempt: int) -> EthereumAttributes:
        # None in some blocks, up to four in others; the addresses come round, so that accounts are made and added to.
        count = number % 5
        withdrawals = [
            ValidatorWithdrawal(
                index=5 * number + position,
                validator_index=validator,
                address=keccak256(b"mach devnet validator" + bytes([validator]))[:20],
                amount_gwei=number * validator,  # validator 0 gets nothing: that must leave no account behind
            )
            for position in range(count)
            for validator in [(7 * number + position) % _VALIDATORS]
        ]
        return EthereumAttributes(
            timestamp=max(parent_timestamp + 1, int(time.time())),
            prev_randao=_randao(number, attempt),
            fee_recipient=keccak256(b"mach devnet proposer of blocks" + bytes([number % 4]))[:20],
            parent_beacon_block_root=keccak256(b"mach devnet beacon root" + number.to_bytes(8, "big")),
            withdrawals=withdrawals,
        )


STACKS: Final[dict[L2Kind, L2Stack]] = {L2Kind.OP_STACK: OpStack(), L2Kind.ETHEREUM: Ethereum()}


def _randao(number: int, attempt: int) -> bytes:
    return keccak256(b"mach devnet randao" + number.to_bytes(8, "big") + bytes([attempt]))
