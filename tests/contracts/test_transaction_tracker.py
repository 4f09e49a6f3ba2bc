"""Transactions under way on a real anvil: mined, stuck, dropped, reorganised, overtaken, taken back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.deployed_chain import CHAIN_ID, DEPLOYER, Anvil, running_anvil
from tests.contracts.l1_proxy import l1_proxy

from mach.chain.connection import connect, connection, disconnect
from mach.chain.contracts import encode_call, encode_creation
from mach.chain.errors import InsufficientFundsError, L1UnavailableError, NonceConsumedError
from mach.chain.sender import TransactionSender
from mach.chain.transaction import Call, SignedTransaction
from mach.chain.transaction_tracker import (
    RECEIPTS_A_TURN,
    Confirmed,
    Mined,
    Outcome,
    Reverted,
    Superseded,
    TrackerSettings,
    TransactionTracker,
    Unmined,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mach.chain.connection import L1Client

RECEIVER = "0x" + "55" * 20


@pytest.fixture
async def client(anvil: Anvil) -> AsyncIterator[L1Client]:
    w3 = await connect(anvil.url, CHAIN_ID)
    yield w3
    await disconnect(w3)


class Tracked:
    """A tracker whose clock a test sets, and what it asked about replacements."""

    def __init__(self, w3: L1Client, **settings: Any) -> None:
        self.now = 1000.0
        self.replaced: list[tuple[SignedTransaction, SignedTransaction]] = []
        self.may_replace = True
        self.sender = TransactionSender(w3, DEPLOYER, CHAIN_ID, exclusive=True)
        self.tracker = TransactionTracker(
            self.sender, self.replacing, TrackerSettings(**settings), clock=lambda: self.now
        )

    async def replacing(self, present: SignedTransaction, newer: SignedTransaction) -> bool:
        self.replaced.append((present, newer))
        return self.may_replace

    async def prepare(self, **settings: Any) -> SignedTransaction:
        return await self.sender.prepare(RECEIVER, b"", **{"value_wei": 1, "gas_limit": 21_000} | settings)

    async def submit(self, count: int = 1) -> list[SignedTransaction]:
        transactions = [await self.prepare() for _ in range(count)]
        assert await self.tracker.submit(transactions) == [None] * count
        return transactions

    async def until(self, kind: type[Outcome], count: int = 1) -> list[Any]:
        """Polls until `count` outcomes of a kind came; the others are dropped."""
        found: list[Any] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                found += [outcome for outcome in await self.tracker.poll() if isinstance(outcome, kind)]
        return found


@pytest.fixture
async def tracked(client: L1Client) -> Tracked:
    return Tracked(client)


def received(anvil: Anvil) -> int:
    return int(anvil.rpc("eth_getBalance", RECEIVER, "latest"), 16)


async def mined(tracked: Tracked, transaction: SignedTransaction) -> None:
    """Anvil answers a batch before it mines what came with it."""
    await tracked.sender.wait(transaction.hash, 10)


def kinds(outcomes: list[Outcome]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


async def test_nothing_under_way_asks_nothing(anvil: Anvil) -> None:
    async with l1_proxy(anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        tracked = Tracked(w3)
        proxy.requests.clear()
        assert await tracked.tracker.poll() == []
        assert proxy.requests == []


async def test_a_mined_transaction_is_confirmed(anvil: Anvil, tracked: Tracked) -> None:
    (transaction,) = await tracked.submit()
    assert len(tracked.tracker) == 1
    await mined(tracked, transaction)
    first, confirmed = await tracked.tracker.poll()
    assert isinstance(first, Mined)
    assert isinstance(confirmed, Confirmed)
    assert confirmed.transaction == transaction
    assert confirmed.receipt.block_number == anvil.block_number()
    assert await tracked.sender.still_mined(confirmed.receipt)
    assert len(tracked.tracker) == 0
    assert await tracked.tracker.poll() == []


async def test_confirmations_are_counted(anvil: Anvil, client: L1Client) -> None:
    tracked = Tracked(client, confirmations=3)
    await mined(tracked, (await tracked.submit())[0])
    assert kinds(await tracked.tracker.poll()) == [Mined]
    assert await tracked.tracker.poll() == []
    anvil.mine(1)
    assert await tracked.tracker.poll() == []
    anvil.mine(1)
    assert kinds(await tracked.tracker.poll()) == [Confirmed]


async def test_many_in_flight_cost_one_request_a_turn(anvil: Anvil) -> None:
    async with l1_proxy(anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        anvil.rpc("evm_setAutomine", False)
        tracked = Tracked(w3)
        first = await tracked.prepare()
        count = 2 * RECEIPTS_A_TURN
        transactions = [first, *[await tracked.prepare() for _ in range(count - 1)]]
        proxy.requests.clear()
        assert await tracked.tracker.submit(transactions) == [None] * count
        assert len(proxy.requests) == 1
        proxy.requests.clear()
        assert await tracked.tracker.poll() == []
        assert len(proxy.requests) == 1
        anvil.mine(1)
        proxy.requests.clear()
        outcomes = await tracked.tracker.poll()
        assert len(proxy.requests) == 2
        assert [one.transaction for one in outcomes if isinstance(one, Confirmed)] == transactions
        assert received(anvil) == count


async def test_nonces_are_in_the_order_of_preparation_without_a_request(anvil: Anvil) -> None:
    async with l1_proxy(anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        tracked = Tracked(w3)
        await tracked.sender.resync()
        proxy.requests.clear()
        transactions = [await tracked.prepare() for _ in range(20)]
        assert [one.nonce for one in transactions] == list(range(20))
        assert "eth_getTransactionCount" not in proxy.methods()


async def test_a_stuck_transaction_is_replaced_with_higher_fees(anvil: Anvil, tracked: Tracked) -> None:
    anvil.rpc("evm_setAutomine", False)
    first, second = await tracked.submit(2)
    tracked.now += 29
    assert await tracked.tracker.poll() == []
    assert tracked.replaced == []
    tracked.now += 1
    assert await tracked.tracker.poll() == []
    ((present, newer),) = tracked.replaced
    assert present == first
    assert newer.nonce == first.nonce
    assert newer.max_fee_wei * 10 >= first.max_fee_wei * 11
    anvil.mine(1)
    confirmed = await tracked.until(Confirmed, 2)
    assert [one.transaction for one in confirmed] == [newer, second]
    assert received(anvil) == 2


async def test_only_the_transaction_that_holds_the_others_back_is_replaced(anvil: Anvil, tracked: Tracked) -> None:
    anvil.rpc("evm_setAutomine", False)
    first, *_ = await tracked.submit(5)
    for _ in range(3):
        tracked.now += 31
        await tracked.tracker.poll()
    assert {present.nonce for present, _ in tracked.replaced} == {first.nonce}
    assert len(tracked.replaced) == 3
    anvil.mine(1)
    await tracked.until(Confirmed, 5)
    assert received(anvil) == 5


async def test_a_replacement_that_may_not_be_stored_is_not_sent(anvil: Anvil, tracked: Tracked) -> None:
    anvil.rpc("evm_setAutomine", False)
    tracked.may_replace = False
    (first,) = await tracked.submit()
    tracked.now += 31
    await tracked.tracker.poll()
    anvil.mine(1)
    (confirmed,) = await tracked.until(Confirmed)
    assert confirmed.transaction == first


async def test_the_fee_cap_bounds_replacements(anvil: Anvil, client: L1Client) -> None:
    anvil.rpc("evm_setAutomine", False)
    tracked = Tracked(client)
    (first,) = await tracked.submit()
    tracked.sender._fee_cap_wei = first.max_fee_wei
    tracked.now += 31
    assert await tracked.tracker.poll() == []
    assert tracked.replaced == []
    anvil.mine(1)
    (confirmed,) = await tracked.until(Confirmed)
    assert confirmed.transaction == first


async def test_what_the_pool_lost_is_sent_again(anvil: Anvil, tracked: Tracked) -> None:
    anvil.rpc("evm_setAutomine", False)
    transactions = await tracked.submit(3)
    for transaction in transactions[:2]:
        anvil.rpc("anvil_dropTransaction", "0x" + transaction.hash.hex())
    tracked.now += 6
    await tracked.tracker.poll()
    anvil.mine(1)
    await tracked.until(Confirmed, 3)
    assert received(anvil) == 3


async def test_a_released_nonce_does_not_hold_back_later_ones(anvil: Anvil, tracked: Tracked) -> None:
    dropped = await tracked.prepare()
    later = await tracked.prepare()
    assert await tracked.tracker.submit([later]) == [None]
    tracked.sender.release(dropped)
    await tracked.tracker.poll()
    (confirmed,) = await tracked.until(Confirmed)
    assert confirmed.transaction == later
    assert received(anvil) == 1
    assert len(tracked.tracker) == 0
    # The freed nonce is not given out again.
    assert (await tracked.prepare()).nonce == later.nonce + 1


async def test_a_prepared_transaction_that_was_forgotten_is_waited_for_and_then_freed(
    anvil: Anvil, client: L1Client
) -> None:
    tracked = Tracked(client, nonce_patience_s=0.05)
    await tracked.prepare()
    later = await tracked.prepare()
    await tracked.tracker.submit([later])
    (confirmed,) = await tracked.until(Confirmed)
    assert confirmed.transaction == later
    assert received(anvil) == 1


async def test_gaps_among_stored_transactions_are_freed_after_a_restart(anvil: Anvil, client: L1Client) -> None:
    before = Tracked(client)
    stored = [await before.prepare() for _ in range(4)]
    # The process ended before any was sent, and the second was never stored.
    after = Tracked(client)
    on_record = [stored[0], stored[2], stored[3]]
    await after.sender.resync(on_record)
    for transaction in on_record:
        after.tracker.add(SignedTransaction.from_raw(transaction.raw), sent=False)
    confirmed = await after.until(Confirmed, 3)
    assert [one.transaction.hash for one in confirmed] == [one.hash for one in on_record]
    assert received(anvil) == 3
    assert (await after.prepare()).nonce == 4


async def test_a_reorganised_transaction_is_sent_again(anvil: Anvil, client: L1Client) -> None:
    tracked = Tracked(client, confirmations=2)
    snapshot = anvil.rpc("evm_snapshot")
    (transaction,) = await tracked.submit()
    (first,) = await tracked.until(Mined)
    anvil.rpc("evm_revert", snapshot)
    anvil.rpc("anvil_mine", "0x2", "0x5")
    assert not await tracked.sender.still_mined(first.receipt)
    assert kinds(await tracked.tracker.poll()) == [Unmined]
    (again,) = await tracked.until(Mined)
    assert again.transaction == transaction
    assert again.receipt.block_hash != first.receipt.block_hash
    anvil.mine(1)
    assert kinds(await tracked.tracker.poll()) == [Confirmed]


async def test_a_transaction_in_another_block_is_told_anew(anvil: Anvil, client: L1Client) -> None:
    tracked = Tracked(client, confirmations=3)
    snapshot = anvil.rpc("evm_snapshot")
    (transaction,) = await tracked.submit()
    await tracked.until(Mined)
    anvil.rpc("evm_revert", snapshot)
    anvil.rpc("anvil_mine", "0x1", "0x5")
    anvil.rpc("eth_sendRawTransaction", "0x" + transaction.raw.hex())
    (again,) = await tracked.until(Mined)
    assert again.receipt.block_number == anvil.block_number()


async def test_a_revert_is_told_with_its_reason(client: L1Client) -> None:
    tracked = Tracked(client)
    creation = encode_creation(client, "ERC20PresetFixedSupply", "T", "T", 10, tracked.sender.address)
    token = (await tracked.sender.send(Call(None, creation, "deploy a token"))).contract_address
    data = encode_call(client, "ERC20PresetFixedSupply", "transfer", RECEIVER, 11)
    transaction = await tracked.sender.prepare(token, data, gas_limit=100_000)
    await tracked.tracker.submit([transaction])
    (reverted,) = await tracked.until(Reverted)
    assert reverted.reason == "ERC20: transfer amount exceeds balance"
    assert reverted.transaction == transaction


async def test_a_nonce_that_another_process_used_is_superseded(
    anvil: Anvil, tracked: Tracked, client: L1Client
) -> None:
    anvil.rpc("evm_setAutomine", False)
    (ours,) = await tracked.submit()
    rival = await tracked.sender.replace(ours)
    foreign = TransactionSender(client, DEPLOYER, CHAIN_ID)
    await foreign.broadcast(rival)
    anvil.mine(1)
    for _ in range(5):
        assert await tracked.tracker.poll() == []
    tracked.now += 15
    (superseded,) = await tracked.until(Superseded)
    assert superseded.transaction == ours
    assert len(tracked.tracker) == 0


async def test_a_consumed_nonce_makes_the_sender_count_anew(anvil: Anvil, tracked: Tracked, client: L1Client) -> None:
    first = await tracked.prepare()
    await TransactionSender(client, DEPLOYER, CHAIN_ID).send(Call(RECEIVER, b"", "elsewhere", value_wei=1))
    (refused,) = await tracked.tracker.submit([first])
    assert isinstance(refused, NonceConsumedError)
    assert len(tracked.tracker) == 0
    (again,) = await tracked.submit()
    assert again.nonce == first.nonce + 1
    await tracked.until(Confirmed)
    assert received(anvil) == 2


async def test_a_refused_transaction_is_not_followed_and_its_nonce_free(anvil: Anvil, client: L1Client) -> None:
    tracked = Tracked(client)
    fine, poor, later = await tracked.prepare(), await tracked.prepare(value_wei=10**30), await tracked.prepare()
    results = await tracked.tracker.submit([fine, poor, later])
    assert results[0] is None
    assert isinstance(results[1], InsufficientFundsError)
    assert results[2] is None
    assert len(tracked.tracker) == 2
    confirmed = await tracked.until(Confirmed, 2)
    assert [one.transaction for one in confirmed] == [fine, later]
    assert received(anvil) == 2


async def test_an_abandoned_transaction_makes_room(anvil: Anvil, tracked: Tracked) -> None:
    anvil.rpc("evm_setAutomine", False)
    unwanted, later = await tracked.submit(2)
    await tracked.tracker.abandon(unwanted)
    await tracked.tracker.abandon(unwanted)
    anvil.mine(1)
    outcomes = await tracked.tracker.poll()
    assert [one.transaction for one in outcomes if isinstance(one, Superseded)] == [unwanted]
    assert [one.transaction for one in outcomes if isinstance(one, Confirmed)] == [later]
    assert received(anvil) == 1


async def test_a_stuck_cancellation_is_replaced_without_asking(anvil: Anvil, tracked: Tracked) -> None:
    anvil.rpc("evm_setAutomine", False)
    (unwanted,) = await tracked.submit()
    await tracked.tracker.abandon(unwanted)
    tracked.now += 31
    await tracked.tracker.poll()
    assert tracked.replaced == []
    anvil.mine(1)
    assert [one.transaction for one in await tracked.until(Superseded)] == [unwanted]
    assert received(anvil) == 0


async def test_what_could_not_be_sent_is_sent_when_the_node_is_back(anvil: Anvil, tmp_path: Path) -> None:
    port = int(anvil.url.rpartition(":")[2])
    async with connection(anvil.url, CHAIN_ID, deadline_s=5) as w3:
        tracked = Tracked(w3)
        transactions = [await tracked.prepare() for _ in range(3)]
        anvil.stop()
        assert await tracked.tracker.submit(transactions) == [None] * 3
        for _ in range(3):
            with pytest.raises(L1UnavailableError):
                await tracked.tracker.poll()
        with running_anvil(tmp_path, port=port) as revived:
            await tracked.until(Confirmed, 3)
            assert received(revived) == 3


async def test_outcomes_are_not_lost_when_the_rest_of_a_turn_fails(anvil: Anvil) -> None:
    async with l1_proxy(anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        tracked = Tracked(w3)
        (first,) = await tracked.submit()
        await mined(tracked, first)
        anvil.rpc("evm_setAutomine", False)
        await tracked.submit()
        tracked.now += 6
        proxy.tamper = lambda call, answer: (
            {"id": answer["id"], "result": "nonsense"} if call["method"] == "eth_sendRawTransaction" else answer
        )
        with pytest.raises(L1UnavailableError):
            await tracked.tracker.poll()
        proxy.tamper = None
        assert [one.transaction for one in await tracked.tracker.poll() if isinstance(one, Confirmed)] == [first]


@pytest.mark.parametrize("method", ["eth_getTransactionCount", "eth_blockNumber", "eth_getTransactionReceipt"])
@pytest.mark.parametrize("lie", [None, "0x", [], {}, {"status": "0x1"}, -1, "0x" + "f" * 70])
async def test_a_lying_node_loses_nothing(anvil: Anvil, method: str, lie: object) -> None:
    async with l1_proxy(anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        tracked = Tracked(w3)
        (transaction,) = await tracked.submit()
        await mined(tracked, transaction)
        proxy.tamper = lambda call, answer: {**answer, "result": lie} if call["method"] == method else answer
        if (method, lie) == ("eth_getTransactionReceipt", None):
            # What a node says that has not seen the block yet.
            assert await tracked.tracker.poll() == []
        else:
            with pytest.raises(L1UnavailableError):
                await tracked.tracker.poll()
        proxy.tamper = None
        assert [one.transaction for one in await tracked.until(Confirmed)] == [transaction]


async def test_the_receipt_of_another_transaction_is_no_answer(anvil: Anvil) -> None:
    async with l1_proxy(anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        tracked = Tracked(w3)
        first, second = await tracked.submit(2)
        await mined(tracked, second)
        true = await tracked.sender.receipts([first.hash, second.hash])
        assert set(true) == {first.hash, second.hash}
        proxy.tamper = lambda call, answer: (
            {**answer, "result": {**answer["result"], "transactionHash": "0x" + first.hash.hex()}}
            if call["method"] == "eth_getTransactionReceipt"
            else answer
        )
        with pytest.raises(L1UnavailableError, match="the receipt of another transaction"):
            await tracked.tracker.poll()
