"""Merkle Patricia tries (Yellow Paper, appendix D) as far as answers of nodes are checked by them: roots and proofs.

For single answers. Whole blocks are verified in Rust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import rlp

from mach.errors import MachError
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Sequence

EMPTY_ROOT: Final = keccak256(rlp.encode(b""))
_BRANCH_ITEMS: Final = 17


class ProofError(MachError):
    """Trie nodes that prove nothing about the key: one is missing, or is no node."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account as the state trie has it; roots and hashes 32 bytes."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


NO_ACCOUNT: Final = AccountState(0, 0, EMPTY_ROOT, keccak256(b""))


def ordered_trie_root(values: Sequence[bytes]) -> bytes:
    """The root of the Merkle Patricia trie that maps `rlp(index)` to `values[index]`, 32 bytes."""
    if not values:
        return EMPTY_ROOT
    entries = [(_nibbles(rlp.encode(_minimal(index))), value) for index, value in enumerate(values)]
    return keccak256(rlp.encode(_node(sorted(entries), 0)))


def proven_account(state_root: bytes, address: bytes, proof: Sequence[bytes]) -> AccountState:
    """An account (20 bytes) in the state with this root; raises `ProofError`. An absent one is `NO_ACCOUNT`."""
    value = proven_value(state_root, keccak256(address), proof)
    if value is None:
        return NO_ACCOUNT
    try:
        nonce, balance, storage_root, code_hash = rlp.decode(value)
        return AccountState(int.from_bytes(nonce, "big"), int.from_bytes(balance, "big"), storage_root, code_hash)
    except (rlp.DecodingError, TypeError, ValueError):
        raise ProofError("what stands in the state trie is no account") from None


def proven_value(root: bytes, hashed_key: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The value of a hashed key (32 bytes) in the trie with this root; None if the nodes prove that there is none.

    Nodes may come in any order and be too many: they are found by their hash. Raises `ProofError`.
    """
    if root == EMPTY_ROOT:
        return None
    known = {keccak256(node): node for node in proof}
    path, reference = _nibbles(hashed_key), root
    node: Any = None
    for _ in range(2 * len(path)):  # every step takes a nibble; an embedded node costs none more
        if isinstance(reference, bytes):
            if reference not in known:
                raise ProofError(f"trie node 0x{reference.hex()} is missing in the proof")
            node = _decoded(known[reference])
        else:
            node = _checked(reference)
        if len(node) == _BRANCH_ITEMS:
            if not path:
                return _value(node[16])
            reference, path = node[path[0]], path[1:]
            if reference == b"":
                return None
            continue
        part, is_leaf = _path(node[0])
        if path[: len(part)] != part:
            return None
        path = path[len(part) :]
        if is_leaf:
            return None if path else _value(node[1])
        reference = node[1]
    raise ProofError("the proof leads in a circle")


def _value(item: Any) -> bytes | None:
    if not isinstance(item, bytes):
        raise ProofError("a value in the proof is a list")
    return item or None


def _decoded(node: bytes) -> list[Any]:
    try:
        items = rlp.decode(node)
    except (rlp.DecodingError, RecursionError):
        raise ProofError("a node of the proof is not RLP") from None
    return _checked(items)


def _checked(items: Any) -> list[Any]:
    if not isinstance(items, list) or len(items) not in (2, _BRANCH_ITEMS):
        raise ProofError("a node of the proof has neither 2 nor 17 items")
    return items


def _path(encoded: Any) -> tuple[bytes, bool]:
    """Nibbles of a hex-prefix path, and whether it is a leaf's."""
    if not isinstance(encoded, bytes) or not encoded or encoded[0] >> 4 > 3:
        raise ProofError("a node of the proof has no path")
    nibbles = _nibbles(encoded)
    odd, is_leaf = nibbles[0] & 1, bool(nibbles[0] & 2)
    return nibbles[1 if odd else 2 :], is_leaf


def _node(entries: list[tuple[bytes, bytes]], depth: int) -> Any:
    """The trie node over entries that agree in their first `depth` nibbles. No key is a prefix of another."""
    first, last = entries[0][0], entries[-1][0]
    if len(entries) == 1:
        return [_hex_prefix(first[depth:], is_leaf=True), entries[0][1]]
    shared = depth
    while first[shared] == last[shared]:  # sorted: what the ends share, all share
        shared += 1
    if shared > depth:
        return [_hex_prefix(first[depth:shared], is_leaf=False), _reference(_node(entries, shared))]
    children: list[Any] = []
    for nibble in range(16):
        below = [entry for entry in entries if entry[0][depth] == nibble]
        children.append(_reference(_node(below, depth + 1)) if below else b"")
    return [*children, b""]


def _reference(node: Any) -> Any:
    """How a parent holds a node: itself if its RLP is shorter than a hash, else the hash."""
    encoded: bytes = rlp.encode(node)
    return node if len(encoded) < 32 else keccak256(encoded)


def _hex_prefix(nibbles: bytes, *, is_leaf: bool) -> bytes:
    """Hex-prefix encoding (Yellow Paper, appendix C)."""
    flag = 2 if is_leaf else 0
    padded = bytes([flag + 1]) + nibbles if len(nibbles) % 2 else bytes([flag, 0]) + nibbles
    return bytes(high << 4 | low for high, low in zip(padded[::2], padded[1::2], strict=True))


def _nibbles(key: bytes) -> bytes:
    return bytes(nibble for byte in key for nibble in (byte >> 4, byte & 15))


def _minimal(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
