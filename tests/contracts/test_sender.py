"""`mach.chain.sender` against a real anvil: sending once, whatever is repeated, lost or refused."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account
from tests.contracts.deployed_chain import CHAIN_ID, DEPLOYER, Anvil, running_anvil

from mach.chain.connection import connect, connection, disconnect
from mach.chain.contracts import encode_call, encode_creation
from mach.chain.errors import (
    FeeCapReachedError,
    InsufficientFundsError,
    L1UnavailableError,
    NonceConsumedError,
    ReplacementUnderpricedError,
    RevertedError,
    TransactionTimeoutError,
)
from mach.chain.sender import TransactionSender
from mach.chain.transaction import Call, SignedTransaction

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


def sender_on(w3: L1Client, **settings: Any) -> TransactionSender:
    return TransactionSender(w3, DEPLOYER, CHAIN_ID, **settings)


async def transfer(sender: TransactionSender, **settings: Any) -> SignedTransaction:
    return await sender.prepare(RECEIVER, b"", **{"value_wei": 1} | settings)


def received(anvil: Anvil) -> int:
    return int(anvil.rpc("eth_getBalance", RECEIVER, "latest"), 16)


async def deploy_token(sender: TransactionSender) -> str:
    creation = encode_creation(sender.w3, "ERC20PresetFixedSupply", "T", "T", 10, sender.address)
    address = (await sender.send(Call(None, creation, "deploy a token"))).contract_address
    assert address is not None
    return address


async def test_the_same_bytes_are_executed_once(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client)
    anvil.rpc("evm_setAutomine", False)
    transaction = await transfer(sender)
    assert received(anvil) == 0
    await sender.broadcast(transaction)
    await sender.broadcast(transaction)
    assert await sender.receipt(transaction.hash) is None
    anvil.mine(1)
    receipt = await sender.wait(transaction.hash, 10)
    assert receipt.transaction_hash == transaction.hash
    assert received(anvil) == 1
    # After a restart only the stored bytes are left; they are mined already.
    restarted = sender_on(client)
    await restarted.broadcast(SignedTransaction.from_raw(transaction.raw))
    assert (await restarted.wait(transaction.hash, 10)).block_number == receipt.block_number
    assert received(anvil) == 1


async def test_what_was_never_sent_is_sent_after_a_restart(anvil: Anvil, client: L1Client) -> None:
    stored = (await transfer(sender_on(client))).raw
    again = SignedTransaction.from_raw(stored)
    restarted = sender_on(client)
    await restarted.broadcast(again)
    await restarted.wait(again.hash, 10)
    assert received(anvil) == 1
    assert (await transfer(restarted)).nonce == again.nonce + 1


async def test_a_nonce_that_another_process_used_is_reported(anvil: Anvil, client: L1Client) -> None:
    ours = await transfer(sender_on(client))
    other = await sender_on(client).prepare("0x" + "66" * 20, b"", value_wei=1)
    assert ours.nonce == other.nonce
    await sender_on(client).broadcast(other)
    await sender_on(client).wait(other.hash, 10)
    with pytest.raises(NonceConsumedError, match=f"nonce {ours.nonce} of {DEPLOYER.address}"):
        await sender_on(client).broadcast(ours)
    assert received(anvil) == 0


async def test_a_replacement_takes_the_place_of_a_stuck_transaction(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client)
    anvil.rpc("evm_setAutomine", False)
    stuck = await transfer(sender)
    await sender.broadcast(stuck)
    newer = await sender.replace(stuck)
    assert (newer.nonce, newer.to, newer.value_wei, newer.data) == (stuck.nonce, stuck.to, stuck.value_wei, stuck.data)
    assert newer.max_fee_wei * 10 >= stuck.max_fee_wei * 11
    assert newer.priority_fee_wei * 10 >= stuck.priority_fee_wei * 11
    await sender.broadcast(newer)
    anvil.mine(1)
    assert (await sender.wait(newer.hash, 10)).succeeded
    assert await sender.receipt(stuck.hash) is None
    assert received(anvil) == 1


async def test_a_competitor_without_a_bump_is_refused(anvil: Anvil, client: L1Client) -> None:
    anvil.rpc("evm_setAutomine", False)
    await sender_on(client).broadcast(await transfer(sender_on(client), nonce=0))
    rival = await sender_on(client).prepare("0x" + "66" * 20, b"", value_wei=1, nonce=0)
    with pytest.raises(ReplacementUnderpricedError, match="has nonce 0"):
        await sender_on(client).broadcast(rival)


async def test_fees_stay_under_the_cap(anvil: Anvil, client: L1Client) -> None:
    with pytest.raises(FeeCapReachedError, match=re.escape("above the cap of 1e-09")):
        await transfer(sender_on(client, fee_cap_wei=1))
    base_fee = int(anvil.rpc("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
    capped = sender_on(client, fee_cap_wei=base_fee + 2 * 10**9)
    transaction = await transfer(capped)
    assert transaction.max_fee_wei == base_fee + 2 * 10**9
    with pytest.raises(FeeCapReachedError, match=f"replacing transaction 0x{transaction.hash.hex()}"):
        await capped.replace(transaction)


async def test_a_revert_is_found_before_anything_is_sent(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client)
    token = await deploy_token(sender)
    before = anvil.block_number()
    too_much = encode_call(client, "ERC20PresetFixedSupply", "transfer", RECEIVER, 11)
    with pytest.raises(RevertedError) as caught:
        await sender.prepare(token, too_much, label="move the tokens")
    assert caught.value.reason == "ERC20: transfer amount exceeds balance"
    assert "cannot move the tokens" in str(caught.value)
    fine = Call(token, encode_call(client, "ERC20PresetFixedSupply", "transfer", RECEIVER, 1), "move one")
    with pytest.raises(RevertedError):
        await sender.send_all([fine, Call(token, too_much, "move eleven")])
    assert anvil.block_number() == before
    # Neither took a nonce.
    assert (await sender.send(fine)).succeeded


async def test_a_mined_revert_says_why(client: L1Client) -> None:
    sender = sender_on(client)
    token = await deploy_token(sender)
    data = encode_call(client, "ERC20PresetFixedSupply", "transfer", RECEIVER, 11)
    transaction = await sender.prepare(token, data, gas_limit=100_000)
    await sender.broadcast(transaction)
    with pytest.raises(RevertedError, match="exceeds balance") as caught:
        await sender.wait(transaction.hash, 10)
    assert caught.value.transaction_hash == transaction.hash


async def test_an_account_without_funds_is_named_and_its_nonce_not_lost(anvil: Anvil, client: L1Client) -> None:
    poor = TransactionSender(client, Account.from_key((77).to_bytes(32)), CHAIN_ID)
    with pytest.raises(InsufficientFundsError, match=poor.address):
        await poor.send(Call(RECEIVER, b"", "pay", value_wei=1))
    refused = await poor.prepare(RECEIVER, b"", value_wei=1, gas_limit=21_000)
    with pytest.raises(InsufficientFundsError, match=poor.address):
        await poor.broadcast(refused)
    anvil.rpc("anvil_setBalance", poor.address, hex(10**18))
    next_one = await poor.prepare(RECEIVER, b"", value_wei=1)
    assert next_one.nonce == refused.nonce
    await poor.broadcast(next_one)
    assert (await poor.wait(next_one.hash, 10)).succeeded


async def test_concurrent_transactions_get_nonces_of_their_own(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client)
    prepared = await asyncio.gather(*(transfer(sender) for _ in range(8)))
    assert sorted(transaction.nonce for transaction in prepared) == list(range(8))
    # The highest nonce first: the node holds it until the others are there.
    for transaction in sorted(prepared, key=lambda one: -one.nonce):
        await sender.broadcast(transaction)
    await asyncio.gather(*(sender.wait(transaction.hash, 10) for transaction in prepared))
    assert received(anvil) == 8


async def test_a_nonce_given_back_is_used_next(client: L1Client) -> None:
    sender = sender_on(client)
    first, second = await transfer(sender), await transfer(sender)
    sender.release(first)
    third, fourth = await transfer(sender), await transfer(sender)
    assert [second.nonce, third.nonce, fourth.nonce] == [1, 0, 2]


async def test_confirmations_are_waited_for(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client)
    transaction = await transfer(sender)
    await sender.broadcast(transaction)
    with pytest.raises(TransactionTimeoutError, match=r"3 confirmation\(s\) after 0.2 s"):
        await sender.wait(transaction.hash, 0.2, confirmations=3)
    waiting = asyncio.create_task(sender.wait(transaction.hash, 10, confirmations=3))
    await asyncio.to_thread(anvil.mine, 2)
    assert (await waiting).block_number == 1


async def test_an_unknown_transaction_times_out(client: L1Client) -> None:
    with pytest.raises(TransactionTimeoutError, match="0x" + "ab" * 32):
        await sender_on(client).wait(b"\xab" * 32, 0.1)


async def test_a_node_that_goes_away_is_told_from_a_refusal(anvil: Anvil, tmp_path: Path) -> None:
    port = int(anvil.url.rpartition(":")[2])
    async with connection(anvil.url, CHAIN_ID, deadline_s=5) as w3:
        sender = sender_on(w3)
        transaction = await transfer(sender)
        anvil.stop()
        with pytest.raises(L1UnavailableError, match="is unreachable"):
            await sender.broadcast(transaction)
        with pytest.raises(L1UnavailableError):
            await sender.wait(transaction.hash, 0.2)
        with running_anvil(tmp_path, port=port) as revived:
            await sender.broadcast(transaction)
            assert (await sender.wait(transaction.hash, 10)).succeeded
            assert received(revived) == 1


async def test_waiting_outlives_a_node_that_is_away_for_a_moment(anvil: Anvil, tmp_path: Path) -> None:
    port = int(anvil.url.rpartition(":")[2])
    async with connection(anvil.url, CHAIN_ID, deadline_s=5) as w3:
        sender = sender_on(w3)
        transaction = await transfer(sender)
        anvil.stop()
        waiting = asyncio.create_task(sender.wait(transaction.hash, 30))
        with running_anvil(tmp_path, port=port):
            await sender.broadcast(transaction)
            assert (await waiting).succeeded


async def test_an_exclusive_sender_counts_in_memory_until_it_is_told_otherwise(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client, exclusive=True)
    assert (await transfer(sender)).nonce == 0
    await sender_on(client).send(Call(RECEIVER, b"", "elsewhere", value_wei=1))
    assert (await transfer(sender)).nonce == 1
    await sender.resync()
    assert (await transfer(sender)).nonce == 1
    on_record = await transfer(sender, nonce=6)
    await sender.resync([on_record])
    assert (await transfer(sender)).nonce == 7


async def test_several_are_sent_in_one_request_each_with_its_own_answer(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client, exclusive=True)
    fine, poor = await transfer(sender), await transfer(sender, value_wei=10**30, gas_limit=21_000)
    again = SignedTransaction.from_raw(fine.raw)
    results = await sender.broadcast_all([fine, again, poor])
    assert results[:2] == [None, None]
    assert isinstance(results[2], InsufficientFundsError)
    await sender.wait(fine.hash, 10)
    assert received(anvil) == 1
    # The refused one gave its nonce back.
    assert (await transfer(sender)).nonce == poor.nonce


async def test_a_refused_one_may_keep_its_nonce(client: L1Client) -> None:
    sender = sender_on(client, exclusive=True)
    poor = await transfer(sender, value_wei=10**30, gas_limit=21_000)
    (refused,) = await sender.broadcast_all([poor], keep_nonces=True)
    assert isinstance(refused, InsufficientFundsError)
    assert (await transfer(sender)).nonce == poor.nonce + 1


async def test_a_cancellation_moves_nothing(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client)
    anvil.rpc("evm_setAutomine", False)
    unwanted = await transfer(sender)
    await sender.broadcast(unwanted)
    cancellation = await sender.prepare_cancellation(unwanted.nonce, unwanted)
    assert (cancellation.to, cancellation.value_wei, cancellation.data) == (sender.address, 0, b"")
    assert cancellation.max_fee_wei * 10 >= unwanted.max_fee_wei * 11
    await sender.broadcast(cancellation)
    anvil.mine(1)
    receipt = await sender.wait(cancellation.hash, 10)
    assert receipt.gas_used == 21_000
    assert received(anvil) == 0


async def test_what_made_it_fail_may_stand_in_the_same_block(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client)
    token = await deploy_token(sender)
    anvil.rpc("evm_setAutomine", False)
    data = encode_call(client, "ERC20PresetFixedSupply", "transfer", RECEIVER, 10)
    all_of_it, once_more = [await sender.prepare(token, data, gas_limit=100_000) for _ in range(2)]
    await sender.broadcast_all([all_of_it, once_more])
    anvil.mine(1)
    assert (await sender.wait(all_of_it.hash, 10)).succeeded
    with pytest.raises(RevertedError, match="exceeds balance"):
        await sender.wait(once_more.hash, 10)


async def test_a_transaction_that_the_node_forgot_is_replaced(anvil: Anvil, client: L1Client) -> None:
    sender = sender_on(client, exclusive=True, replace_after_s=0.3)
    await sender.send(Call(RECEIVER, b"", "pay", 1))
    next_nonce = int(anvil.rpc("eth_getTransactionCount", DEPLOYER.address, "latest"), 16)
    # Anvil queues what comes too early, and forgets to look at it again when the count moves without a transaction. It
    # does the same, now and then, to one that comes just while the one before it is mined.
    anvil.rpc("anvil_setNonce", DEPLOYER.address, hex(next_nonce - 1))
    sending = asyncio.create_task(sender.send_all([Call(RECEIVER, b"", "pay", 1)] * 3))
    while int(anvil.rpc("txpool_status")["queued"], 16) < 3:
        assert not sending.done()
        await asyncio.sleep(0.01)
    anvil.rpc("anvil_setNonce", DEPLOYER.address, hex(next_nonce))
    receipts = await asyncio.wait_for(sending, 20)
    assert [receipt.succeeded for receipt in receipts] == [True] * 3
    assert received(anvil) == 4


async def waiting(anvil: Anvil, but: str | None = None) -> str:
    """The hash of the one transaction in the pool, once it is another than `but`."""
    async with asyncio.timeout(20):
        while True:
            accounts = anvil.rpc("txpool_content")["pending"].values()
            hashes = [transaction["hash"] for account in accounts for transaction in account.values()]
            if hashes and hashes != [but]:
                return str(hashes[0])
            await asyncio.sleep(0.01)


async def test_a_replaced_transaction_that_is_mined_after_all_is_found(anvil: Anvil, client: L1Client) -> None:
    anvil.rpc("evm_setAutomine", False)
    sending = asyncio.create_task(sender_on(client, replace_after_s=0.5).send(Call(RECEIVER, b"", "pay", 1)))
    first = await waiting(anvil)
    raw = anvil.rpc("eth_getRawTransactionByHash", first)
    second = await waiting(anvil, but=first)
    anvil.rpc("anvil_dropTransaction", second)
    anvil.rpc("eth_sendRawTransaction", raw)
    anvil.mine(1)
    receipt = await asyncio.wait_for(sending, 20)
    assert receipt.transaction_hash == bytes.fromhex(first[2:])
    assert received(anvil) == 1


async def test_a_transaction_is_waited_for_where_the_cap_forbids_to_replace_it(anvil: Anvil, client: L1Client) -> None:
    # The cap holds for the transaction, but not for one with fees a tenth higher.
    sender = sender_on(client, replace_after_s=0.3, fee_cap_wei=2 * 10**9)
    anvil.rpc("evm_setAutomine", False)
    sending = asyncio.create_task(sender.send(Call(RECEIVER, b"", "pay", 1), deadline_s=1.5))
    first = await waiting(anvil)
    with pytest.raises(TransactionTimeoutError, match=re.escape(f"{first} has not 1 confirmation(s) after 1.5 s")):
        await sending
    assert await waiting(anvil) == first
    sending = asyncio.create_task(sender.wait(bytes.fromhex(first[2:]), 20))
    anvil.mine(1)
    assert (await sending).succeeded
    assert received(anvil) == 1
