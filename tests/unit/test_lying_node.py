"""Faults and the lies made of them, on recorded blocks; the lying node's answers when there is nothing behind it."""

from __future__ import annotations

import gzip
import io
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from mach.devnet.block_encoding import (
    GAS_LIMIT,
    GAS_USED,
    LOGS_BLOOM,
    RECEIPTS_ROOT,
    STATE_ROOT,
    Block,
    BlockEncodingError,
    Receipt,
    is_deposit,
    ordered_trie_root,
    receipts_root,
    union_of_blooms,
)
from mach.devnet.faults import Fault, FaultKind, FaultSyntaxError, ProposerFault, parse_fault, tell
from mach.devnet.lying_node import MAX_REQUEST_BYTES, LyingNode
from mach.errors import ConfigurationError
from mach.protocol.hashing import keccak256

VECTORS = Path(__file__).parent.parent / "vectors" / "l2-blocks"
HONEST = ("ancestors", "creations", "deletions", "deposits-alone")
TRANSACTIONS_ROOT = 4


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def load(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads(gzip.decompress((VECTORS / f"{name}.json.gz").read_bytes()))
    return vector


def block_and_receipts(name: str) -> tuple[bytes, list[bytes]]:
    vector = load(name)
    return unhex(vector["block"]), [unhex(receipt) for receipt in vector["receipts"]]


class TestParseFault:
    @pytest.mark.parametrize("kind", list(FaultKind))
    def test_with_and_without_a_block(self, kind: FaultKind) -> None:
        assert parse_fault(kind.value) == Fault(kind)
        assert parse_fault(f"{kind.value}@12") == Fault(kind, 12) == Fault(kind).at(12)
        assert str(parse_fault(f"{kind.value}@12")) == f"{kind.value}@12"

    def test_the_proposers_lie(self) -> None:
        assert parse_fault("output-root") == ProposerFault()
        assert parse_fault("output-root@12") == ProposerFault(12) == ProposerFault().at(12)
        assert str(parse_fault("output-root@12")) == "output-root@12"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "none",
            "state-root@",
            "state-root@0",
            "state-root@-1",
            "state-root@1.5",
            "state-root@0x10",
            "state-root@1@2",
            "State-Root@1",
            " state-root@1",
            "state-root@1\n",
            "state-root@٣",
            "state-root@99999999999999999999",
            "state-root@9223372036854775808",
        ],
    )
    def test_anything_else_is_refused_with_value_and_remedy(self, text: str) -> None:
        with pytest.raises(FaultSyntaxError) as caught:
            parse_fault(text)
        assert repr(text) in str(caught.value)
        assert "state-root|receipts-root|gas-used|tx-result" in str(caught.value)

    @given(st.text(max_size=200))
    def test_it_is_total(self, text: str) -> None:
        try:
            fault = parse_fault(text)
        except FaultSyntaxError:
            return
        assert parse_fault(str(fault)) == fault


class TestEncodings:
    """Against the headers that op-geth made."""

    @pytest.mark.parametrize("name", HONEST)
    def test_roots_and_bloom(self, name: str) -> None:
        raw_block, raw_receipts = block_and_receipts(name)
        block, receipts = Block.decode(raw_block), [Receipt.decode(raw) for raw in raw_receipts]
        assert block.encode() == raw_block
        assert [receipt.encode() for receipt in receipts] == raw_receipts
        assert receipts_root(receipts) == block.header[RECEIPTS_ROOT]
        assert union_of_blooms(receipts) == block.header[LOGS_BLOOM]
        transactions = [item if isinstance(item, bytes) else rlp.encode(item) for item in block.body[0]]
        assert ordered_trie_root(transactions) == block.header[TRANSACTIONS_ROOT]
        assert "0x" + block.hash.hex() == load(name)["expect"]["true_hash"]

    def test_the_empty_trie(self) -> None:
        """The root that the Yellow Paper gives for no entries: keccak256(rlp(""))."""
        empty = "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
        assert ordered_trie_root([]).hex() == empty

    @given(st.binary(max_size=300))
    def test_bytes_that_are_no_block_are_refused(self, data: bytes) -> None:
        with pytest.raises(BlockEncodingError):
            Block.decode(data)

    @given(st.binary(max_size=64))
    def test_bytes_that_are_no_receipt_are_refused(self, data: bytes) -> None:
        with pytest.raises(BlockEncodingError):
            Receipt.decode(data)


