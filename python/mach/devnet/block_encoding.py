"""Blocks and receipts as the network encodes them: what a liar must rewrite so that its lie still hashes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import rlp

from mach.devnet.deposits import DEPOSIT_TYPE
from mach.errors import MachError
from mach.protocol.hashing import keccak256
from mach.rollup.tries import ordered_trie_root

if TYPE_CHECKING:
    from collections.abc import Sequence

# Positions in a header's RLP list (Yellow Paper, section 4.3).
STATE_ROOT: Final = 3
RECEIPTS_ROOT: Final = 5
LOGS_BLOOM: Final = 6
NUMBER: Final = 8
GAS_LIMIT: Final = 9
GAS_USED: Final = 10
_HEADER_FIELDS: Final = 15  # before London; later forks append

BLOOM_BYTES: Final = 256
_TYPED_LIMIT: Final = 0x7F


class BlockEncodingError(MachError):
    """Bytes that are no block, header or receipt."""


@dataclass(frozen=True)
class Block:
    """A decoded block: the header's fields as bytes, and the body as RLP's nested lists."""

    header: tuple[bytes, ...]
    body: tuple[Any, ...]

    @classmethod
    def decode(cls, raw: bytes) -> Block:
        """Reads `[header, transactions, ommers, withdrawals?]`, as `debug_getRawBlock` gives it."""
        try:
            header, *body = rlp.decode(raw)
            well_formed = len(header) >= _HEADER_FIELDS and all(isinstance(item, bytes) for item in header)
            block = cls(tuple(header), tuple(body))
        except (rlp.DecodingError, TypeError, ValueError) as error:
            raise BlockEncodingError(f"these {len(raw)} bytes are no block: {error}: ask another node") from error
        if not well_formed or not body or not isinstance(body[0], list):
            raise BlockEncodingError(f"these {len(raw)} bytes are an RLP list but no block: ask another node")
        return block

    def encode(self) -> bytes:
        """The block's RLP, as `decode` reads it."""
        encoded: bytes = rlp.encode([list(self.header), *self.body])
        return encoded

    @cached_property
    def header_rlp(self) -> bytes:
        """The header's RLP."""
        encoded: bytes = rlp.encode(list(self.header))
        return encoded

    @cached_property
    def hash(self) -> bytes:
        """The block's hash, 32 bytes."""
        return keccak256(self.header_rlp)

    @property
    def number(self) -> int:
        """The block's number."""
        return self.integer(NUMBER)

    def integer(self, field: int) -> int:
        """A header field that holds a number."""
        return int.from_bytes(self.header[field], "big")

    def with_header_fields(self, changes: dict[int, bytes]) -> Block:
        """The same block with other header fields."""
        return replace(self, header=tuple(changes.get(index, item) for index, item in enumerate(self.header)))

    def transaction_types(self) -> list[int]:
        """The EIP-2718 type of each transaction; 0 for a legacy one."""
        return [item[0] if isinstance(item, bytes) and item else 0 for item in self.body[0]]

    def transaction_hashes(self) -> list[bytes]:
        """The hash of each transaction, 32 bytes."""
        return [keccak256(item if isinstance(item, bytes) else rlp.encode(item)) for item in self.body[0]]


@dataclass(frozen=True)
class Receipt:
    """A decoded receipt. `trailer` is what the OP Stack appends to a deposit's: nonce and version."""

    type: int
    succeeded: bool
    cumulative_gas_used: bytes
    bloom: bytes
    logs: tuple[Any, ...]
    trailer: tuple[bytes, ...]

    @classmethod
    def decode(cls, raw: bytes) -> Receipt:
        """Reads an EIP-2718 encoding, as `debug_getRawReceipts` gives it."""
        try:
            kind = raw[0] if raw[0] <= _TYPED_LIMIT else 0
            status, gas, bloom, logs, *trailer = rlp.decode(raw[1:] if kind else raw)
            well_formed = len(bloom) == BLOOM_BYTES and isinstance(logs, list)
        except (rlp.DecodingError, IndexError, TypeError, ValueError) as error:
            raise BlockEncodingError(f"these {len(raw)} bytes are no receipt: {error}: ask another node") from error
        if not well_formed:
            raise BlockEncodingError(f"these {len(raw)} bytes are an RLP list but no receipt: ask another node")
        return cls(kind, status == b"\x01", gas, bloom, tuple(logs), tuple(trailer))

    def encode(self) -> bytes:
        """The receipt's EIP-2718 encoding, the value in the receipts trie."""
        status = b"\x01" if self.succeeded else b""
        payload: bytes = rlp.encode([status, self.cumulative_gas_used, self.bloom, list(self.logs), *self.trailer])
        return bytes([self.type]) + payload if self.type else payload

    def flipped(self) -> Receipt:
        """The receipt of a transaction that ended the other way. One that failed leaves no logs."""
        if not self.succeeded:
            return replace(self, succeeded=True)
        return replace(self, succeeded=False, logs=(), bloom=bytes(BLOOM_BYTES))


def is_deposit(transaction_type: int) -> bool:
    """Whether a transaction comes from L1 rather than from the pool."""
    return transaction_type == DEPOSIT_TYPE


def union_of_blooms(receipts: Sequence[Receipt]) -> bytes:
    """The header's bloom filter over the receipts' own, 256 bytes."""
    union = 0
    for receipt in receipts:
        union |= int.from_bytes(receipt.bloom, "big")
    return union.to_bytes(BLOOM_BYTES, "big")


def receipts_root(receipts: Sequence[Receipt]) -> bytes:
    """The root of the trie that maps `rlp(index)` to each receipt, 32 bytes."""
    return ordered_trie_root([receipt.encode() for receipt in receipts])
