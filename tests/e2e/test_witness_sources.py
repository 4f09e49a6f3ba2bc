"""Witnesses of live op-geth blocks from every source, whole, cut, falsified, and in each client's form."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import web

from mach.protocol.hashing import keccak256
from mach.rollup import witness_repair
from mach.rollup.endpoints import WitnessSupply
from mach.rollup.node import RollupNode, Witness, data_values
from mach.rollup.witness_files import BlockInputs, header_rlp, write_block_file
from mach.rollup.witness_repair import WitnessRepair
from mach.rollup.witness_sources import (
    ExecutionWitnessSource,
    ProofWitnessSource,
    RecordedWitnessSource,
    WitnessUnavailableError,
)
from mach.transport.jsonrpc_client import JsonRpcClient, PeerUnavailableError
from mach.verifier.examination import BlockExaminer, ServedBlock
from mach.verifier.metrics import VerifierMetrics
from mach.verifier.reexecution import Tip

from .verifier_run import L2, RewritingNode, VerifierRun, refused, running_l2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from mach.rollup.witness_sources import WitnessSource
    from mach.verifier.reexecution import Verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOCKS = 20


@dataclass
class Chain:
    """The chain, its node, and what examines its blocks."""

    l2: L2
    node: RollupNode
    examiner: BlockExaminer

    async def examine(
        self, number: int, sources: Sequence[WitnessSource], repair: Sequence[RollupNode] = ()
    ) -> Verdict:
        header = await self.node.raw_header(number - 1)
        served = ServedBlock(number, await self.node.raw_block(number), self.node)
        supply = WitnessSupply(sources, WitnessRepair(repair))
        return await self.examiner.examine(Tip(number - 1, keccak256(header), header), served, supply)


@dataclass
class GivenWitness:
    """A source that gives what a test made."""

    given: Witness
    name: str = "given"

    async def witness(self, number: int) -> Witness:
        return self.given


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chain]:
    """Twenty blocks with traffic, among it storage deletions that collapse branches."""
    async with running_l2(tmp_path_factory.mktemp("l2")) as l2:
        await l2.build(BLOCKS, 8)
        async with JsonRpcClient(l2.url) as client:
            yield Chain(l2, RollupNode(client), BlockExaminer(chain_config(l2), VerifierMetrics()))


def chain_config(l2: L2) -> str:
    return l2.sequencer.chain_config_file.read_text()


@asynccontextmanager
async def rewritten(
    chain: Chain, rewrite: Callable[[str, list[Any], dict[str, Any]], dict[str, Any]]
) -> AsyncIterator[RollupNode]:
    """The chain's node with other answers."""
    async with RewritingNode(chain.l2.url, rewrite) as node, JsonRpcClient(node.url) as client:
        yield RollupNode(client)


async def verified_from(l2: L2, folder: Path, source: str, last: int) -> list[tuple[int, bytes, str]]:
    """Height, hash and verdict of every block, by a verifier with one source."""
    await asyncio.to_thread(folder.mkdir)
    settings = {"witness_sources": [source], "max_blocks_in_flight": 2}
    async with VerifierRun(l2, folder, [l2.url], settings) as run:
        await run.reaches(last)
        assert await run.metric("mach_verifier_witnesses_total", source=source, result="complete") == last
        return [(record.block_number, record.block_hash, record.verdict) for record in await run.records(last)]


