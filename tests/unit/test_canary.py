"""What a canary's judgement rests on: proofs in tries, which header proves itself false, and how users look."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from mach.errors import ConfigurationError
from mach.protocol.alerts import BlockMismatch
from mach.protocol.hashing import keccak256
from mach.rollup.node import ServedHeader
from mach.rollup.tries import EMPTY_ROOT, NO_ACCOUNT, ProofError, ordered_trie_root, proven_account, proven_value
from mach.storage.verdict_log import VerdictRecord
from mach.verifier.canary_checks import provable_alert
from mach.verifier.canary_profile import BUILT_IN, PROBED, CanaryProfile, User, read_profile

VECTORS = Path(__file__).parents[1] / "vectors" / "l2-blocks"
L1_BLOCK = bytes.fromhex("4200000000000000000000000000000000000015")
"""The OP Stack's contract that every block writes to."""
STATE_ROOT, GAS_USED, TIME, WITHDRAWALS_ROOT = 3, 10, 11, 16


def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress((VECTORS / f"{name}.json.gz").read_bytes()))
    return found


def header_and_nodes(name: str = "creations") -> tuple[list[bytes], list[bytes]]:
    """The header of a block that op-geth built, and the trie nodes of the witness of the one after it."""
    found = vector(name)
    header = rlp.decode(bytes.fromhex(found["parent_header"][2:]))
    return header, [bytes.fromhex(node[2:]) for node in found["preimages"]]


HEADER, NODES = header_and_nodes()


def test_accounts_of_a_real_state_are_proven() -> None:
    known = {keccak256(node) for node in NODES}
    contract = proven_account(HEADER[STATE_ROOT], L1_BLOCK, NODES)
    assert {contract.code_hash, contract.storage_root} <= known
    assert proven_account(EMPTY_ROOT, L1_BLOCK, []) == NO_ACCOUNT


def test_a_missing_or_altered_node_proves_nothing() -> None:
    used = [node for node in NODES if proves_without(node) is None]
    assert used  # the nodes on the way
    for node in used:
        others = [one for one in NODES if one != node]
        for position in range(0, len(node), 7):
            altered = bytearray(node)
            altered[position] ^= 1
            with pytest.raises(ProofError, match="is missing"):
                proven_account(HEADER[STATE_ROOT], L1_BLOCK, [*others, bytes(altered)])


def proves_without(node: bytes) -> Any:
    try:
        return proven_account(HEADER[STATE_ROOT], L1_BLOCK, [one for one in NODES if one != node])
    except ProofError:
        return None


def test_an_absent_key_is_proven_absent_or_not_at_all() -> None:
    answers = set()
    for number in range(64):
        try:
            answers.add(proven_value(HEADER[STATE_ROOT], keccak256(bytes([number])), NODES))
        except ProofError:
            answers.add(b"unproven")
    assert answers <= {None, b"unproven"}
    assert None in answers


ITEMS = st.recursive(st.binary(max_size=40), lambda inner: st.lists(inner, max_size=17), max_leaves=20)


@given(
    st.lists(st.binary(max_size=64) | ITEMS.map(rlp.encode), min_size=1, max_size=4),
    st.binary(min_size=32, max_size=32),
)
def test_proofs_are_read_by_a_total_function(nodes: list[bytes], key: bytes) -> None:
    try:
        value = proven_value(keccak256(nodes[0]), key, nodes)
    except ProofError:
        return
    assert value is None or isinstance(value, bytes)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=40, unique=True))
def test_ordered_roots_differ_with_every_change(values: list[bytes]) -> None:
    root = ordered_trie_root(values)
    assert root != ordered_trie_root([*values, b"\x01"])
    if len(values) > 1:
        assert root != ordered_trie_root([*values[1:], values[0]])


def record_of(header: list[bytes], *, output_root: bytes | None) -> VerdictRecord:
    encoded = rlp.encode(header)
    block_hash = keccak256(encoded)
    return VerdictRecord(
        block_number=int.from_bytes(header[8], "big"),
        block_hash=block_hash,
        verdict="VALID",
        computed_hash=block_hash,
        computed_header=encoded,
        fields="[]",
        reason=None,
        gas_used=1,
        transaction_count=1,
        verified_at=0.0,
        seconds=0.1,
        computed_output_root=output_root,
    )


