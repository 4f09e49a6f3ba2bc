"""The lies that the devnet can tell: its lying node's about one block, made to hash, and its proposer's on L1."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from mach.devnet.block_encoding import (
    GAS_LIMIT,
    GAS_USED,
    LOGS_BLOOM,
    RECEIPTS_ROOT,
    STATE_ROOT,
    Block,
    Receipt,
    is_deposit,
    receipts_root,
    union_of_blooms,
)
from mach.errors import ConfigurationError
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAS_LIE: Final = 21_000
_HIGHEST_BLOCK: Final = 2**63 - 1


class FaultSyntaxError(ConfigurationError):
    """A fault is not written as `KIND@BLOCK`."""


class FaultKind(StrEnum):
    """What the lying node falsifies."""

    STATE_ROOT = "state-root"
    RECEIPTS_ROOT = "receipts-root"
    GAS_USED = "gas-used"
    TX_RESULT = "tx-result"

    @property
    def expected_field(self) -> str:
        """The header field in which re-execution finds the lie, by the verifier's name."""
        return "receipts_root" if self is FaultKind.TX_RESULT else self.value.replace("-", "_")


PROPOSER_FAULT: Final = "output-root"
"""The lie that is told on L1: the proposer puts a false output root there."""


@dataclass(frozen=True)
class ProposerFault:
    """The proposer's lie, and the block it is about: none as long as nobody has chosen one."""

    block_number: int | None = None

    def at(self, block_number: int) -> ProposerFault:
        """The same lie about the block `block_number`."""
        return replace(self, block_number=block_number)

    def __str__(self) -> str:
        return PROPOSER_FAULT if self.block_number is None else f"{PROPOSER_FAULT}@{self.block_number}"


@dataclass(frozen=True)
class Fault:
    """A lie of the lying node, and the block it is about: none as long as nobody has chosen one."""

    kind: FaultKind
    block_number: int | None = None

    def at(self, block_number: int) -> Fault:
        """The same lie about the block `block_number`."""
        return replace(self, block_number=block_number)

    def __str__(self) -> str:
        return self.kind if self.block_number is None else f"{self.kind}@{self.block_number}"


def parse_fault(text: str) -> Fault | ProposerFault:
    """Reads `state-root|receipts-root|gas-used|tx-result|output-root`, with or without `@BLOCK` (decimal, from 1 on).

    Raises:
        FaultSyntaxError: anything else.
    """
    kinds = "|".join([*FaultKind, PROPOSER_FAULT])
    match = re.fullmatch(rf"({kinds})(?:@([0-9]{{1,19}}))?", text, re.ASCII)
    block_number = None if match is None or match[2] is None else int(match[2])
    if match is None or (block_number is not None and not 1 <= block_number <= _HIGHEST_BLOCK):
        shown = text if len(text) <= 80 else text[:80] + "…"
        raise FaultSyntaxError(f"{shown!r} is no fault: write {kinds}, with @BLOCK for a certain block (from 1 on)")
    if match[1] == PROPOSER_FAULT:
        return ProposerFault(block_number)
    return Fault(FaultKind(match[1]), block_number)


