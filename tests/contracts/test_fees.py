"""What gas costs, from a real node: at hand without a request while it is fresh, and asked for otherwise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.deployed_chain import CHAIN_ID, DEPLOYER
from tests.contracts.l1_proxy import L1Proxy, l1_proxy

from mach.chain.connection import connection
from mach.chain.errors import FeeCapReachedError, L1UnavailableError, RequestRefusedError
from mach.chain.fees import BASE_FEE_AGE_S, FeeOracle, GasPrice
from mach.chain.head_follower import HeadFollower
from mach.chain.sender import TransactionSender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contracts.deployed_chain import Anvil

    from mach.chain.connection import L1Client

RECEIVER = "0x" + "55" * 20


@pytest.fixture
async def proxied(anvil: Anvil) -> AsyncIterator[tuple[L1Proxy, L1Client]]:
    async with l1_proxy(anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        yield proxy, w3


def refusing(*methods: str) -> Any:
    def tamper(call: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if call["method"] in methods:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": "no such method"}}
        return answer

    return tamper


async def test_a_fresh_price_is_at_hand(anvil: Anvil, proxied: tuple[L1Proxy, L1Client]) -> None:
    proxy, w3 = proxied
    now = 100.0
    oracle = FeeOracle(w3, clock=lambda: now)
    heads = HeadFollower(w3)
    heads.add_listener(oracle.note_head)
    assert oracle.at_hand() is None
    await heads.poll()
    assert oracle.at_hand() is None
    await oracle.refresh()
    latest = anvil.rpc("eth_getBlockByNumber", "latest", False)
    tip = int(anvil.rpc("eth_maxPriorityFeePerGas"), 16)
    proxy.requests.clear()
    assert await oracle.price() == GasPrice(int(latest["baseFeePerGas"], 16), tip)
    assert proxy.requests == []
    now += BASE_FEE_AGE_S + 1
    assert oracle.at_hand() is None
    assert await oracle.price() == GasPrice(int(latest["baseFeePerGas"], 16), tip)
    assert len(proxy.requests) == 1


async def test_the_base_fee_follows_the_head(anvil: Anvil, proxied: tuple[L1Proxy, L1Client]) -> None:
    _, w3 = proxied
    oracle = FeeOracle(w3)
    heads = HeadFollower(w3)
    heads.add_listener(oracle.note_head)
    await heads.poll()
    await oracle.refresh()
    first = await oracle.price()
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(7 * 10**9))
    anvil.mine(1)
    await heads.poll()
    assert (await oracle.price()).base_fee_wei == 7 * 10**9 != first.base_fee_wei


async def test_a_node_that_suggests_no_tip_is_read_by_its_history(proxied: tuple[L1Proxy, L1Client]) -> None:
    proxy, w3 = proxied
    sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
    paid = await sender.prepare(RECEIVER, b"", value_wei=1)
    await sender.broadcast(paid)
    await sender.wait(paid.hash, 10)
    proxy.tamper = refusing("eth_maxPriorityFeePerGas")
    assert (await FeeOracle(w3).read()).tip_wei > 0
    proxy.tamper = refusing("eth_maxPriorityFeePerGas", "eth_feeHistory")
    with pytest.raises(RequestRefusedError, match="no such method"):
        await FeeOracle(w3).read()


async def test_the_last_tip_stays_while_the_node_is_away(anvil: Anvil, proxied: tuple[L1Proxy, L1Client]) -> None:
    proxy, w3 = proxied
    oracle = FeeOracle(w3)
    heads = HeadFollower(w3)
    heads.add_listener(oracle.note_head)
    await heads.poll()
    await oracle.refresh()
    price = oracle.at_hand()
    proxy.status = 503
    running = asyncio.create_task(oracle.run())
    proxy.requests.clear()
    async with asyncio.timeout(5):
        while not proxy.requests:
            await asyncio.sleep(0.001)
    with pytest.raises(L1UnavailableError):
        await oracle.refresh()
    assert not running.done()
    running.cancel()
    assert oracle.at_hand() == price


async def test_the_cap_bounds_a_price_at_hand(anvil: Anvil, proxied: tuple[L1Proxy, L1Client]) -> None:
    proxy, w3 = proxied
    oracle = FeeOracle(w3)
    heads = HeadFollower(w3)
    heads.add_listener(oracle.note_head)
    await heads.poll()
    await oracle.refresh()
    sender = TransactionSender(w3, DEPLOYER, CHAIN_ID, fees=oracle, exclusive=True, fee_cap_wei=3 * 10**9)
    await sender.resync()
    proxy.requests.clear()
    transaction = await sender.prepare(RECEIVER, b"", gas_limit=21_000)
    assert transaction.max_fee_wei <= 3 * 10**9
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(3 * 10**9))
    anvil.mine(1)
    await heads.poll()
    with pytest.raises(FeeCapReachedError, match="above the cap of 3"):
        await sender.prepare(RECEIVER, b"", gas_limit=21_000)
    # Neither of the two asked the node; the second took no nonce.
    assert proxy.methods() == ["eth_getBlockByNumber"] * 2
    sender.release(transaction)
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    anvil.mine(1)
    await heads.poll()
    assert (await sender.prepare(RECEIVER, b"", gas_limit=21_000)).nonce == transaction.nonce
