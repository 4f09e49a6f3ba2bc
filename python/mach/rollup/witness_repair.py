"""What a witness lacks, asked for piece by piece: proofs against the parent's state, and ancestors' headers.

Nothing is believed: a piece counts only if it hashes to what is missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from mach.protocol.hashing import keccak256
from mach.rollup.trie_paths import holds, key_under, place_of_child, shortened
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.rollup.node import RollupNode

log = structlog.get_logger()

_HEADERS_AT_ONCE: Final = 16
_OLDEST_ANCESTOR: Final = 256
_ADDRESS_BYTES: Final = 20
_SLOT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class MissingPiece:
    """A hash without its preimage, met in a block on top of `parent_number`.

    With `account` (20 bytes) it is a trie node on the way to it, with `slot` (32 bytes) one in its storage; without, it
    is an ancestor's header, a code or the state's root.
    """

    hash: bytes
    parent_number: int
    account: bytes | None = None
    slot: bytes | None = None


@dataclass(frozen=True, slots=True)
class RepairPieces:
    """What was found: trie nodes, or ancestor headers (RLP)."""

    preimages: Sequence[bytes] = ()
    ancestors: Sequence[bytes] = ()


class WitnessRepair:
    """Finds missing pieces at any of several nodes."""

    def __init__(self, nodes: Sequence[RollupNode]) -> None:
        self._nodes = tuple(nodes)

    async def find(self, piece: MissingPiece) -> RepairPieces | None:
        """None when no node has it."""
        for node in self._nodes:
            try:
                found = await _find_at(node, piece)
            except (PeerUnavailableError, PeerRefusedError) as error:
                log.debug("witness.not_repaired", node=node.name, missing="0x" + piece.hash.hex(), problem=str(error))
                continue
            if found is not None:
                return found
        return None


async def _find_at(node: RollupNode, piece: MissingPiece) -> RepairPieces | None:
    if piece.account is None:
        return await _ancestors(node, piece)
    nodes = await _trie_nodes(node, piece, piece.account)
    return RepairPieces(preimages=nodes) if nodes is not None else None


async def _trie_nodes(node: RollupNode, piece: MissingPiece, account: bytes) -> list[bytes] | None:
    """The proof that holds the missing node.

    On the way to the key itself it is in the key's own proof. The other child of a branch that a deletion collapses is
    not: it is in the proof of any other key below it, or, merged, in the key's proof after the block.
    """
    slots = [] if piece.slot is None else [piece.slot]
    proof = await node.account_proof(account, slots, piece.parent_number)
    if holds(proof.nodes, piece.hash):
        return proof.nodes
    way, key = (proof.account, account) if piece.slot is None else (proof.slots[0] if proof.slots else [], piece.slot)
    place = place_of_child(way, keccak256(key), piece.hash)
    if place is not None:
        size = _ADDRESS_BYTES if piece.slot is None else _SLOT_BYTES
        other = await asyncio.to_thread(key_under, place, size)
        if other is not None:
            neighbour = (other, []) if piece.slot is None else (account, [other])
            nodes = (await node.account_proof(*neighbour, piece.parent_number)).nodes
            if holds(nodes, piece.hash):
                return nodes
    after = await node.account_proof(account, slots, piece.parent_number + 1)
    rebuilt = [candidate for candidate in shortened(after.nodes) if keccak256(candidate) == piece.hash]
    return rebuilt or None


async def _ancestors(node: RollupNode, piece: MissingPiece) -> RepairPieces | None:
    """Headers from the one with the missing hash on down; or the root of the state, which every proof begins with."""
    root = (await node.account_proof(bytes(_ADDRESS_BYTES), [], piece.parent_number)).account[:1]
    if holds(root, piece.hash):
        return RepairPieces(preimages=root)
    oldest = max(piece.parent_number - _OLDEST_ANCESTOR, 0)
    for last in range(piece.parent_number, oldest - 1, -_HEADERS_AT_ONCE):
        numbers = range(last, max(last - _HEADERS_AT_ONCE, oldest - 1), -1)
        headers = await asyncio.gather(*(node.raw_header(number) for number in numbers))
        if holds(headers, piece.hash):
            return RepairPieces(ancestors=headers)
    return None