async def test_both_sources_give_the_same_verdicts(chain: Chain, tmp_path: Path) -> None:
    by_witness = await verified_from(chain.l2, tmp_path / "witness", "execution-witness", BLOCKS)
    by_proofs = await verified_from(chain.l2, tmp_path / "proofs", "proofs", BLOCKS)
    assert by_witness == by_proofs
    assert [(number, verdict) for number, _, verdict in by_witness] == [(n, "VALID") for n in range(1, BLOCKS + 1)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_both_sources_give_the_same_verdicts_over_500_live_blocks(tmp_path: Path) -> None:
    """Followed as the blocks come, by two verifiers at once."""
    blocks = 500
    async with running_l2(tmp_path / "l2") as l2:
        runs = []
        for source in ("execution-witness", "proofs"):
            (tmp_path / source).mkdir()
            runs.append(VerifierRun(l2, tmp_path / source, [l2.url], {"witness_sources": [source]}))
        async with runs[0], runs[1]:
            for _ in range(blocks // 10):
                head = await l2.build(10, 10)
                await asyncio.gather(*(run.reaches(head - 10) for run in runs))
            await asyncio.gather(*(run.reaches(blocks) for run in runs))
            found = [await run.records(blocks) for run in runs]
            assert [(entry.block_number, entry.verdict) for entry in found[0]] == [
                (number, "VALID") for number in range(1, blocks + 1)
            ]
            assert [entry.block_hash for entry in found[0]] == [entry.block_hash for entry in found[1]]
            assert {entry.verdict for entry in found[1]} == {"VALID"}
            for run in runs:
                assert await run.metric("mach_verifier_witnesses_total", result="incomplete") == 0


async def test_every_single_node_that_is_left_out_is_found_by_its_proof(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Siblings of collapsed branches among them: no proof of a key that the block touches holds those."""
    found_by_neighbours = 0
    searched = witness_repair.key_under

    def counting(prefix: str, size: int) -> bytes | None:
        nonlocal found_by_neighbours
        found_by_neighbours += 1
        return searched(prefix, size)

    monkeypatch.setattr(witness_repair, "key_under", counting)
    async with JsonRpcClient(chain.l2.url) as client:
        for number in range(4, BLOCKS + 1, 3):
            whole = await chain.node.execution_witness(number)
            codes = data_values((await client.call("debug_executionWitness", hex(number)))["codes"], "codes")
            for left_out in set(whole.preimages) - set(codes):
                rest = Witness([node for node in whole.preimages if node != left_out], whole.ancestors)
                verdict = await chain.examine(number, [GivenWitness(rest)], [chain.node])
                assert verdict.verification.verdict == "VALID", (number, verdict.verification.reason)
    assert found_by_neighbours > 0


async def test_a_witness_that_lacks_every_node_is_rebuilt_by_proofs(chain: Chain) -> None:
    whole = await chain.node.execution_witness(9)
    touched = await chain.node.touched(9)
    verdict = await chain.examine(9, [GivenWitness(Witness([*touched.codes]))], [chain.node])
    found = verdict.verification
    if found.verdict == "INCONCLUSIVE":  # the codes of system contracts are in no trace
        assert found.missing in {keccak256(node) for node in whole.preimages}
        assert found.missing_account is None
    else:
        assert found.verdict == "VALID"


async def test_ancestors_are_fetched_for_blockhash(chain: Chain) -> None:
    """Without any header but the parent's, blocks whose transactions ask for older hashes are completed."""
    needed = 0
    for number in range(4, BLOCKS + 1):
        whole = await chain.node.execution_witness(number)
        source = GivenWitness(Witness(whole.preimages))
        found = (await chain.examine(number, [source])).verification
        if found.verdict == "INCONCLUSIVE":
            needed += 1
        assert (await chain.examine(number, [source], [chain.node])).verification.verdict == "VALID"
    assert needed > 0


async def test_a_source_that_lies_leaves_out_or_is_away_falls_through_to_the_next(chain: Chain) -> None:
    chance = random.Random(5)
    whole = await chain.node.execution_witness(10)
    half = [node for node in whole.preimages if chance.random() < 0.5]
    garbage = [chance.randbytes(200) for _ in range(20)] + [b"", b"\xf8", bytes(100_000)]

    class Away:
        name = "away"

        async def witness(self, number: int) -> Witness:
            raise WitnessUnavailableError(f"no block {number} here")

    good = ExecutionWitnessSource(chain.node)
    for bad in (
        GivenWitness(Witness([])),
        GivenWitness(Witness(half, whole.ancestors)),
        GivenWitness(Witness(garbage, whole.ancestors)),
        GivenWitness(Witness(whole.preimages, [b"\xc0", b"no header"])),
        Away(),
    ):
        verdict = await chain.examine(10, [bad, good])
        assert verdict.verification.verdict == "VALID"
    # what one leaves out and what the other leaves out make a whole
    rest = [node for node in whole.preimages if node not in half]
    verdict = await chain.examine(10, [GivenWitness(Witness(half)), GivenWitness(Witness(rest, whole.ancestors))])
    assert verdict.verification.verdict == "VALID"


async def test_when_all_are_exhausted_it_is_inconclusive_and_names_what_is_missing(chain: Chain) -> None:
    whole = await chain.node.execution_witness(10)
    half = list(whole.preimages[::2])
    verdict = await chain.examine(10, [GivenWitness(Witness(half)), GivenWitness(Witness(half, whole.ancestors))])
    found = verdict.verification
    assert found.verdict == "INCONCLUSIVE"
    assert found.missing in {keccak256(node) for node in whole.preimages[1::2]}

    def closed(method: str, _params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return refused(answer) if method.startswith("debug_execution") or method.endswith("trace") else answer

    async with rewritten(chain, closed) as node:
        with pytest.raises(PeerUnavailableError, match="no witness of block 10: execution-witness: .* not served"):
            await chain.examine(10, [ExecutionWitnessSource(node)])


def _as_rlp_headers(witness: dict[str, Any]) -> dict[str, Any]:
    return witness | {"headers": ["0x" + header_rlp(header).hex() for header in witness["headers"]]}


def _by_hash(entries: list[str]) -> dict[str, str]:
    return {"0x" + keccak256(bytes.fromhex(entry[2:])).hex(): entry for entry in entries}


FORMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "geth": lambda witness: witness,
    "standard": lambda witness: {key: value for key, value in _as_rlp_headers(witness).items() if key != "keys"},
    "reth": lambda witness: _as_rlp_headers(witness) | {"keys": ["0x" + "11" * 20]},
    "objects by hash": lambda witness: (
        _as_rlp_headers(witness) | {name: _by_hash(witness[name]) for name in ("state", "codes")}
    ),
    "header of an unknown form": lambda witness: (
        witness | {"headers": [header | {"mixHash": "0x" + "22" * 32} for header in witness["headers"]]}
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_clients_form_of_a_witness_is_read(chain: Chain, form: str) -> None:
    def rewrite(method: str, _params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method != "debug_executionWitness":
            return answer
        return answer | {"result": FORMS[form](answer["result"])}

    async with rewritten(chain, rewrite) as node:
        for number in (5, 11):
            # geth's own lacks the way to accounts that do not exist
            verdict = await chain.examine(number, [ExecutionWitnessSource(node)], [node])
            assert verdict.verification.verdict == "VALID"


async def test_a_node_that_wants_a_mode_is_given_one(chain: Chain) -> None:
    asked: list[list[Any]] = []

    class Reth(RewritingNode):
        """Refuses the call without its mode; the node behind it refuses the call with one."""

        async def _answer(self, request: Any) -> Any:
            call = json.loads(await request.text())
            if call["method"] == "debug_executionWitness":
                asked.append(call["params"][1:])
                if call["params"][1:] != ["canonical"]:
                    return web.json_response(refused(call, -32602))
                call["params"] = call["params"][:1]
            async with self._session.post(chain.l2.url, json=call) as response:
                return web.Response(body=await response.read(), content_type="application/json")

    async with Reth(chain.l2.url, lambda _method, _params, answer: answer) as proxy, JsonRpcClient(proxy.url) as client:
        source = ExecutionWitnessSource(RollupNode(client))
        for number in (5, 6):
            assert (await chain.examine(number, [source], [chain.node])).verification.verdict == "VALID"
    assert asked == [[], ["canonical"], ["canonical"]]


@pytest.mark.parametrize(
    "result",
    [None, [], "0x", {}, {"state": None}, {"state": ["zz"]}, {"state": [], "headers": [7]}, {"state": [], "codes": 3}],
    ids=str,
)
async def test_a_malformed_witness_is_as_good_as_none(chain: Chain, result: Any) -> None:
    def rewrite(method: str, _params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"result": result} if method == "debug_executionWitness" else answer

    async with rewritten(chain, rewrite) as node:
        verdict = await chain.examine(6, [ExecutionWitnessSource(node), ProofWitnessSource(node)], [node])
        assert verdict.verification.verdict == "VALID"


async def test_recorded_files_are_a_source(chain: Chain, tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    folder.mkdir()
    for number in range(1, 5):
        block, parent = await chain.node.raw_block(number), await chain.node.raw_header(number - 1)
        witness = await chain.node.execution_witness(number)
        inputs = BlockInputs(chain_config(chain.l2), parent, block, tuple(witness.preimages), tuple(witness.ancestors))
        write_block_file(folder / f"{number}.json{'.gz' if number % 2 else ''}", inputs)

    def closed(method: str, _params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return refused(answer) if method == "debug_executionWitness" else answer

    settings = {"witness_sources": "files, execution-witness", "witness_folder": folder}
    async with (
        RewritingNode(chain.l2.url, closed) as node,
        VerifierRun(chain.l2, tmp_path, [node.url], settings) as run,
    ):
        await run.reaches(4)
        assert await run.metric("mach_verifier_witnesses_total", source="files", result="complete") == 4
    (folder / "5.json").write_text("{}")
    with pytest.raises(WitnessUnavailableError, match=r"5.json holds no block"):
        await RecordedWitnessSource(folder).witness(5)
    with pytest.raises(WitnessUnavailableError, match="no 6.json"):
        await RecordedWitnessSource(folder).witness(6)