def output_root_of(header: list[bytes]) -> bytes:
    return keccak256(bytes(32) + header[STATE_ROOT] + header[WITHDRAWALS_ROOT] + keccak256(rlp.encode(header)))


def served(header: list[bytes]) -> ServedHeader:
    encoded = rlp.encode(header)
    return ServedHeader(int.from_bytes(header[8], "big"), keccak256(encoded), encoded)


@pytest.mark.parametrize("op_stack", [True, False])
def test_only_other_results_from_the_same_inputs_prove_a_header_false(op_stack: bool) -> None:
    record = record_of(HEADER, output_root=output_root_of(HEADER) if op_stack else None)
    results = {3, 5, 6, 10, 17, 20} | ({WITHDRAWALS_ROOT} if op_stack else set())
    assert provable_alert(served(HEADER), record) is None
    for index, item in enumerate(HEADER):
        changed = list(HEADER)
        changed[index] = bytes([item[0] ^ 1]) + item[1:] if item else b"\x01"
        alert = provable_alert(served(changed), record)
        assert (alert is not None) == (index in results), index
        if alert is not None and op_stack:
            assert alert == BlockMismatch(output_root_of(changed), output_root_of(HEADER), record.block_number)
        elif alert is not None:
            assert alert == BlockMismatch(served(changed).hash, record.block_hash, record.block_number)
        also_later = list(changed)
        also_later[TIME] = b"\x7f\xff\xff\xff"
        assert provable_alert(served(also_later), record) is None
    assert provable_alert(served(HEADER[:WITHDRAWALS_ROOT]), record) is None


def test_an_output_root_that_is_not_of_the_header_proves_nothing() -> None:
    """As before Isthmus, where the header does not hold the message passer's root."""
    changed = list(HEADER)
    changed[GAS_USED] = b"\x01"
    assert provable_alert(served(changed), record_of(HEADER, output_root=b"\x05" * 32)) is None


def test_users_ask_as_their_clients_do(tmp_path: Path) -> None:
    assert read_profile(None) == CanaryProfile()
    for client in BUILT_IN:
        user = User(client)
        bodies = [user.body("eth_getBalance", ["0x12", "latest"]) for _ in range(3)]
        for body, identifier in bodies:
            document = json.loads(body)
            assert tuple(document) == client.keys
            assert document["id"] == identifier
        assert len({identifier for _, identifier in bodies}) == 3
    path = tmp_path / "profile.yaml"
    path.write_text(
        "clients:\n- {name: own, headers: {X-App: a}, keys: [id, jsonrpc, params, method], ids: uuid, spaced: true}\n"
        "mix: {eth_chainId: 1}\nrequests_per_user: 3\n"
    )
    profile = read_profile(path)
    assert (profile.any_method(), profile.any_client().headers) == ("eth_chainId", (("X-App", "a"),))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clients: [", "is not YAML"),
        ("- 1", "it holds `clients`"),
        ("colour: red", "'colour' is not a known key"),
        ("mix: {eth_sendRawTransaction: 1}", "'eth_sendRawTransaction' with weight 1 is not one of"),
        ("mix: {eth_chainId: -1}", "with weight -1"),
        ("mix: {eth_chainId: 0}", "a method with weight"),
        ("clients: []", "there must be a client"),
        ("requests_per_user: 0", "at least 1 request"),
        ("clients: [{name: x}]", "'headers'"),
        ("clients: [{name: x, headers: {}, keys: [id]}]", "keys must be jsonrpc, id, method and params"),
        ("clients: [{name: x, headers: {}, ids: odd}]", "ids must be one of"),
        ('clients: [{name: x, headers: {a: "b\\r\\nc: d"}}]', "has a line break"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        read_profile(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_profile(tmp_path / "none.yaml")


def test_the_built_in_mix_names_every_method() -> None:
    assert set(CanaryProfile().mix) == set(PROBED)
