"""The devnet's L2 on a real op-geth: blocks with traffic, witnesses, restarts, and the lying node in front of it."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
import rlp

from mach._core import BlockVerification, verify_block
from mach.devnet.block_encoding import RECEIPTS_ROOT, Block, Receipt, ordered_trie_root, receipts_root
from mach.devnet.faults import Fault, FaultKind, parse_fault
from mach.devnet.layout import Ports
from mach.devnet.lying_node import MAX_REQUEST_BYTES, LyingNode
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.traffic import Traffic, TrafficSettings
from mach.errors import ConfigurationError
from mach.protocol.hashing import keccak256
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError
from mach.transport.listening import ListenError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSACTIONS_ROOT = 4
BLOCKS = 10
LONELY_BLOCK = BLOCKS + 1
"""Holds the L1-info deposit alone; not a multiple of four, in which a user's deposit comes too."""
LAST_BLOCK = BLOCKS + 3
DEADLINE_S = 30.0

HEADER_FIELDS = (
    ("parentHash", 32),
    ("sha3Uncles", 32),
    ("miner", 20),
    ("stateRoot", 32),
    ("transactionsRoot", 32),
    ("receiptsRoot", 32),
    ("logsBloom", 256),
    ("difficulty", None),
    ("number", None),
    ("gasLimit", None),
    ("gasUsed", None),
    ("timestamp", None),
    ("extraData", -1),
    ("mixHash", 32),
    ("nonce", 8),
    ("baseFeePerGas", None),
    ("withdrawalsRoot", 32),
    ("blobGasUsed", None),
    ("excessBlobGas", None),
    ("parentBeaconBlockRoot", 32),
    ("requestsHash", 32),
)
"""A header's fields in the order of its RLP; none marks a number."""


def settings(folder: Path, **changes: Any) -> SequencerSettings:
    ports = Ports.free()
    return SequencerSettings(folder, http_port=ports.l2, auth_port=ports.l2_auth, **changes)


def hash_of(header: dict[str, Any]) -> str:
    """The hash of a header as JSON-RPC gives it, made from its fields alone."""
    encoded = []
    for name, length in HEADER_FIELDS:
        digits = header[name][2:]
        if length is None:
            value = int(digits, 16)
            encoded.append(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        else:
            encoded.append(bytes.fromhex(digits))
            assert length < 0 or len(encoded[-1]) == length
    return "0x" + keccak256(rlp.encode(encoded)).hex()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def l2(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sequencer]:
    """A chain of ten blocks with traffic, one that holds nothing but the L1-info deposit, and two more with traffic."""
    async with (
        Sequencer(settings(tmp_path_factory.mktemp("l2"))) as sequencer,
        Traffic(TrafficSettings(sequencer.http_url)) as traffic,
    ):
        for _ in range(BLOCKS):
            assert await traffic.submit(8) == 8
            await sequencer.produce_block()
        await sequencer.produce_block()
        for _ in range(2):
            await traffic.submit(4)
            await sequencer.produce_block()
        assert sequencer.head.number == LAST_BLOCK
        yield sequencer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def honest(l2: Sequencer) -> AsyncIterator[JsonRpcClient]:
    async with JsonRpcClient(l2.http_url) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def liar(l2: Sequencer) -> AsyncIterator[LyingNode]:
    async with LyingNode(l2.http_url, port=0) as node:
        yield node


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(liar: LyingNode) -> AsyncIterator[JsonRpcClient]:
    async with JsonRpcClient(liar.url) as client:
        yield client


async def post(url: str, body: bytes | io.BytesIO) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers={"Content-Type": "application/json"}) as response,
    ):
        return response.status, await response.read()


def listening_addresses(pid: int) -> set[str]:
    """The addresses process `pid` listens on over TCP, as the kernel's tables write them."""
    sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


