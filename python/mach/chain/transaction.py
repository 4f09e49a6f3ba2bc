"""Signed EIP-1559 transactions as values: what is stored before it is sent, and what a receipt says afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from mach.chain.addresses import checksum_of
from mach.chain.errors import MalformedAnswerError
from mach.chain.json_rpc import RpcCall, hex_bytes, json_array, json_object, quantity, small_quantity
from mach.errors import MachError

_TYPE_1559 = 0x02


class MalformedTransactionError(MachError):
    """Bytes that should be a signed EIP-1559 transaction are not."""


@dataclass(frozen=True, slots=True)
class Call:
    """One message to send: `to` None creates a contract from `data`."""

    to: str | None
    data: bytes
    label: str
    """What the call does, for messages: "initialize RegistryCoordinator"."""
    value_wei: int = 0


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A signed EIP-1559 transaction. `raw` alone is enough to store: `from_raw` gives the rest back."""

    raw: bytes
    hash: bytes
    sender: str
    chain_id: int
    nonce: int
    max_fee_wei: int
    """Highest price per gas it may pay, base fee included."""
    priority_fee_wei: int
    gas_limit: int
    to: str | None
    value_wei: int
    data: bytes

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """Reads a signed transaction from its wire bytes (EIP-2718 type 2) and recovers its sender.

        Raises `MalformedTransactionError`.
        """
        if not raw or raw[0] != _TYPE_1559:
            raise MalformedTransactionError("stored transaction is not of EIP-1559 form (type 0x02): prepare it anew")
        try:
            fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
            sender = Account.recover_transaction(raw)
            to = bytes(fields["to"])
            return cls(
                raw=bytes(raw),
                hash=keccak(raw),
                sender=sender,
                chain_id=int(fields["chainId"]),
                nonce=int(fields["nonce"]),
                max_fee_wei=int(fields["maxFeePerGas"]),
                priority_fee_wei=int(fields["maxPriorityFeePerGas"]),
                gas_limit=int(fields["gas"]),
                to=to_checksum_address(to) if to else None,
                value_wei=int(fields["value"]),
                data=bytes(fields["data"]),
            )
        except Exception as error:
            # rlp, eth_keys and eth_account raise unrelated classes for bytes they cannot read.
            raise MalformedTransactionError(f"stored transaction is malformed ({error}): prepare it anew") from error


@dataclass(frozen=True, slots=True)
class Log:
    """One event of a receipt, undecoded: 20-byte address in checksum form, 32-byte topics."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction."""

    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    effective_gas_price_wei: int
    contract_address: str | None
    logs: tuple[Log, ...]


def receipt_of(transaction_hash: bytes) -> RpcCall[Receipt | None]:
    """The receipt of a transaction; None while it is not mined, or unknown."""

    def read(value: Any) -> Receipt | None:
        if value is None:
            return None
        receipt = _read_receipt(json_object(value))
        if receipt.transaction_hash != transaction_hash:
            raise MalformedAnswerError(f"the receipt of another transaction than 0x{transaction_hash.hex()}")
        return receipt

    return RpcCall("eth_getTransactionReceipt", ("0x" + transaction_hash.hex(),), read)


def _read_receipt(receipt: dict[str, Any]) -> Receipt:
    created = receipt.get("contractAddress")
    return Receipt(
        transaction_hash=hex_bytes(receipt["transactionHash"], 32),
        block_number=small_quantity(receipt["blockNumber"]),
        block_hash=hex_bytes(receipt["blockHash"], 32),
        succeeded=quantity(receipt["status"]) == 1,
        gas_used=small_quantity(receipt["gasUsed"]),
        effective_gas_price_wei=quantity(receipt["effectiveGasPrice"]),
        contract_address=checksum_of(hex_bytes(created, 20)) if created is not None else None,
        logs=tuple(
            Log(
                checksum_of(hex_bytes(log["address"], 20)),
                tuple(hex_bytes(topic, 32) for topic in json_array(log["topics"])),
                hex_bytes(log["data"]),
            )
            for log in map(json_object, json_array(receipt["logs"]))
        ),
    )
