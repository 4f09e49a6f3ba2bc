"""Proposals of output roots as they stand on L1: both kinds, deletions, refuted games, nodes that answer garbage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.deployed_chain import CHAIN_ID
from tests.contracts.l1_proxy import l1_proxy
from tests.contracts.output_chain import OutputChain, output_chain, root_of

from mach.chain.addresses import address_bytes
from mach.chain.connection import connection
from mach.chain.errors import ContractNotFoundError, L1UnavailableError
from mach.chain.output_oracles import OracleKind, OutputOracles, OutputProposal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contracts.deployed_chain import Anvil

    from mach.chain.connection import L1Client


@pytest.fixture
async def chain(anvil: Anvil) -> AsyncIterator[OutputChain]:
    async with output_chain(anvil) as made:
        yield made


def reader(chain: OutputChain, w3: L1Client | None = None) -> OutputOracles:
    contracts = chain.contracts
    return OutputOracles(
        w3 or chain.w3,
        l2_output_oracle=contracts.l2_output_oracle,
        dispute_game_factory=contracts.dispute_game_factory,
    )


def told(proposals: tuple[OutputProposal, ...]) -> list[tuple[OracleKind, int, int, bytes]]:
    return [(each.kind, each.index, each.l2_block_number, each.output_root) for each in proposals]


async def test_both_kinds_are_read_with_index_block_and_place(chain: OutputChain) -> None:
    await reader(chain).check()
    for number in (5, 10):
        await chain.propose(number)
    mined_in = await chain.create_game(7)
    events = await reader(chain).read(0, await chain.head())
    assert told(events.proposals) == [
        (OracleKind.OUTPUT_ORACLE, 0, 5, root_of(5)),
        (OracleKind.OUTPUT_ORACLE, 1, 10, root_of(10)),
        (OracleKind.GAME_FACTORY, 0, 7, root_of(7)),
    ]
    assert events.deleted_from == {}
    game = events.proposals[-1]
    assert game.oracle == address_bytes(chain.contracts.dispute_game_factory)
    assert (game.l1_block_number, game.l1_block_hash) == (
        mined_in,
        bytes((await chain.w3.eth.get_block(mined_in))["hash"]),
    )


async def test_a_game_is_found_in_a_long_list(chain: OutputChain) -> None:
    await chain.create_games(range(1, 121))
    oracles = reader(chain)
    early = next(proposal for proposal in (await oracles.read(0, await chain.head())).proposals if proposal.index == 3)
    # Only the block of the fourth game: its place is far from the list's end, where the search begins.
    events = await reader(chain).read(early.l1_block_number, early.l1_block_number)
    assert early in events.proposals
    assert {each.l2_block_number - each.index for each in events.proposals} == {1}


async def test_deleted_outputs_are_gone_and_those_in_their_place_stand(chain: OutputChain) -> None:
    for number in (5, 10, 15):
        await chain.propose(number)
    await chain.delete_from(1)
    last = await chain.propose(10, b"\x77" * 32)
    oracle = address_bytes(chain.contracts.l2_output_oracle)
    events = await reader(chain).read(0, last)
    assert told(events.proposals) == [
        (OracleKind.OUTPUT_ORACLE, 0, 5, root_of(5)),
        (OracleKind.OUTPUT_ORACLE, 1, 10, b"\x77" * 32),
    ]
    assert events.deleted_from == {oracle: 1}
    # Who reads on from behind the first three is told what became of them.
    assert (await reader(chain).read(last - 1, last)).deleted_from == {oracle: 1}


async def test_a_refuted_game_is_left_out_from_when_it_is_refuted(chain: OutputChain) -> None:
    await chain.create_game(20)
    await chain.create_game(25)
    oracles = reader(chain)
    assert [each.index for each in (await oracles.read(0, await chain.head())).proposals] == [0, 1]
    await chain.send("DisputeGame", await chain.game_at(0), "resolve", False)
    await chain.send("DisputeGame", await chain.game_at(1), "resolve", True)
    assert [each.index for each in (await oracles.read(0, await chain.head())).proposals] == [1]


async def test_a_contract_that_is_not_there_is_named(chain: OutputChain) -> None:
    with pytest.raises(ContractNotFoundError, match="DisputeGameFactory"):
        await OutputOracles(chain.w3, dispute_game_factory="0x" + "12" * 20).check()


@pytest.mark.parametrize("answer", ["0x", "0x00", "0x" + "ff" * 32, "0x" + "ff" * 96, None, 7])
async def test_garbage_from_the_node_is_an_outage(chain: OutputChain, answer: Any) -> None:
    await chain.create_game(20)

    def tamper(asked: dict[str, Any], answered: dict[str, Any]) -> dict[str, Any]:
        return answered | {"result": answer} if asked["method"] == "eth_call" else answered

    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        oracles = reader(chain, w3)
        proxy.tamper = tamper
        with pytest.raises(L1UnavailableError):
            await oracles.read(0, await chain.head())
        proxy.tamper = None
        assert [each.l2_block_number for each in (await oracles.read(0, await chain.head())).proposals] == [20]
