"""The verifier's watch over output roots, on a real L1 and a real database: what it alerts over, and what never."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account
from tests.contracts.deployed_chain import CHAIN_ID
from tests.contracts.l1_proxy import l1_proxy
from tests.contracts.output_chain import OutputChain, output_chain, root_of

from mach.chain.connection import connection
from mach.chain.contracts import contract_at
from mach.chain.output_oracles import OutputOracles
from mach.chain.sender import TransactionSender
from mach.protocol.alerts import OutputOracleMismatch
from mach.protocol.hashing import keccak256
from mach.storage.chain_record import VERIFIED, LabelledHead
from mach.storage.database import Database, open_database
from mach.storage.output_proposals import ProposalLog
from mach.storage.verdict_log import VerdictLog, VerdictRecord
from mach.transport.jsonrpc_client import PeerUnavailableError
from mach.verifier.dispatcher import AlertDispatcher
from mach.verifier.early_alert import EarlyAlertSender
from mach.verifier.output_roots import REREAD_BLOCKS, OutputRootWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.contracts.deployed_chain import Anvil

    from mach.chain.connection import L1Client

OPERATORS = ("http://127.0.0.1:1", "http://127.0.0.1:2")
LIE = b"\x66" * 32
RICH = Account.from_key("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
"""Anvil's third account."""
DEADLINE_S = 30.0


@pytest.fixture
async def chain(anvil: Anvil) -> AsyncIterator[OutputChain]:
    async with output_chain(anvil) as made:
        yield made


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_database(f"sqlite+aiosqlite:///{tmp_path / 'verifier.sqlite'}", "verifier")
    yield opened
    await opened.close()


def header_of(number: int) -> bytes:
    return b"header of block %d" % number


class Watched:
    """A watch with the parts it works on; `served` is what the rollup's node answers for a header."""

    def __init__(self, chain: OutputChain, database: Database, w3: L1Client | None = None, **settings: Any) -> None:
        self.proposals = ProposalLog(database)
        self.verdicts = VerdictLog(database)
        self.served: Callable[[int], Awaitable[bytes | None]] = self._header
        self.watch = OutputRootWatch(
            w3 or chain.w3,
            OutputOracles(
                w3 or chain.w3,
                l2_output_oracle=chain.contracts.l2_output_oracle,
                dispute_game_factory=chain.contracts.dispute_game_factory,
            ),
            self.proposals,
            self.verdicts,
            AlertDispatcher(self.verdicts, OPERATORS, timeout_s=1.0),
            lambda number: self.served(number),
            **{"confirmations": 1, "lookback_blocks": 1000, "poll_interval_s": 0.02} | settings,
        )

    async def _header(self, number: int) -> bytes | None:
        return header_of(number)

    async def verify(self, *numbers: int, root: Callable[[int], bytes | None] = root_of) -> None:
        """Puts blocks on record as re-executed, with these output roots."""
        for number in numbers:
            header = header_of(number)
            record = VerdictRecord(
                number, keccak256(header), "VALID", keccak256(header), header, "[]", None, 1, 1, time.time(), 0.1,
                computed_output_root=root(number),
            )  # fmt: skip
            await self.verdicts.record(record, (), LabelledHead(VERIFIED, number, keccak256(header), header))

    async def states(self) -> dict[int, str]:
        """State by L2 block; of an output before a game."""
        found: dict[int, str] = {}
        for state in ("open", "agrees", "mismatch", "unknown", "withdrawn"):
            for record in await self.proposals.in_state(state):
                found[record.l2_block_number] = state
        return found

    async def alerts(self) -> list[dict[str, Any]]:
        """Params of what waits for the first operator."""
        pending = await self.verdicts.pending(OPERATORS[0])
        assert {record.method for record in pending} <= {"alert_blockOutputOracleMismatch"}
        return [json.loads(record.params) for record in pending]


async def test_true_roots_agree_and_a_false_one_is_alerted_once_at_every_operator(
    chain: OutputChain, database: Database
) -> None:
    watched = Watched(chain, database)
    await watched.verify(*range(1, 16))
    await chain.propose(5)
    await chain.propose(10, LIE)
    await chain.propose(15)
    await chain.create_game(5)
    await chain.create_game(10, LIE)  # the same index and block as the output's: the same alert
    for _ in range(2):
        await watched.watch.turn()
        assert await watched.states() == {5: "agrees", 10: "mismatch", 15: "agrees"}
        for operator in OPERATORS:
            (record,) = await watched.verdicts.pending(operator)
            assert record.message_hash == OutputOracleMismatch(root_of(10), 1).message_hash()
            assert record.block_number == 10
        assert await watched.alerts() == [{"expect_output_root": "0x" + root_of(10).hex(), "invalid_output_index": 1}]
    assert len(await watched.proposals.in_state("mismatch")) == 2


