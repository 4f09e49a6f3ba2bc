"""Where a block's witness comes from: one small protocol, and a source for each way there is.

Every source is distrusted. What it gives is bytes that re-execution finds by their hash, or does not: a source can
leave something out, which the next one may have, but it cannot put anything in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import rlp

from mach.errors import MachError
from mach.rollup.node import MalformedAnswerError, Witness
from mach.rollup.trie_paths import shortened
from mach.rollup.witness_files import WitnessFileError, read_block_file

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from mach.rollup.node import AccountProof, RollupNode, TouchedState

_CALLS_AT_ONCE: Final = 8
_TIMESTAMP: Final = 11
_MINER: Final = 2
_ADDRESS_BYTES: Final = 20

# EIP-7702: a transaction's type and the place of its authorizations, and the code of an account that delegates.
_SET_CODE_TYPE: Final = b"\x04"
_AUTHORIZATIONS: Final = 9
_DELEGATION: Final = b"\xef\x01\x00"
_DELEGATION_BYTES: Final = 23

# Accounts that a block's frame touches without a transaction. EIP-4788 and EIP-2935 keep rings of 8191 slots.
_BEACON_ROOTS: Final = bytes.fromhex("000f3df6d732807ef1319fb7b8bb8522d0beac02")
_BLOCK_HASHES: Final = bytes.fromhex("0000f90827f1c53a10cb7a02335b175320002935")
_RING: Final = 8191
_QUEUES: Final = (  # EIP-7002, EIP-7251
    bytes.fromhex("00000961ef480eb55e80d19ad83579a64c007002"),
    bytes.fromhex("0000bbddc7ce488642fb579f8b00f3a590007251"),
)
_QUEUE_SLOTS: Final = range(4)
_L1_BLOCK: Final = bytes.fromhex("4200000000000000000000000000000000000015")
_L1_BLOCK_SLOTS: Final = range(9)
_OTHER_PREDEPLOYS: Final = tuple(  # the message passer and the fee vaults of the OP Stack
    bytes.fromhex(f"42000000000000000000000000000000000000{last:02x}") for last in (0x16, 0x19, 0x1A, 0x1B)
)


class WitnessUnavailableError(MachError):
    """A source has no witness of this block."""


class WitnessSource(Protocol):
    """One way to a block's witness."""

    @property
    def name(self) -> str:
        """For logs and metrics."""

    async def witness(self, number: int) -> Witness:
        """Raises `PeerUnavailableError`, `PeerRefusedError` or `WitnessUnavailableError`."""


class ExecutionWitnessSource:
    """`debug_executionWitness` of a node."""

    name: Final = "execution-witness"

    def __init__(self, node: RollupNode) -> None:
        self._node = node

    async def witness(self, number: int) -> Witness:
        return await self._node.execution_witness(number)


class ProofWitnessSource:
    """A witness pieced together from `prestateTracer` and `eth_getProof`, for nodes without `debug_executionWitness`.

    The proofs at the parent hold every node that execution reads and writes. A deletion that collapses a branch needs
    the branch's other child too: it is rebuilt from the proofs after the block, where it stands merged with its parent.
    What the tracer overlooks is left to repair.
    """

    name: Final = "proofs"

    def __init__(self, node: RollupNode) -> None:
        self._node = node
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def witness(self, number: int) -> Witness:
        block, touched = await asyncio.gather(self._node.raw_block(number), self._node.touched(number))
        _add_frame(touched, block, number)
        delegates = _delegates(block, touched.codes)
        for address in delegates:
            touched.slots.setdefault(address, set())
        accounts = [(address, sorted(slots)) for address, slots in touched.slots.items()]
        before, after, codes = await asyncio.gather(
            self._proofs(accounts, number - 1),
            self._proofs(accounts, number),
            self._codes((_BEACON_ROOTS, _BLOCK_HASHES, *_QUEUES, *delegates), number - 1),
        )
        nodes = {node for proof in before for node in proof.nodes}
        merged = {node for proof in after for node in proof.nodes} - nodes
        return Witness([*nodes, *await asyncio.to_thread(shortened, merged), *touched.codes, *codes])

    async def _proofs(self, accounts: Sequence[tuple[bytes, Sequence[bytes]]], number: int) -> list[AccountProof]:
        async def one(address: bytes, slots: Sequence[bytes]) -> AccountProof:
            async with self._calls:
                return await self._node.account_proof(address, slots, number)

        return await asyncio.gather(*(one(address, slots) for address, slots in accounts))

    async def _codes(self, addresses: Sequence[bytes], number: int) -> list[bytes]:
        async def one(address: bytes) -> bytes:
            async with self._calls:
                return await self._node.code(address, number)

        return await asyncio.gather(*(one(address) for address in addresses))


class RecordedWitnessSource:
    """Recorded blocks in a folder, named by height: `NUMBER.json` or `NUMBER.json.gz`."""

    name: Final = "files"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def witness(self, number: int) -> Witness:
        return await asyncio.to_thread(self._read, number)

    def _read(self, number: int) -> Witness:
        for name in (f"{number}.json.gz", f"{number}.json"):
            path = self._folder / name
            if path.is_file():
                try:
                    inputs = read_block_file(path)
                except WitnessFileError as error:
                    raise WitnessUnavailableError(str(error)) from None
                return Witness(inputs.preimages, inputs.ancestors)
        raise WitnessUnavailableError(f"{self._folder} holds no {number}.json and no {number}.json.gz")


def _delegates(block: bytes, codes: Collection[bytes]) -> list[bytes]:
    """Whose code accounts of the block borrow (EIP-7702): by its own authorizations, or since earlier.

    The tracer does not list them where nothing else in the transaction touches them.
    """
    found = {code[len(_DELEGATION) :] for code in codes if len(code) == _DELEGATION_BYTES and code[:3] == _DELEGATION}
    try:
        for transaction in rlp.decode(block, strict=False)[1]:
            if isinstance(transaction, bytes) and transaction[:1] == _SET_CODE_TYPE:
                authorizations = rlp.decode(transaction[1:], strict=False)[_AUTHORIZATIONS]
                found |= {bytes(authorization[1]) for authorization in authorizations}
    except (rlp.DecodingError, IndexError, TypeError, ValueError):
        raise MalformedAnswerError("the node's raw block is not an RLP block") from None
    return sorted(address for address in found if len(address) == _ADDRESS_BYTES)


def _add_frame(touched: TouchedState, block: bytes, number: int) -> None:
    """Adds what a block touches besides its transactions: system calls, the fee recipient, withdrawals."""
    try:
        header, _, _, *withdrawals = rlp.decode(block, strict=False)
        timestamp = int.from_bytes(header[_TIMESTAMP], "big")
        addresses = [header[_MINER], *(withdrawal[2] for withdrawal in (withdrawals[0] if withdrawals else ()))]
    except (rlp.DecodingError, IndexError, TypeError, ValueError):
        raise MalformedAnswerError("the node's raw block is not an RLP block") from None
    slots = {
        _BEACON_ROOTS: [timestamp % _RING, timestamp % _RING + _RING],
        _BLOCK_HASHES: [(number - 1) % _RING],
        _L1_BLOCK: _L1_BLOCK_SLOTS,
        **dict.fromkeys(_QUEUES, _QUEUE_SLOTS),
        **dict.fromkeys(_OTHER_PREDEPLOYS, ()),
    }
    for address in addresses:
        touched.slots.setdefault(address, set())
    for address, numbers in slots.items():
        touched.slots.setdefault(address, set()).update(slot.to_bytes(32, "big") for slot in numbers)