@dataclass(frozen=True)
class Lie:
    """One block as it is and as it is told. Both hash: `truth.hash` and `told.hash` are those of their headers."""

    fault: Fault
    truth: Block
    told: Block
    true_receipts: tuple[bytes, ...]
    told_receipts: tuple[bytes, ...]
    struck: bytes | None
    """Hash of the transaction whose result is falsified, for `tx-result`."""

    @cached_property
    def true_hash(self) -> str:
        """As JSON-RPC writes it."""
        return "0x" + self.truth.hash.hex()

    @cached_property
    def told_hash(self) -> str:
        """As JSON-RPC writes it."""
        return "0x" + self.told.hash.hex()

    def rewrite(self, value: Any) -> Any:
        """A JSON-RPC result with every block, receipt, log and hash of the truth replaced by what is told.

        A `parentHash` stays: the next block is passed on as it is.
        """
        if isinstance(value, dict):
            told = {key: item if key == "parentHash" else self.rewrite(item) for key, item in value.items()}
            if value.get("hash") == self.true_hash and "stateRoot" in value:
                self._rewrite_header(told)
            if value.get("blockHash") == self.true_hash:
                if "cumulativeGasUsed" in value:
                    self._rewrite_receipt(told)
                elif "logIndex" in value:
                    self._rewrite_log(told)
            return told
        if isinstance(value, list):
            return [self.rewrite(item) for item in value if not self._is_dropped_log(item)]
        return self.told_hash if value == self.true_hash else value

    def _rewrite_header(self, header: dict[str, Any]) -> None:
        header["hash"] = self.told_hash
        header["stateRoot"] = "0x" + self.told.header[STATE_ROOT].hex()
        header["receiptsRoot"] = "0x" + self.told.header[RECEIPTS_ROOT].hex()
        header["logsBloom"] = "0x" + self.told.header[LOGS_BLOOM].hex()
        header["gasUsed"] = hex(self.told.integer(GAS_USED))
        if "size" in header:
            header["size"] = hex(len(self.told.encode()))

    def _rewrite_receipt(self, receipt: dict[str, Any]) -> None:
        if self.struck is None or receipt.get("transactionHash") != "0x" + self.struck.hex():
            return
        told = Receipt.decode(self.told_receipts[self._struck_index])
        receipt["status"] = "0x1" if told.succeeded else "0x0"
        receipt["logsBloom"] = "0x" + told.bloom.hex()

    def _rewrite_log(self, entry: dict[str, Any]) -> None:
        """Logs behind the dropped ones move up."""
        position = int(entry["logIndex"], 16)
        first, count = self._dropped_logs
        if position >= first + count:
            entry["logIndex"] = hex(position - count)

    def _is_dropped_log(self, item: Any) -> bool:
        if not isinstance(item, dict) or item.get("blockHash") != self.true_hash or "logIndex" not in item:
            return False
        first, count = self._dropped_logs
        return first <= int(item["logIndex"], 16) < first + count

    @cached_property
    def _struck_index(self) -> int:
        return self.truth.transaction_hashes().index(self.struck) if self.struck is not None else -1

    @cached_property
    def _dropped_logs(self) -> tuple[int, int]:
        """Position in the block of the first log that is not told, and how many are not."""
        if self.struck is None:
            return 0, 0
        before = [len(Receipt.decode(raw).logs) for raw in self.true_receipts]
        index = self._struck_index
        return sum(before[:index]), before[index] - len(Receipt.decode(self.told_receipts[index]).logs)


def tell(fault: Fault, raw_block: bytes, raw_receipts: Sequence[bytes]) -> Lie:
    """The lie `fault` about a block: as `debug_getRawBlock` and `debug_getRawReceipts` give it.

    - state-root, receipts-root: another 32 bytes.
    - gas-used: 21,000 more, or less where the gas limit leaves no room.
    - tx-result: the last user transaction's receipt tells the other result, a failure has no logs, and receipts root
      and bloom follow; in a block of deposits alone, the last deposit's receipt.

    Raises:
        BlockEncodingError: the bytes are no block or no receipts.
    """
    truth = Block.decode(raw_block)
    told_receipts = tuple(raw_receipts)
    struck: bytes | None = None
    match fault.kind:
        case FaultKind.STATE_ROOT:
            told = truth.with_header_fields({STATE_ROOT: _other(truth.header[STATE_ROOT])})
        case FaultKind.RECEIPTS_ROOT:
            told = truth.with_header_fields({RECEIPTS_ROOT: _other(truth.header[RECEIPTS_ROOT])})
        case FaultKind.GAS_USED:
            gas_used = truth.integer(GAS_USED) + _GAS_LIE
            if gas_used > truth.integer(GAS_LIMIT):
                gas_used -= 2 * _GAS_LIE
            told = truth.with_header_fields({GAS_USED: gas_used.to_bytes((gas_used.bit_length() + 7) // 8, "big")})
        case FaultKind.TX_RESULT:
            index = _struck_index(truth)
            struck = truth.transaction_hashes()[index]
            receipts = [Receipt.decode(raw) for raw in raw_receipts]
            receipts[index] = receipts[index].flipped()
            told_receipts = tuple(receipt.encode() for receipt in receipts)
            told = truth.with_header_fields(
                {RECEIPTS_ROOT: receipts_root(receipts), LOGS_BLOOM: union_of_blooms(receipts)}
            )
    return Lie(fault, truth, told, tuple(raw_receipts), told_receipts, struck)


def _struck_index(block: Block) -> int:
    """The last transaction out of the pool, or else the last one."""
    types = block.transaction_types()
    users = [index for index, kind in enumerate(types) if not is_deposit(kind)]
    return users[-1] if users else len(types) - 1


def _other(root: bytes) -> bytes:
    """32 bytes that look like a root and are not this one."""
    return keccak256(b"mach devnet lie" + root)