class TestChain:
    async def test_every_block_has_its_deposit_and_several_transactions(
        self, l2: Sequencer, honest: JsonRpcClient
    ) -> None:
        timestamp = 0
        for number in range(1, BLOCKS + 1):
            block = await honest.call("eth_getBlockByNumber", hex(number), True)
            assert block["transactions"][0]["type"] == "0x7e"
            users = [item for item in block["transactions"] if item["type"] != "0x7e"]
            assert len(users) >= 3
            assert int(block["timestamp"], 16) > timestamp
            timestamp = int(block["timestamp"], 16)
        assert await honest.call("eth_chainId") == hex(l2.settings.chain_id)

    async def test_l1_attributes_reach_the_fees(self, honest: JsonRpcClient) -> None:
        receipts = await honest.call("eth_getBlockReceipts", hex(BLOCKS))
        deposit, *users = receipts
        assert deposit["status"] == "0x1"
        assert int(users[0]["l1Fee"], 16) > 0
        assert int(users[0]["operatorFeeScalar"], 16) > 0
        vault = await honest.call("eth_getBalance", "0x420000000000000000000000000000000000001b", "latest")
        assert int(vault, 16) > 0

    async def test_traffic_holds_what_it_promises(self, honest: JsonRpcClient) -> None:
        """Over 13 blocks: both results, logs, a creation, deletions, several envelopes."""
        target = (await honest.call("eth_getBlockReceipts", "0x1"))[1]["contractAddress"]
        assert len(await honest.call("eth_getCode", target, "latest")) > 2
        statuses, envelopes, logs, pruned = set(), set(), 0, 0
        before = 0
        for number in range(1, LAST_BLOCK + 1):
            for receipt in await honest.call("eth_getBlockReceipts", hex(number)):
                statuses.add(receipt["status"])
                envelopes.add(receipt["type"])
                logs += len(receipt["logs"])
            slots = await honest.call("debug_storageRangeAt", hex(number), 0, target, "0x00", 200)
            count = len(slots["storage"] or {})
            pruned += count < before
            before = count
        assert statuses == {"0x0", "0x1"}
        assert {"0x0", "0x1", "0x2", "0x7e"} <= envelopes
        assert logs > 10
        assert pruned > 0

    async def test_raw_blocks_and_witnesses(self, honest: JsonRpcClient) -> None:
        for number in range(1, LAST_BLOCK + 1):
            header, parent = [
                await honest.call("eth_getBlockByNumber", hex(height), False) for height in (number, number - 1)
            ]
            raw = bytes.fromhex((await honest.call("debug_getRawBlock", hex(number)))[2:])
            assert "0x" + keccak256(rlp.encode(rlp.decode(raw)[0])).hex() == header["hash"] == hash_of(header)
            witness = await honest.call("debug_executionWitness", hex(number))
            nodes = {"0x" + keccak256(bytes.fromhex(node[2:])).hex() for node in witness["state"]}
            assert parent["stateRoot"] in nodes
            assert witness["headers"][0]["hash"] == parent["hash"]

    async def test_roots_of_a_block_with_more_than_a_hundred_transactions(self, tmp_path: Path) -> None:
        """From index 128 on a trie's keys are two bytes long; the roots are op-geth's."""
        async with (
            Sequencer(settings(tmp_path, build_time_s=1.0)) as sequencer,
            Traffic(TrafficSettings(sequencer.http_url)) as traffic,
            JsonRpcClient(sequencer.http_url) as client,
        ):
            await traffic.submit(150)
            await sequencer.produce_block()
            block = Block.decode(bytes.fromhex((await client.call("debug_getRawBlock", "latest"))[2:]))
            receipts = [bytes.fromhex(raw[2:]) for raw in await client.call("debug_getRawReceipts", "latest")]
        assert len(receipts) > 129
        assert receipts_root([Receipt.decode(raw) for raw in receipts]) == block.header[RECEIPTS_ROOT]
        transactions = [item if isinstance(item, bytes) else rlp.encode(item) for item in block.body[0]]
        assert ordered_trie_root(transactions) == block.header[TRANSACTIONS_ROOT]

    async def test_chain_config_is_written(self, l2: Sequencer, honest: JsonRpcClient) -> None:
        config = json.loads(l2.chain_config_file.read_text())
        running = await honest.call("debug_chainConfig")
        assert config["chainId"] == running["chainId"] == l2.settings.chain_id
        assert config["jovianTime"] == running["jovianTime"] == 0
        assert config["optimism"] == running["optimism"]

    async def test_it_listens_on_loopback_only(self, l2: Sequencer) -> None:
        assert l2.pid is not None
        assert listening_addresses(l2.pid) == {"0100007F"}


