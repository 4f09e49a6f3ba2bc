"""Paths in Merkle-Patricia tries (Ethereum yellow paper, appendix D), as far as proofs have to be pieced together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import rlp

from mach._core import keccak256_many
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST_SEARCH: Final = 5
"""Nibbles of a hash that a key can be searched for: 16⁵ hashes take about a tenth of a second."""
_BATCH: Final = 8192
_BRANCH_ITEMS: Final = 17
_PATH_ITEMS: Final = 2
_LEAF: Final = 2
_ODD: Final = 1


def shortened(nodes: Iterable[bytes]) -> set[bytes]:
    """Every leaf and extension that can have become one of `nodes` when a deletion collapsed the branch above it.

    A branch that keeps one child merges with it: the child's path grows by what led to it. After the deletion only the
    merged node is in the trie, and execution needs the child as it was: the same value under each shorter path.
    """
    found = set()
    for node in nodes:
        items = _items(node)
        if len(items) != _PATH_ITEMS or not isinstance(items[0], bytes) or not items[0]:
            continue
        leaf, path = _nibbles(items[0])
        # a leaf's path may be empty, an extension's may not
        for cut in range(1, len(path) + (1 if leaf else 0)):
            found.add(rlp.encode([_compact(leaf, path[cut:]), items[1]]))
    return found


def place_of_child(proof: Sequence[bytes], key: bytes, child: bytes) -> str | None:
    """Nibbles (hex digits) that lead to the node with hash `child`, if a node on the way to `key` branches off to it.

    `proof` goes from the root down; `key` is the hashed key (32 bytes).
    """
    path = key.hex()
    depth = 0
    for node in proof:
        items = _items(node)
        if len(items) == _BRANCH_ITEMS:
            for index, item in enumerate(items[:16]):
                if item == child:
                    return path[:depth] + f"{index:x}"
            depth += 1
        elif len(items) == _PATH_ITEMS and isinstance(items[0], bytes) and items[0]:
            depth += len(_nibbles(items[0])[1])
    return None


def key_under(prefix: str, size: int) -> bytes | None:
    """A key of `size` bytes whose hash begins with these nibbles; None if they are too many to search for."""
    if len(prefix) > LONGEST_SEARCH:
        return None
    # sixteen times the expected number of hashes: it fails once in nine million times
    for first in range(0, 16 * 16 ** len(prefix), _BATCH):
        keys = [number.to_bytes(size, "big") for number in range(first, first + _BATCH)]
        for key, digest in zip(keys, keccak256_many(keys), strict=True):
            if digest.hex().startswith(prefix):
                return key
    return None


def holds(nodes: Iterable[bytes], wanted: bytes) -> bool:
    """Whether one of the byte strings hashes to `wanted`."""
    return any(keccak256(node) == wanted for node in nodes)


def _items(node: bytes) -> list[bytes | list[bytes]]:
    """A node's items; none if it is not a node."""
    try:
        items = rlp.decode(node)
    except rlp.DecodingError:
        return []
    return items if isinstance(items, list) else []


def _nibbles(encoded: bytes) -> tuple[bool, str]:
    """Whether a compactly encoded path is a leaf's, and its nibbles as hex digits."""
    flag, digits = encoded[0] >> 4, encoded.hex()
    return bool(flag & _LEAF), digits[1 if flag & _ODD else 2 :]


def _compact(leaf: bool, path: str) -> bytes:
    flag = _LEAF if leaf else 0
    return bytes.fromhex(f"{flag | _ODD:x}{path}" if len(path) % 2 else f"{flag:x}0{path}")
