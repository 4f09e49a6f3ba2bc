"""Paths in tries, against a trie that is built here from the yellow paper's definition."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mach.protocol.hashing import keccak256
from mach.rollup.node import MalformedAnswerError, header_of, parent_hash_of
from mach.rollup.trie_paths import LONGEST_SEARCH, holds, key_under, place_of_child, shortened


class Trie:
    """A Merkle-Patricia trie of secure keys: appendix D's function c, with every node kept by its hash."""

    def __init__(self, items: dict[bytes, bytes]) -> None:
        self.nodes: dict[bytes, bytes] = {}
        entries = [(keccak256(key).hex(), value) for key, value in items.items()]
        self.root = keccak256(self._keep(rlp.encode(self._structure(sorted(entries)))))

    def _keep(self, node: bytes) -> bytes:
        self.nodes[keccak256(node)] = node
        return node

    def _reference(self, entries: list[tuple[str, bytes]]) -> Any:
        structure = self._structure(entries)
        encoded = rlp.encode(structure)
        return structure if len(encoded) < 32 else keccak256(self._keep(encoded))

    def _structure(self, entries: list[tuple[str, bytes]]) -> Any:
        if not entries:
            return b""
        if len(entries) == 1:
            return [compact(entries[0][0], leaf=True), entries[0][1]]
        shared = 0
        while len({path[shared] for path, _ in entries}) == 1:
            shared += 1
        if shared:
            return [compact(entries[0][0][:shared]), self._reference([(path[shared:], v) for path, v in entries])]
        children = [[(path[1:], v) for path, v in entries if path[0] == digit] for digit in "0123456789abcdef"]
        return [*(self._reference(child) if child else b"" for child in children), b""]

    def proof(self, key: bytes) -> list[bytes]:
        """The nodes on the way to a key, as eth_getProof gives them."""
        path, found, reference = keccak256(key).hex(), [], self.root
        while isinstance(reference, bytes) and len(reference) == 32:
            node = self.nodes[reference]
            found.append(node)
            reference = b""
            items = rlp.decode(node)
            while isinstance(items, list):
                if len(items) == 17:
                    items, path = items[int(path[0], 16)], path[1:]
                else:
                    text = items[0].hex()
                    part = text[1:] if int(text[0], 16) & 1 else text[2:]
                    leaf, inside = int(text[0], 16) & 2, path.startswith(part)
                    items, path = (items[1] if inside and not leaf else b""), path[len(part) :]
            reference = items
        return found


def compact(path: str, *, leaf: bool = False) -> bytes:
    flag = (2 if leaf else 0) + len(path) % 2
    return bytes.fromhex(f"{flag:x}" + ("" if len(path) % 2 else "0") + path)


KEYS = st.sets(st.integers(0, 2**16), min_size=2, max_size=60)


@settings(max_examples=60, deadline=None)
@given(KEYS, st.data())
def test_what_a_deletion_needs_is_rebuilt_or_found(keys: set[int], data: st.DataObject) -> None:
    """The other child of each collapsed branch: by a neighbour's proof before, or from the merged node after."""
    items = {key.to_bytes(32, "big"): rlp.encode(b"value" * 8 + key.to_bytes(4, "big")) for key in keys}
    deleted = data.draw(st.sampled_from(sorted(items)))
    before, after = Trie(items), Trie({key: value for key, value in items.items() if key != deleted})
    proof = before.proof(deleted)
    assert keccak256(proof[0]) == before.root
    branches = [items for items in map(rlp.decode, proof) if len(items) == 17]
    assume(branches)
    children = [item for item in branches[-1][:16] if item]
    assume(len(children) == 2)
    (sibling,) = [item for item in children if before.nodes[item] not in proof]
    place = place_of_child(proof, keccak256(deleted), sibling)
    assert place is not None
    neighbour = key_under(place, 32)
    if neighbour is not None:
        assert holds(before.proof(neighbour), sibling)
    # a leaf or an extension has merged with the branch above it; a branch stays as it is
    if len(rlp.decode(before.nodes[sibling])) == 2:
        merged = set(after.proof(deleted)) | {
            node for other in items if other != deleted for node in after.proof(other)
        }
        assert holds(shortened(merged), sibling)


@pytest.mark.parametrize("prefix", ["", "0", "f3", "abc", "0123"])
@pytest.mark.parametrize("size", [20, 32])
def test_a_key_under_a_prefix_has_that_hash(prefix: str, size: int) -> None:
    key = key_under(prefix, size)
    assert key is not None
    assert len(key) == size
    assert keccak256(key).hex().startswith(prefix)


def test_a_prefix_that_is_too_long_is_not_searched_for() -> None:
    assert key_under("0" * (LONGEST_SEARCH + 1), 32) is None


@given(st.lists(st.binary(max_size=200), max_size=8), st.binary(min_size=32, max_size=32))
def test_bytes_that_are_no_nodes_have_no_paths(nodes: list[bytes], key: bytes) -> None:
    assert place_of_child(nodes, key, b"\x11" * 32) is None
    assert isinstance(shortened(nodes), set)


@given(st.binary(max_size=700))
def test_a_block_of_any_bytes_is_read_or_refused(block: bytes) -> None:
    try:
        header = header_of(block)
    except MalformedAnswerError:
        return
    assert header in block


@given(st.binary(min_size=32, max_size=32), st.integers(0, 5), st.integers(0, 300))
def test_header_and_parent_of_a_block(parent: bytes, transactions: int, extra: int) -> None:
    header = [parent, *(bytes([index]) * 32 for index in range(14)), bytes(extra)]
    block = rlp.encode([header, [b"\x02" + bytes(60)] * transactions, []])
    assert header_of(block) == rlp.encode(header)
    assert parent_hash_of(block) == parent