async def test_a_game_is_named_by_its_own_index(chain: OutputChain, database: Database) -> None:
    watched = Watched(chain, database)
    await watched.verify(*range(1, 16))
    await chain.create_game(5)
    await chain.create_game(6)
    await chain.create_game(7, LIE)
    await watched.watch.turn()
    assert await watched.alerts() == [{"expect_output_root": "0x" + root_of(7).hex(), "invalid_output_index": 2}]


async def test_a_block_that_is_not_verified_yet_is_waited_for(chain: OutputChain, database: Database) -> None:
    watched = Watched(chain, database)
    await chain.propose(5, LIE)
    await watched.watch.turn()  # an empty log
    await watched.verify(3, 4)
    await watched.watch.turn()
    assert await watched.states() == {5: "open"}
    await watched.verify(5)
    await watched.watch.turn()
    assert await watched.states() == {5: "mismatch"}


async def test_what_is_not_known_is_never_alerted(chain: OutputChain, database: Database) -> None:
    watched = Watched(chain, database)
    await watched.verify(7, 8, 9)
    await watched.verify(10, root=lambda _: None)  # as of a verifier that kept no output roots
    await chain.propose(5, LIE)
    await chain.propose(10, LIE)
    await watched.watch.turn()
    assert await watched.states() == {5: "unknown", 10: "unknown"}
    assert await watched.alerts() == []


async def test_a_young_proposal_is_not_judged(chain: OutputChain, database: Database) -> None:
    watched = Watched(chain, database, confirmations=4)
    await watched.verify(*range(1, 6))
    mined_in = await chain.propose(5, LIE)
    while await chain.head() < mined_in + 3:
        await watched.watch.turn()
        assert await watched.states() == {5: "open"}
        chain.anvil.mine(1)
    await watched.watch.turn()
    assert await watched.states() == {5: "mismatch"}


async def test_a_block_that_may_be_replaced_or_was_judges_nothing(chain: OutputChain, database: Database) -> None:
    watched = Watched(chain, database)
    await watched.verify(*range(1, 11))
    await chain.propose(5, LIE)
    await chain.propose(10)

    async def not_settled(_: int) -> None:
        return None

    async def replaced(_: int) -> bytes:
        return b"another block"

    async def away(_: int) -> bytes:
        raise PeerUnavailableError("the node is away")

    settled = watched.served
    for watched.served in (not_settled, replaced, away):
        await watched.watch.turn()
        assert await watched.states() == {5: "open", 10: "open"}
    watched.served = settled
    await watched.watch.turn()
    assert await watched.states() == {5: "mismatch", 10: "agrees"}


async def test_a_restart_goes_on_where_it_was_and_misses_nothing(chain: OutputChain, database: Database) -> None:
    first = Watched(chain, database)
    await first.verify(*range(1, 21))
    await chain.propose(5)
    await first.watch.turn()
    chain.anvil.mine(REREAD_BLOCKS + 50)
    await first.watch.turn()
    position = await chain.head() + 1
    await chain.propose(10, LIE)  # nobody watches
    chain.anvil.mine(REREAD_BLOCKS + 50)
    await chain.propose(15)
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        again = Watched(chain, database, w3)
        await again.watch.turn()
        asked = [call["params"][0] for calls in proxy.requests for call in calls if call["method"] == "eth_getLogs"]
    assert int(asked[0]["fromBlock"], 16) == position - REREAD_BLOCKS
    assert await again.states() == {5: "agrees", 10: "mismatch", 15: "agrees"}
    assert len(await again.alerts()) == 1


async def test_an_empty_database_looks_back_so_far_and_no_further(chain: OutputChain, database: Database) -> None:
    watched = Watched(chain, database, lookback_blocks=10)
    await watched.verify(*range(1, 11))
    await chain.propose(5, LIE)
    chain.anvil.mine(20)
    await chain.propose(10)
    await watched.watch.turn()
    assert await watched.states() == {10: "agrees"}


async def test_a_lie_that_a_reorganisation_takes_back_in_time_is_no_alert(
    chain: OutputChain, database: Database
) -> None:
    watched = Watched(chain, database, confirmations=3)
    await watched.verify(*range(1, 11))
    await chain.propose(5)
    snapshot = chain.anvil.rpc("evm_snapshot")
    await chain.propose(10, LIE)
    await watched.watch.turn()
    assert await watched.states() == {5: "open", 10: "open"}
    assert chain.anvil.rpc("evm_revert", snapshot)
    await chain.propose(10)
    chain.anvil.mine(3)
    await watched.watch.turn()
    states = {record.output_root: record.state for record in await watched.proposals.in_state("withdrawn")}
    assert states == {LIE: "withdrawn"}
    assert [record.output_root for record in await watched.proposals.in_state("agrees")] == [root_of(5), root_of(10)]
    assert await watched.alerts() == []


