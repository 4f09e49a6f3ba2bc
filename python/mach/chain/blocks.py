"""Blocks and logs of the L1 as values, read from a node's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mach.chain.connection import DEFAULT_DEADLINE_S
from mach.chain.errors import L1UnavailableError, MalformedAnswerError, RequestRefusedError
from mach.chain.json_rpc import RpcCall, call, hex_bytes, json_array, json_object, quantity, small_quantity

if TYPE_CHECKING:
    from mach.chain.connection import L1Client

_LARGEST_RANGE: Final = 10_000
_SMALLEST_RANGE: Final = 16
_BLOCKS_OF_CONTRACTS: Final = 2**32
"""EigenLayer's registries keep block numbers in 32 bits."""


@dataclass(frozen=True, slots=True)
class Block:
    """What following a chain needs of a header; hashes are 32 bytes."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    """Seconds since 1970."""
    base_fee_wei: int
    """0 on a chain without EIP-1559."""


@dataclass(frozen=True, slots=True)
class ChainLog:
    """One event as the chain holds it: a 20-byte address and 32-byte topics."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int

    @property
    def key(self) -> tuple[bytes, int]:
        """What no other log of any branch of the chain has."""
        return self.block_hash, self.log_index


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Logs of any of these contracts (20 bytes) whose first topic is any of these (32 bytes)."""

    addresses: frozenset[bytes]
    topics: frozenset[bytes]

    def __or__(self, other: LogFilter) -> LogFilter:
        return LogFilter(self.addresses | other.addresses, self.topics | other.topics)

    def __contains__(self, log: ChainLog) -> bool:
        return log.address in self.addresses and bool(log.topics) and log.topics[0] in self.topics


def block_by_number(number: int | str) -> RpcCall[Block | None]:
    """The header at a number or tag; None where the node has none."""
    return RpcCall("eth_getBlockByNumber", (_number(number), False), _read_block)


async def latest_block(w3: L1Client, deadline_s: float = DEFAULT_DEADLINE_S) -> Block:
    """The header of the head. Raises `L1UnavailableError`, `RequestRefusedError`."""
    block = await call(w3, block_by_number("latest"), "read the latest block", deadline_s)
    if block is None:
        raise L1UnavailableError("cannot read the latest block: the L1 node has none yet, wait until it is in sync")
    return block


def logs_in(wanted: LogFilter, first: int, last: int | str) -> RpcCall[list[ChainLog]]:
    """The logs of blocks `first` to `last`, both included, in the chain's order."""
    criteria = {
        "address": ["0x" + address.hex() for address in sorted(wanted.addresses)],
        "topics": [["0x" + topic.hex() for topic in sorted(wanted.topics)]],
        "fromBlock": _number(first),
        "toBlock": _number(last),
    }

    def read(value: Any) -> list[ChainLog]:
        logs = [read_log(entry) for entry in json_array(value)]
        if any(log not in wanted or log.block_number < first for log in logs):
            raise MalformedAnswerError("a log that was not asked for")
        return sorted(logs, key=lambda log: (log.block_number, log.log_index))

    return RpcCall("eth_getLogs", (criteria,), read)


async def read_logs(w3: L1Client, wanted: LogFilter, first: int, last: int, action: str) -> list[ChainLog]:
    """The logs of a range of any length, in as many requests as the node's own bounds make necessary.

    Raises `L1UnavailableError` and `RequestRefusedError`.
    """
    logs: list[ChainLog] = []
    size = _LARGEST_RANGE
    while first <= last:
        end = min(first + size - 1, last)
        try:
            logs += await call(w3, logs_in(wanted, first, end), action)
        except RequestRefusedError:
            # Providers bound blocks or results of one request, each with words of its own: ask for less.
            if size <= _SMALLEST_RANGE:
                raise
            size //= 4
            continue
        first = end + 1
    return logs


def read_log(value: Any) -> ChainLog:
    """A log object of a node, of a mined block. Raises ValueError or LookupError for one of another form."""
    entry = json_object(value)
    return ChainLog(
        address=hex_bytes(entry["address"], 20),
        topics=tuple(hex_bytes(topic, 32) for topic in json_array(entry["topics"])),
        data=hex_bytes(entry["data"]),
        block_number=small_quantity(entry["blockNumber"]),
        block_hash=hex_bytes(entry["blockHash"], 32),
        transaction_hash=hex_bytes(entry["transactionHash"], 32),
        log_index=small_quantity(entry["logIndex"]),
    )


def _read_block(value: Any) -> Block | None:
    if value is None:
        return None
    header = json_object(value)
    number = small_quantity(header["number"])
    if number >= _BLOCKS_OF_CONTRACTS:
        raise MalformedAnswerError(f"block number {number} is beyond what the contracts can name")
    return Block(
        number=number,
        hash=hex_bytes(header["hash"], 32),
        parent_hash=hex_bytes(header["parentHash"], 32),
        timestamp=small_quantity(header["timestamp"]),
        base_fee_wei=quantity(header.get("baseFeePerGas") or "0x0"),
    )


def _number(value: int | str) -> str:
    return hex(value) if isinstance(value, int) else value