class TestTell:
    @pytest.mark.parametrize("name", HONEST)
    @pytest.mark.parametrize("kind", list(FaultKind))
    def test_only_what_the_fault_says_is_changed(self, name: str, kind: FaultKind) -> None:
        raw_block, raw_receipts = block_and_receipts(name)
        lie = tell(Fault(kind, 1), raw_block, raw_receipts)
        assert lie.truth.encode() == raw_block
        assert lie.truth.body == lie.told.body
        changed = {index for index, item in enumerate(lie.truth.header) if lie.told.header[index] != item}
        allowed = {
            FaultKind.STATE_ROOT: {STATE_ROOT},
            FaultKind.RECEIPTS_ROOT: {RECEIPTS_ROOT},
            FaultKind.GAS_USED: {GAS_USED},
            FaultKind.TX_RESULT: {RECEIPTS_ROOT, LOGS_BLOOM},
        }[kind]
        assert changed - {LOGS_BLOOM} == allowed - {LOGS_BLOOM}
        assert lie.told_hash == "0x" + keccak256(rlp.encode(list(lie.told.header))).hex() != lie.true_hash
        assert lie.told.integer(GAS_USED) <= lie.told.integer(GAS_LIMIT)
        assert (lie.told_receipts == lie.true_receipts) == (kind is not FaultKind.TX_RESULT)

    @pytest.mark.parametrize("name", HONEST)
    def test_the_result_of_the_last_users_transaction_is_flipped(self, name: str) -> None:
        raw_block, raw_receipts = block_and_receipts(name)
        lie = tell(Fault(FaultKind.TX_RESULT, 1), raw_block, raw_receipts)
        told = [Receipt.decode(raw) for raw in lie.told_receipts]
        flipped = [
            index for index, raw in enumerate(raw_receipts) if told[index].succeeded != Receipt.decode(raw).succeeded
        ]
        assert flipped == [len(raw_receipts) - 1]
        assert is_deposit(told[-1].type) == (name == "deposits-alone")
        assert told[-1].succeeded or told[-1].logs == ()
        assert receipts_root(told) == lie.told.header[RECEIPTS_ROOT]
        assert union_of_blooms(told) == lie.told.header[LOGS_BLOOM]

    def test_a_full_block_has_less_gas_rather_than_more(self) -> None:
        raw_block, raw_receipts = block_and_receipts("creations")
        truth = Block.decode(raw_block)
        full = truth.with_header_fields({GAS_USED: truth.header[GAS_LIMIT]})
        lie = tell(Fault(FaultKind.GAS_USED, 1), full.encode(), raw_receipts)
        assert lie.told.integer(GAS_USED) < lie.told.integer(GAS_LIMIT)

    @pytest.mark.parametrize("kind", list(FaultKind))
    def test_recorded_lies_are_the_same_lies(self, kind: FaultKind) -> None:
        """What the lying node served when the vectors were recorded differs from the truth in the named field."""
        vector = load(f"fault-{kind}")
        told = Block.decode(unhex(vector["block"]))
        assert "0x" + told.hash.hex() != vector["expect"]["true_hash"]
        assert vector["expect"]["fields"] == [kind.expected_field]

    def test_logs_that_were_dropped_are_dropped_everywhere(self) -> None:
        raw_block, raw_receipts = block_and_receipts("deletions")
        counts = [len(Receipt.decode(raw).logs) for raw in raw_receipts]
        victim = next(index for index, count in enumerate(counts) if count)
        # The block cut after the victim: the lie strikes the last one, and logs of nothing else may vanish.
        block = Block.decode(raw_block)
        cut = Block(block.header, (block.body[0][: victim + 1], *block.body[1:]))
        lie = tell(Fault(FaultKind.TX_RESULT, 1), cut.encode(), raw_receipts[: victim + 1])
        logs = [
            {"blockHash": lie.true_hash, "logIndex": hex(index), "topics": []}
            for index in range(sum(counts[: victim + 1]))
        ]
        assert lie.rewrite(logs) == [{**entry, "blockHash": lie.told_hash} for entry in logs[: sum(counts[:victim])]]
        other = [{"blockHash": "0x" + "11" * 32, "logIndex": "0x0"}]
        assert lie.rewrite(other) == other


class TestWithoutUpstream:
    """Nothing listens behind the lying node."""

    @pytest.fixture
    def nowhere(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{probe.getsockname()[1]}"

    @pytest.mark.parametrize("fault", [None, "state-root@1"])
    @pytest.mark.parametrize(
        ("body", "ids"),
        [
            (b'{"jsonrpc":"2.0","id":5,"method":"eth_chainId","params":[]}', 5),
            (b'[{"id":1,"method":"debug_getRawBlock","params":["0x1"]},{"id":"x","method":"eth_chainId"}]', [1, "x"]),
            (b"garbage", None),
            (b"[]", None),
            (b"[1]", [None]),
            (b"[" * 200_000, None),
        ],
        ids=lambda value: str(value)[:20],
    )
    async def test_every_call_gets_an_error_and_the_node_stays_up(
        self, nowhere: str, fault: str | None, body: bytes, ids: Any
    ) -> None:
        async with LyingNode(nowhere, port=0) as node, aiohttp.ClientSession() as session:
            if fault is not None:
                node.set_fault(parse_fault(fault))
            for _ in range(2):
                async with session.post(node.url, data=body) as response:
                    answer = await response.json()
                answers = answer if isinstance(answer, list) else [answer]
                assert [item["id"] for item in answers] == (ids if isinstance(ids, list) else [ids])
                assert all(nowhere.removeprefix("http://") in item["error"]["message"] for item in answers)

    async def test_other_methods_and_large_requests_are_refused(self, nowhere: str) -> None:
        async with LyingNode(nowhere, port=0) as node, aiohttp.ClientSession() as session:
            async with session.get(node.url) as response:
                assert response.status == 405
            async with session.post(node.url, data=io.BytesIO(b" " * (MAX_REQUEST_BYTES + 1))) as response:
                assert response.status == 413

    def test_a_fault_needs_a_block(self, nowhere: str) -> None:
        with pytest.raises(ConfigurationError, match="tx-result@BLOCK"):
            LyingNode(nowhere).set_fault(Fault(FaultKind.TX_RESULT))