@pytest.mark.parametrize("kind", list(FaultKind))
class TestFault:
    """Each lie about a block with transactions, seen through every method that shows it."""

    BLOCK = BLOCKS - 2

    @pytest.fixture(autouse=True)
    def lying(self, liar: LyingNode, kind: FaultKind) -> Iterator[None]:
        liar.set_fault(Fault(kind, self.BLOCK))
        yield
        liar.clear()

    async def test_the_header_hashes_and_the_field_differs(
        self, told: JsonRpcClient, honest: JsonRpcClient, kind: FaultKind
    ) -> None:
        truth = await honest.call("eth_getBlockByNumber", hex(self.BLOCK), False)
        lie = await told.call("eth_getBlockByNumber", hex(self.BLOCK), False)
        assert hash_of(truth) == truth["hash"] != lie["hash"] == hash_of(lie)
        expected = {
            FaultKind.STATE_ROOT: {"stateRoot"},
            FaultKind.RECEIPTS_ROOT: {"receiptsRoot"},
            FaultKind.GAS_USED: {"gasUsed"},
            FaultKind.TX_RESULT: {"receiptsRoot"},
        }[kind]
        changed = {key for key in truth if truth[key] != lie[key]} - {"hash", "size", "logsBloom"}
        assert changed == expected
        assert (lie["logsBloom"] == truth["logsBloom"]) or kind is FaultKind.TX_RESULT
        raw = await told.call("debug_getRawBlock", hex(self.BLOCK))
        assert int(lie["size"], 16) == len(raw) // 2 - 1

    async def test_all_encodings_agree(self, told: JsonRpcClient) -> None:
        number = hex(self.BLOCK)
        block = await told.call("eth_getBlockByNumber", number, True)
        header = await told.call("eth_getHeaderByNumber", number)
        assert header.items() <= {**block, **{key: header[key] for key in header.keys() - block.keys()}}.items()
        raw_header = await told.call("debug_getRawHeader", number)
        raw_block = bytes.fromhex((await told.call("debug_getRawBlock", number))[2:])
        assert "0x" + keccak256(bytes.fromhex(raw_header[2:])).hex() == block["hash"]
        assert rlp.encode(rlp.decode(raw_block)[0]).hex() == raw_header[2:]
        for field in ("stateRoot", "receiptsRoot", "logsBloom"):
            assert block[field][2:] in raw_header
        assert {item["blockHash"] for item in block["transactions"]} == {block["hash"]}

    async def test_receipts_tell_the_same_story(
        self, told: JsonRpcClient, honest: JsonRpcClient, kind: FaultKind
    ) -> None:
        number = hex(self.BLOCK)
        block = await told.call("eth_getBlockByNumber", number, False)
        receipts = await told.call("eth_getBlockReceipts", number)
        truth = await honest.call("eth_getBlockReceipts", number)
        raw = await told.call("debug_getRawReceipts", number)
        flipped = [
            index
            for index, (ours, theirs) in enumerate(zip(receipts, truth, strict=True))
            if ours["status"] != theirs["status"]
        ]
        assert flipped == ([len(truth) - 1] if kind is FaultKind.TX_RESULT else [])
        for index, receipt in enumerate(receipts):
            assert receipt == await told.call("eth_getTransactionReceipt", receipt["transactionHash"])
            assert {receipt["blockHash"], *(entry["blockHash"] for entry in receipt["logs"])} == {block["hash"]}
            payload = bytes.fromhex(raw[index][2:])
            status, _, bloom, logs, *_ = rlp.decode(payload if payload[0] >= 0xC0 else payload[1:])
            assert int.from_bytes(status, "big") == int(receipt["status"], 16)
            assert "0x" + bloom.hex() == receipt["logsBloom"]
            assert len(logs) == len(receipt["logs"])
        union = 0
        for receipt in receipts:
            union |= int(receipt["logsBloom"], 16)
        assert union == int(block["logsBloom"], 16)

    async def test_logs_and_transactions_carry_the_told_hash(self, told: JsonRpcClient) -> None:
        number = hex(self.BLOCK)
        receipts = await told.call("eth_getBlockReceipts", number)
        logs = await told.call("eth_getLogs", {"fromBlock": number, "toBlock": number})
        assert logs == [entry for receipt in receipts for entry in receipt["logs"]]
        assert [int(entry["logIndex"], 16) for entry in logs] == list(range(len(logs)))
        for receipt in receipts:
            transaction = await told.call("eth_getTransactionByHash", receipt["transactionHash"])
            assert transaction["blockHash"] == receipt["blockHash"]
            by_index = await told.call("eth_getTransactionByBlockNumberAndIndex", number, receipt["transactionIndex"])
            assert by_index == transaction

    async def test_the_told_hash_can_be_asked_for(self, told: JsonRpcClient, honest: JsonRpcClient) -> None:
        number = hex(self.BLOCK)
        block = await told.call("eth_getBlockByNumber", number, True)
        block_hash = block["hash"]
        assert await told.call("eth_getBlockByHash", block_hash, True) == block
        for method in ("debug_getRawBlock", "debug_getRawHeader", "debug_getRawReceipts", "eth_getBlockReceipts"):
            assert await told.call(method, block_hash) == await told.call(method, number)
        by_hash = await told.call("eth_getLogs", {"blockHash": block_hash})
        assert by_hash == await told.call("eth_getLogs", {"fromBlock": number, "toBlock": number})
        witness = await told.call("debug_executionWitness", block_hash)
        true_witness = await honest.call("debug_executionWitness", number)
        assert set(witness["state"]) == set(true_witness["state"])
        with pytest.raises(PeerRefusedError):
            await honest.call("debug_getRawBlock", block_hash)

    async def test_other_blocks_are_passed_on(self, told: JsonRpcClient, honest: JsonRpcClient) -> None:
        truth = await honest.call("eth_getBlockByNumber", hex(self.BLOCK), False)
        for number in (self.BLOCK - 1, self.BLOCK + 1, LAST_BLOCK):
            for method in ("debug_getRawBlock", "debug_getRawReceipts", "eth_getBlockReceipts"):
                assert await told.call(method, hex(number)) == await honest.call(method, hex(number))
            ours, theirs = [await node.call("eth_getBlockByNumber", hex(number), True) for node in (told, honest)]
            assert ours == theirs
        following = await told.call("eth_getBlockByNumber", hex(self.BLOCK + 1), False)
        assert following["parentHash"] == truth["hash"]
        assert await told.call("eth_getBlockByHash", truth["hash"], False) == truth

    async def test_a_batch_is_lied_to_like_single_calls(self, liar: LyingNode, told: JsonRpcClient) -> None:
        number = hex(self.BLOCK)
        asked = [
            ("eth_getBlockByNumber", [number, False]),
            ("eth_chainId", []),
            ("debug_getRawHeader", [number]),
            ("debug_getRawHeader", [hex(self.BLOCK + 1)]),
            ("no_such_method", []),
        ]
        # Ids may be anything, and may even repeat.
        batch = [
            {"jsonrpc": "2.0", "id": index // 2, "method": method, "params": params}
            for index, (method, params) in enumerate(asked)
        ]
        status, body = await post(liar.url, json.dumps(batch).encode())
        answers = json.loads(body)
        assert status == 200
        assert [answer["id"] for answer in answers] == [0, 0, 1, 1, 2]
        for (method, params), answer in zip(asked[:4], answers, strict=False):
            assert answer["result"] == await told.call(method, *params)
        assert answers[4]["error"]["code"] == -32601


async def verify(node: JsonRpcClient, honest: JsonRpcClient, chain_config: str, number: int) -> BlockVerification:
    """Re-executes a block that `node` serves. What its witness lacks is fetched by hash, at most 64 times."""

    async def fetch(method: str, height: int) -> bytes:
        return bytes.fromhex((await node.call(method, hex(height)))[2:])

    witness = await node.call("debug_executionWitness", hex(number))
    parent_header = await honest.call("debug_getRawHeader", hex(number - 1))
    heights = sorted({int(header["number"], 16) for header in witness["headers"]} - {number - 1})
    preimages = [bytes.fromhex(item[2:]) for item in (*witness["state"], *witness["codes"])]
    block = await fetch("debug_getRawBlock", number)
    ancestors = [await fetch("debug_getRawHeader", height) for height in heights]
    for _ in range(64):
        found = verify_block(chain_config, bytes.fromhex(parent_header[2:]), block, preimages, ancestors)
        if found.missing is None:
            break
        preimages.append(bytes.fromhex((await honest.call("debug_dbGet", "0x" + found.missing.hex()))[2:]))
    return found


class TestVerification:
    """op-geth's blocks under our own re-execution."""

    @pytest.mark.parametrize("seed", [1, 2])
    async def test_sixty_blocks_of_traffic_are_valid(self, tmp_path: Path, seed: int) -> None:
        async with (
            Sequencer(settings(tmp_path)) as sequencer,
            Traffic(TrafficSettings(sequencer.http_url, seed=seed)) as traffic,
            JsonRpcClient(sequencer.http_url) as client,
        ):
            chain_config = sequencer.chain_config_file.read_text()
            for _ in range(60):
                await traffic.submit(6)
                number = await sequencer.produce_block()
                found = await verify(client, client, chain_config, number)
                assert (found.verdict, found.reason, found.mismatches) == ("VALID", None, [])
                assert found.block_hash == sequencer.head.hash
            assert traffic.accepted == 360

    @pytest.mark.parametrize("number", [BLOCKS - 1, LONELY_BLOCK])
    @pytest.mark.parametrize("kind", list(FaultKind))
    async def test_each_fault_is_invalid_in_its_field_and_its_neighbours_are_valid(
        self,
        l2: Sequencer,
        liar: LyingNode,
        told: JsonRpcClient,
        honest: JsonRpcClient,
        kind: FaultKind,
        number: int,
    ) -> None:
        chain_config = l2.chain_config_file.read_text()
        liar.set_fault(Fault(kind, number))
        found = await verify(told, honest, chain_config, number)
        neighbours = [await verify(told, honest, chain_config, number + step) for step in (-1, 1)]
        lie = liar.lie
        liar.clear()
        assert lie is not None
        assert found.verdict == "INVALID"
        fields = {mismatch.field for mismatch in found.mismatches}
        assert kind.expected_field in fields
        assert fields <= {kind.expected_field, "logs_bloom"}
        assert found.block_hash.hex() == lie.told_hash[2:]
        assert found.computed_block_hash is not None
        assert found.computed_block_hash.hex() == lie.true_hash[2:]
        assert [neighbour.verdict for neighbour in neighbours] == ["VALID", "VALID"]


class TestLyingNode:
    async def test_without_a_fault_everything_is_the_truth(self, liar: LyingNode, l2: Sequencer) -> None:
        body = b'{"jsonrpc":"2.0","id":7,"method":"eth_getBlockByNumber","params":["0x3",true]}'
        assert await post(liar.url, body) == await post(l2.http_url, body)

    async def test_a_block_of_deposits_alone_is_lied_about_too(
        self, liar: LyingNode, told: JsonRpcClient, honest: JsonRpcClient
    ) -> None:
        liar.set_fault(parse_fault(f"tx-result@{LONELY_BLOCK}"))
        truth = await honest.call("eth_getBlockReceipts", hex(LONELY_BLOCK))
        lie = await told.call("eth_getBlockReceipts", hex(LONELY_BLOCK))
        block = await told.call("eth_getBlockByNumber", hex(LONELY_BLOCK), False)
        liar.clear()
        assert [receipt["type"] for receipt in truth] == ["0x7e"]
        assert (truth[0]["status"], lie[0]["status"]) == ("0x1", "0x0")
        assert hash_of(block) == block["hash"] == lie[0]["blockHash"] != truth[0]["blockHash"]

    async def test_tags_lie_too(self, liar: LyingNode, told: JsonRpcClient) -> None:
        liar.set_fault(Fault(FaultKind.STATE_ROOT, LAST_BLOCK))
        by_number = await told.call("eth_getBlockByNumber", hex(LAST_BLOCK), False)
        for tag in ("latest", "safe", "finalized"):
            assert await told.call("eth_getBlockByNumber", tag, False) == by_number
        assert await told.call("debug_getRawHeader", "latest") == await told.call("debug_getRawHeader", hex(LAST_BLOCK))
        assert liar.lie is not None
        assert by_number["hash"] == liar.lie.told_hash != liar.lie.true_hash
        liar.clear()
        assert (await told.call("eth_getBlockByNumber", "latest", False))["hash"] != by_number["hash"]

    async def test_a_block_to_come_is_never_seen_as_it_is(self, tmp_path: Path) -> None:
        async with (
            Sequencer(settings(tmp_path, block_time_s=0.05)) as sequencer,
            LyingNode(sequencer.http_url, port=0) as liar,
            JsonRpcClient(liar.url) as told,
        ):
            liar.set_fault(Fault(FaultKind.GAS_USED, 3))
            running = asyncio.create_task(sequencer.run())
            seen: dict[str, set[str]] = {}
            async with asyncio.timeout(DEADLINE_S):
                while "0x5" not in seen:
                    for block in ("latest", "0x3"):
                        try:
                            answer = await told.call("eth_getBlockByNumber", block, False)
                        except PeerRefusedError as error:
                            if "try again" not in str(error):  # a busy node may say so
                                raise
                            continue
                        if answer is not None:
                            seen.setdefault(answer["number"], set()).add(answer["hash"])
            await sequencer.stop()
            await running
        assert liar.lie is not None
        assert seen["0x3"] == {liar.lie.told_hash}
        assert all(len(hashes) == 1 for hashes in seen.values())

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"[1, null]",
            b'{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber"}',
            b'{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":{"a":1}}',
            b'{"jsonrpc":"2.0","id":1,"method":"debug_getRawReceipts","params":[[["0x8"]]]}',
            b'{"jsonrpc":"2.0","id":[1],"method":7}',
            b"\xff\xfe\x00",
            b"[" * 100_000,
        ],
        ids=lambda body: repr(body[:50]),
    )
    async def test_garbage_is_answered_by_the_node_itself(
        self, liar: LyingNode, l2: Sequencer, told: JsonRpcClient, body: bytes
    ) -> None:
        liar.set_fault(Fault(FaultKind.STATE_ROOT, 3))
        assert await post(liar.url, body) == await post(l2.http_url, body)
        assert await told.call("eth_chainId") == hex(l2.settings.chain_id)
        liar.clear()

    async def test_too_large_a_request_is_refused(self, liar: LyingNode) -> None:
        status, _ = await post(liar.url, io.BytesIO(b" " * (MAX_REQUEST_BYTES + 1)))
        assert status == 413

    async def test_an_upstream_that_is_away_is_an_error_and_comes_back(self, tmp_path: Path) -> None:
        sequencer = Sequencer(settings(tmp_path))
        async with LyingNode(sequencer.http_url, port=0) as liar, JsonRpcClient(liar.url) as told:
            liar.set_fault(Fault(FaultKind.STATE_ROOT, 1))
            with pytest.raises(PeerRefusedError, match=r"127.0.0.1:\d+ does not answer"):
                await told.call("eth_getBlockByNumber", "latest", False)
            _, body = await post(liar.url, b'[{"id":1,"method":"eth_chainId"},{"id":"b","method":"x"}]')
            assert [answer["id"] for answer in json.loads(body)] == [1, "b"]
            async with sequencer:
                await sequencer.produce_block()
                block = await told.call("eth_getBlockByNumber", "latest", False)
                assert liar.lie is not None
                assert block["hash"] == liar.lie.told_hash

    async def test_a_fault_without_a_block_is_refused(self, liar: LyingNode) -> None:
        with pytest.raises(ConfigurationError, match="state-root@BLOCK"):
            liar.set_fault(parse_fault("state-root"))

    async def test_a_port_in_use_is_named(self, liar: LyingNode) -> None:
        with pytest.raises(ListenError, match=str(liar.port)), suppress(OSError):
            await LyingNode(liar.upstream_url, port=liar.port).start()