async def test_what_vanished_and_comes_back_is_judged_anew(chain: OutputChain, database: Database) -> None:
    watched = Watched(chain, database)
    await watched.verify(*range(1, 11))
    await chain.propose(5)
    await chain.propose(10, LIE)
    await watched.watch.turn()
    await chain.delete_from(1)
    chain.anvil.mine(2 * REREAD_BLOCKS)
    await watched.watch.turn()
    assert await watched.states() == {5: "agrees", 10: "withdrawn"}
    await chain.propose(10, LIE)
    await watched.watch.turn()
    assert await watched.states() == {5: "agrees", 10: "mismatch"}
    # It is the same alert: the operators have it, or get it, once.
    assert len(await watched.alerts()) == 1


async def test_an_l1_that_goes_away_is_waited_for(chain: OutputChain, database: Database) -> None:
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        watched = Watched(chain, database, w3)
        await watched.verify(*range(1, 11))
        running = asyncio.create_task(watched.watch.run())
        try:
            await chain.propose(5)
            await _until(watched, {5: "agrees"})
            asked = len(proxy.requests)
            proxy.status = 503
            await chain.propose(10, LIE)
            async with asyncio.timeout(DEADLINE_S):
                while len(proxy.requests) < asked + 3:
                    await asyncio.sleep(0.01)
            assert await watched.states() == {5: "agrees"}
            proxy.status = 200
            await _until(watched, {5: "agrees", 10: "mismatch"})
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _until(watched: Watched, states: dict[int, str]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await watched.states() != states:
            await asyncio.sleep(0.02)


class Alerter:
    """Early alerts of one verifier, over a lie that its watch has found."""

    def __init__(self, chain: OutputChain, database: Database) -> None:
        self.proposals = ProposalLog(database)
        self.transactions = TransactionSender(chain.w3, RICH, CHAIN_ID)
        self.sender = EarlyAlertSender(self.transactions, chain.contracts.early_alerts, self.proposals)
        self.watched = Watched(chain, database, on_early_alert=self.sender.wake)

    async def raised(self) -> tuple[str | None, str | None]:
        """Runs the sender until the one early alert is settled; its state and the contract's reason."""
        running = asyncio.create_task(self.sender.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                while await self.proposals.pending_early_alerts():
                    await asyncio.sleep(0.02)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        records = await self.proposals.in_state("mismatch")
        (record,) = [record for record in records if record.early_alert is not None]
        return record.early_alert, record.early_alert_reason


async def test_the_early_alert_is_on_l1_once_and_a_second_verifiers_is_refused(
    chain: OutputChain, database: Database, tmp_path: Path
) -> None:
    first = Alerter(chain, database)
    await first.watched.verify(*range(1, 11))
    await chain.propose(5)
    await chain.propose(10, LIE)
    await chain.create_game(10, LIE)  # the contract knows nothing of games
    await first.watched.watch.turn()
    assert await first.raised() == ("confirmed", None)
    contract = contract_at(chain.w3, "EarlyAlerts", chain.contracts.early_alerts)
    assert bytes(await contract.functions.expected(1).call()) == root_of(10)
    assert await chain.w3.eth.get_transaction_count(RICH.address) == 1
    other = await open_database(f"sqlite+aiosqlite:///{tmp_path / 'other.sqlite'}", "verifier")
    try:
        second = Alerter(chain, other)
        await second.watched.verify(*range(1, 11))
        await second.watched.watch.turn()
        assert await second.raised() == ("refused", "UselessAlert()")
    finally:
        await other.close()


async def test_a_verifier_killed_before_or_after_sending_sends_the_same_transaction(
    chain: OutputChain, database: Database
) -> None:
    alerter = Alerter(chain, database)
    await alerter.watched.verify(*range(1, 6))
    await chain.propose(5, LIE)
    await alerter.watched.watch.turn()
    (pending,) = await alerter.proposals.pending_early_alerts()
    transaction = await alerter.sender._stored_or_new(pending)  # killed here
    again = Alerter(chain, database)
    assert await again.raised() == ("confirmed", None)
    assert (await chain.w3.eth.get_transaction_receipt(transaction.hash))["status"] == 1
    await again.proposals.settle_early_alert(pending.key, "pending")  # as if killed before it noticed
    assert await Alerter(chain, database).raised() == ("confirmed", None)
    assert await chain.w3.eth.get_transaction_count(RICH.address) == 1
