"""Deposit transactions (type 0x7e): how an OP Stack block carries what comes from L1.

The devnet's L2 derives nothing from the L1; its blocks carry a made-up L1 origin, which is a function of the block
number alone, so that two runs build the same deposits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import rlp

from mach.devnet.contracts import JOVIAN_SELECTOR, TargetCall, target_calldata
from mach.protocol.hashing import keccak256

DEPOSIT_TYPE: Final = 0x7E
DEPOSITOR: Final = bytes.fromhex("deaddeaddeaddeaddeaddeaddeaddeaddead0001")
MESSAGE_PASSER: Final = bytes.fromhex("4200000000000000000000000000000000000016")
L1_BLOCK: Final = bytes.fromhex("4200000000000000000000000000000000000015")

_L1_INFO_GAS: Final = 1_000_000
_USER_GAS: Final = 100_000
_WITHDRAWAL_GAS: Final = 300_000
_STARVED_GAS: Final = 60_000
_BLOCKS_PER_ORIGIN: Final = 6
_FIRST_ORIGIN_TIMESTAMP: Final = 1_700_000_000
_L1_BLOCK_TIME_S: Final = 12
_GWEI: Final = 10**9

# Fee parameters of the size that OP Mainnet has; the operator fee is not zero so that its vault is in play too.
_BASE_FEE_SCALAR: Final = 5_227
_BLOB_BASE_FEE_SCALAR: Final = 1_014_213
_OPERATOR_FEE_SCALAR: Final = 7
_OPERATOR_FEE_CONSTANT: Final = 1_000
_DA_FOOTPRINT_GAS_SCALAR: Final = 400

# Domains of the source hash (OP Stack specification, "Source hash computation").
_USER_DEPOSITED: Final = 0
_L1_ATTRIBUTES_DEPOSITED: Final = 1


@dataclass(frozen=True)
class Deposit:
    """One deposit transaction. `to` holds 20 bytes, or none for a contract creation; amounts are in wei."""

    source_hash: bytes
    sender: bytes
    to: bytes
    mint_wei: int
    value_wei: int
    gas_limit: int
    data: bytes

    def encode(self) -> bytes:
        """The EIP-2718 encoding: `0x7e ‖ rlp([sourceHash, from, to, mint, value, gas, isSystemTx, data])`."""
        fields = [
            self.source_hash,
            self.sender,
            self.to,
            _minimal(self.mint_wei),
            _minimal(self.value_wei),
            _minimal(self.gas_limit),
            b"",  # no system transactions since Regolith
            self.data,
        ]
        payload: bytes = rlp.encode(fields)
        return bytes([DEPOSIT_TYPE]) + payload


@dataclass(frozen=True)
class L1Origin:
    """The L1 block that an L2 block says it derives from; fees in wei, `hash` 32 bytes."""

    number: int
    timestamp: int
    base_fee_wei: int
    blob_base_fee_wei: int
    hash: bytes
    sequence_number: int

    @classmethod
    def of_block(cls, number: int) -> L1Origin:
        """The made-up origin of L2 block `number`; the fees drift a little from origin to origin."""
        origin, sequence_number = divmod(number, _BLOCKS_PER_ORIGIN)
        return cls(
            number=origin,
            timestamp=_FIRST_ORIGIN_TIMESTAMP + _L1_BLOCK_TIME_S * origin,
            base_fee_wei=8 * _GWEI + (origin % 17) * _GWEI // 10,
            blob_base_fee_wei=1 + origin % 5,
            hash=keccak256(b"mach devnet L1 block" + origin.to_bytes(8, "big")),
            sequence_number=sequence_number,
        )


def l1_info_deposit(origin: L1Origin) -> Deposit:
    """The first transaction of each block: the L1 attributes in Jovian's packed form (178 bytes of calldata)."""
    data = b"".join(
        [
            JOVIAN_SELECTOR.to_bytes(4, "big"),
            _BASE_FEE_SCALAR.to_bytes(4, "big"),
            _BLOB_BASE_FEE_SCALAR.to_bytes(4, "big"),
            origin.sequence_number.to_bytes(8, "big"),
            origin.timestamp.to_bytes(8, "big"),
            origin.number.to_bytes(8, "big"),
            origin.base_fee_wei.to_bytes(32, "big"),
            origin.blob_base_fee_wei.to_bytes(32, "big"),
            origin.hash,
            keccak256(b"mach devnet batcher"),
            _OPERATOR_FEE_SCALAR.to_bytes(4, "big"),
            _OPERATOR_FEE_CONSTANT.to_bytes(8, "big"),
            _DA_FOOTPRINT_GAS_SCALAR.to_bytes(2, "big"),
        ]
    )
    return Deposit(
        source_hash=_source_hash(_L1_ATTRIBUTES_DEPOSITED, origin, origin.sequence_number),
        sender=DEPOSITOR,
        to=L1_BLOCK,
        mint_wei=0,
        value_wei=0,
        gas_limit=_L1_INFO_GAS,
        data=data,
    )


def user_deposit(origin: L1Origin, log_index: int, target: bytes) -> Deposit:
    """A deposit that a user made on L1 with the event `log_index`; `target` is the traffic target's address, 20 bytes.

    The kinds alternate: ether minted and sent on; a call that fails, whose mint stays; a contract creation; a call that
    writes storage and logs; a withdrawal that L1 starts; a call that runs out of gas.
    """
    source_hash = _source_hash(_USER_DEPOSITED, origin, log_index)
    sender = source_hash[:20]
    match log_index % 6:
        case 0:
            return Deposit(source_hash, sender, source_hash[12:], 10**18, 4 * 10**17, _USER_GAS, b"")
        case 1:
            return Deposit(source_hash, sender, source_hash[12:], 10**15, 10**18, _USER_GAS, b"")
        case 2:
            return Deposit(source_hash, sender, b"", 10**16, 1, _USER_GAS, bytes.fromhex("60015f5500"))
        case 3:
            data = target_calldata(TargetCall.STORE, [log_index % 48, log_index])
            return Deposit(source_hash, sender, target, 10**15, 0, _USER_GAS, data)
        case 4:
            return Deposit(source_hash, sender, MESSAGE_PASSER, 10**15, 10**14, _WITHDRAWAL_GAS, b"")
        case _:
            words = [word for slot in range(6) for word in (64 + slot, 1)]
            data = target_calldata(TargetCall.STORE, words)
            return Deposit(source_hash, sender, target, 0, 0, _STARVED_GAS, data)


def _source_hash(domain: int, origin: L1Origin, index: int) -> bytes:
    return keccak256(domain.to_bytes(32, "big") + keccak256(origin.hash + index.to_bytes(32, "big")))


def _minimal(value: int) -> bytes:
    """Big-endian without leading zeros, as RLP writes integers."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
