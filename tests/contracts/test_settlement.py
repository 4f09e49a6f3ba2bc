"""The L1 side of an aggregator as a whole: no request between signatures and transaction, and no lie that breaks it."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.deployed_chain import (
    ALERT,
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    STAKE_WEI,
    DeployedChain,
)
from tests.contracts.l1_proxy import L1Proxy, l1_proxy

from mach.chain import operators as operator_commands
from mach.chain.confirm_alert import fresh_signatures_help, stands_already
from mach.chain.connection import connect, connection, disconnect
from mach.chain.errors import L1UnavailableError, RequestRefusedError, RevertedError
from mach.chain.operator_set import NoSignatureError
from mach.chain.registry import OperatorRegistry
from mach.chain.sender import TransactionSender
from mach.chain.service_manager import AlertHeader, ServiceManager
from mach.chain.settlement import Settlement, SettlementSettings
from mach.chain.transaction import Call
from mach.chain.transaction_tracker import Confirmed, Outcome, Reverted
from mach.errors import MachError
from mach.protocol.alerts import sign_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.contracts.deployed_chain import Operator

    from mach.chain.connection import L1Client
    from mach.chain.transaction import SignedTransaction


def settlement_of(w3: L1Client, chain: DeployedChain) -> Settlement:
    settings = SettlementSettings(b"\x00", ROLLUP_CHAIN_ID, CHAIN_ID, poll_interval_s=0.005)
    return Settlement.build(w3, chain.deployment, DEPLOYER, settings)


async def may_always(_: SignedTransaction, __: SignedTransaction) -> bool:
    return True


def signed_alert(
    settlement: Settlement, signers: Sequence[Operator], alert: bytes = ALERT, reference_block: int | None = None
) -> tuple[AlertHeader, dict[bytes, bytes]]:
    block = settlement.operators.current().reference_block if reference_block is None else reference_block
    digest = sign_hash(alert, block, ROLLUP_CHAIN_ID)
    signatures = {signer.operator_id: signer.bls_key.sign(digest).to_bytes() for signer in signers}
    return AlertHeader(alert, b"\x00", b"\x42", block, ROLLUP_CHAIN_ID), signatures


async def outcomes_of(settlement: Settlement, transactions: list[SignedTransaction]) -> list[Outcome]:
    """Submits and follows to the last word."""
    tracker = settlement.new_tracker(may_always)
    await settlement.take_over(tracker)
    assert await tracker.submit(transactions) == [None] * len(transactions)
    found: list[Outcome] = []
    async with asyncio.timeout(20):
        while len(tracker):
            found += await tracker.poll()
    return [one for one in found if isinstance(one, Confirmed | Reverted)]


async def test_nothing_is_asked_between_signatures_and_transaction(chain: DeployedChain) -> None:
    async with l1_proxy(chain.anvil.url) as proxy, connection(proxy.url, CHAIN_ID) as w3:
        settlement = settlement_of(w3, chain)
        await settlement.start()
        tracker = settlement.new_tracker(may_always)
        await settlement.take_over(tracker)
        current = settlement.operators.current()
        for non_signers in range(2):
            header, signatures = signed_alert(settlement, chain.operators[non_signers:], bytes([non_signers + 1] * 32))
            proxy.requests.clear()
            transaction = await settlement.prepare_alert(header, current.operators, signatures)
            assert proxy.requests == []
            assert await tracker.submit([transaction]) == [None]
            assert proxy.methods() == ["eth_sendRawTransaction"]
        async with asyncio.timeout(10):
            while len(tracker):
                await tracker.poll()
        await settlement.heads.poll()
        assert len(settlement.alerts) == 2


async def test_two_hundred_alerts_in_flight_are_all_confirmed(chain: DeployedChain, w3: L1Client) -> None:
    settlement = settlement_of(w3, chain)
    await settlement.start()
    running = asyncio.create_task(settlement.run())
    try:
        tracker = settlement.new_tracker(may_always)
        await settlement.take_over(tracker)
        operators = settlement.operators.current().operators
        alerts = [number.to_bytes(32) for number in range(1, 201)]
        transactions = [
            await settlement.prepare_alert(header, operators, signatures)
            for header, signatures in (signed_alert(settlement, chain.operators, alert) for alert in alerts)
        ]
        # Anvil leaves what does not fit its block of 30 million gas until another transaction comes.
        for start in range(0, 200, 50):
            assert await tracker.submit(transactions[start : start + 50]) == [None] * 50
        confirmed: set[bytes] = set()
        async with asyncio.timeout(30):
            while len(tracker):
                confirmed |= {one.transaction.hash for one in await tracker.poll() if isinstance(one, Confirmed)}
        assert confirmed == {one.hash for one in transactions}
        await settlement.heads.wait_for_block(chain.anvil.block_number(), 10)
        assert {alert.message_hash for alert in settlement.alerts} == set(alerts)
    finally:
        running.cancel()


async def test_a_simulation_tells_a_revert_before_a_nonce_is_taken(chain: DeployedChain, w3: L1Client) -> None:
    settlement = settlement_of(w3, chain)
    await settlement.start()
    operators = settlement.operators.current().operators
    header, signatures = signed_alert(settlement, chain.operators[:1])
    with pytest.raises(RevertedError, match="InsufficientThreshold") as caught:
        await settlement.prepare_alert(header, operators, signatures, simulate=True)
    assert fresh_signatures_help(caught.value.reason)
    with pytest.raises(NoSignatureError):
        await settlement.prepare_alert(header, operators, {})
    header, signatures = signed_alert(settlement, chain.operators)
    transaction = await settlement.prepare_alert(header, operators, signatures, simulate=True)
    assert transaction.nonce == int(chain.anvil.rpc("eth_getTransactionCount", DEPLOYER.address, "latest"), 16)


async def test_reasons_of_real_reverts_are_understood(chain: DeployedChain, w3: L1Client) -> None:
    settlement = settlement_of(w3, chain)
    await settlement.start()
    operators = settlement.operators.current().operators
    header, signatures = signed_alert(settlement, chain.operators)
    good = await settlement.prepare_alert(header, operators, signatures)
    again = await settlement.prepare_alert(header, operators, signatures)
    other = b"\x02" * 32
    header, _ = signed_alert(settlement, chain.operators, other)
    _, wrong = signed_alert(settlement, chain.operators, b"\x03" * 32)
    bad = await settlement.prepare_alert(header, operators, wrong)
    header, signatures = signed_alert(settlement, chain.operators, other, reference_block=10**6)
    early = await settlement.prepare_alert(header, operators, signatures)
    first, second, third, fourth = await outcomes_of(settlement, [good, again, bad, early])
    assert isinstance(first, Confirmed)
    assert isinstance(second, Reverted)
    assert stands_already(second.reason)
    assert isinstance(third, Reverted)
    assert third.reason == "signature is invalid"
    assert fresh_signatures_help(third.reason)
    assert isinstance(fourth, Reverted)
    assert fourth.reason == "InvalidReferenceBlockNum()"
    assert fresh_signatures_help(fourth.reason)


async def test_a_set_of_another_branch_is_refused_by_the_contract_and_the_reason_says_so(
    chain: DeployedChain, w3: L1Client
) -> None:
    """Signatures over a set that has changed since, at a block after the change."""
    settlement = settlement_of(w3, chain)
    await settlement.start()
    before = settlement.operators.current().operators
    leaver = chain.operators[2]
    await operator_commands.deregister_from_avs(chain.sender(w3, leaver.account), chain.deployment)
    chain.anvil.mine(2)
    await settlement.heads.poll()
    header, signatures = signed_alert(settlement, chain.operators[:2])
    stale = await settlement.prepare_alert(header, before, signatures)
    fresh = await settlement.prepare_alert(header, settlement.operators.current().operators, signatures)
    refused, confirmed = await outcomes_of(settlement, [stale, fresh])
    assert isinstance(refused, Reverted)
    assert fresh_signatures_help(refused.reason)
    assert isinstance(confirmed, Confirmed)


async def test_the_account_is_taken_over_with_what_is_on_record(chain: DeployedChain, w3: L1Client) -> None:
    first = settlement_of(w3, chain)
    await first.start()
    operators = first.operators.current().operators
    await first.sender.resync()
    stored = [
        await first.prepare_alert(header, operators, signatures)
        for header, signatures in (signed_alert(first, chain.operators, bytes([number] * 32)) for number in (1, 2, 3))
    ]
    second = settlement_of(w3, chain)
    await second.start()
    tracker = second.new_tracker(may_always)
    await second.take_over(tracker, stored)
    async with asyncio.timeout(10):
        while len(tracker):
            await tracker.poll()
    await second.heads.poll()
    assert {alert.message_hash for alert in second.alerts} == {bytes([number] * 32) for number in (1, 2, 3)}


# ---- an L1 that lies ----


LIES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("null result", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "result": None}),
    ("number", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "result": 7}),
    ("list", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "result": [[]]}),
    ("object", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "result": {"number": "0x", "hash": 5}}),
    ("text", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "result": "<html>"}),
    ("long hex", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "result": "0x" + "ff" * 5000}),
    ("odd hex", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "result": "0x123"}),
    ("another id", lambda answer: {**answer, "id": 10**9}),
    ("no fields", lambda _: {}),
    ("no object", lambda _: 3),
    ("odd error", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "error": []}),
    ("error", lambda answer: {"id": answer["id"], "jsonrpc": "2.0", "error": {"code": "x", "message": {"a": []}}}),
]

BODIES = [b"", b"<html>", b"[[", b"null", b"[]", b"{}", b"\xff" * 100, b'"' + b"a" * 10**6 + b'"', b"[" * 10**5]


@pytest.fixture
async def lied_to(chain: DeployedChain) -> AsyncIterator[tuple[L1Proxy, L1Client]]:
    async with l1_proxy(chain.anvil.url) as proxy:
        client = await connect(proxy.url, CHAIN_ID, deadline_s=5)
        yield proxy, client
        await disconnect(client)


async def questions(chain: DeployedChain, w3: L1Client) -> list[Callable[[], Awaitable[Any]]]:
    """Everything that the aggregator asks of the L1."""
    registry, manager = OperatorRegistry(w3, chain.deployment), ServiceManager(w3, chain.deployment)
    sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
    settlement, started = settlement_of(w3, chain), settlement_of(w3, chain)
    await started.start()
    tracker = started.new_tracker(may_always)
    await started.take_over(tracker)
    transaction = await sender.prepare("0x" + "55" * 20, b"", value_wei=1)
    tracker.add(await started.sender.prepare("0x" + "55" * 20, b"", value_wei=1, gas_limit=21_000), sent=False)
    held = await registry.operator_set(b"\x00", started.heads.head.number - 1)
    return [
        settlement.start,
        started.heads.poll,
        started.fees.refresh,
        started.sender.resync,
        tracker.poll,
        lambda: started.operators.read_at(started.heads.head.number - 3),
        lambda: registry.operator_set(b"\x00", started.heads.head.number),
        lambda: OperatorRegistry(w3, chain.deployment).operator_keys(held.members),
        lambda: registry.total_stakes(b"\x00", started.heads.head.number),
        lambda: registry.check_signatures_indices(started.heads.head.number, b"\x00", sorted(held.members)),
        manager.block_number,
        manager.alert_confirmer,
        manager.quorum_threshold_percentage,
        lambda: manager.contains(ROLLUP_CHAIN_ID, ALERT),
        lambda: manager.find_alert_confirmed(ALERT),
        lambda: sender.prepare("0x" + "55" * 20, b""),
        lambda: sender.broadcast(transaction),
        lambda: sender.receipt(b"\x01" * 32),
        lambda: sender.receipts([b"\x01" * 32, b"\x02" * 32]),
        lambda: sender.replace(transaction),
        lambda: sender.wait(b"\x01" * 32, 0.01),
        lambda: sender.send(Call("0x" + "55" * 20, b"", "pay"), 0.01),
    ]


async def ask_all(chain: DeployedChain, w3: L1Client, lie: Callable[[], None]) -> int:
    """How many questions raised one of our errors; none may raise anything else."""
    raised = 0
    asked = await questions(chain, w3)
    lie()
    for question in asked:
        try:
            await question()
        except MachError:
            raised += 1
    return raised


@pytest.mark.parametrize(("name", "lie"), LIES, ids=[name for name, _ in LIES])
async def test_no_lie_breaks_anything(
    chain: DeployedChain, lied_to: tuple[L1Proxy, L1Client], name: str, lie: Callable[[dict[str, Any]], Any]
) -> None:
    proxy, w3 = lied_to

    def start_lying() -> None:
        proxy.tamper = lambda _, answer: lie(answer)

    # A null result is the truth about a transaction that is not known, and 7 or 0xff… are numbers.
    assert await ask_all(chain, w3, start_lying) >= 14


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_no_body_breaks_anything(chain: DeployedChain, lied_to: tuple[L1Proxy, L1Client], body: bytes) -> None:
    proxy, w3 = lied_to

    def start_lying() -> None:
        proxy.body = body

    assert await ask_all(chain, w3, start_lying) == 22


@pytest.mark.parametrize("status", [204, 301, 400, 404, 429, 500, 503])
async def test_no_status_breaks_anything(chain: DeployedChain, lied_to: tuple[L1Proxy, L1Client], status: int) -> None:
    proxy, w3 = lied_to

    def start_lying() -> None:
        proxy.status = status

    assert await ask_all(chain, w3, start_lying) == 22


@pytest.mark.parametrize("seed", range(6))
async def test_a_follower_survives_random_lies_and_ends_with_the_truth(
    chain: DeployedChain, lied_to: tuple[L1Proxy, L1Client], seed: int
) -> None:
    proxy, w3 = lied_to
    luck = random.Random(seed)
    settlement = settlement_of(w3, chain)

    def sometimes(_: dict[str, Any], answer: dict[str, Any]) -> Any:
        return luck.choice(LIES)[1](answer) if luck.random() < 0.3 else answer

    proxy.tamper = sometimes
    async with connection(chain.anvil.url, CHAIN_ID) as honest:
        changes = itertools.cycle(
            [
                lambda one: operator_commands.deregister_from_avs(chain.sender(honest, one.account), chain.deployment),
                lambda one: operator_commands.register_with_avs(
                    chain.sender(honest, one.account), chain.deployment, one.bls_key, socket="127.0.0.1:1"
                ),
            ]
        )
        for turn in range(40):
            if turn % 4 == 0:
                await next(changes)(chain.operators[0])
            try:
                await settlement.heads.poll()
            except (L1UnavailableError, RequestRefusedError, RevertedError):
                continue
        proxy.tamper = None
        chain.anvil.mine(1)
        async with asyncio.timeout(10):
            while not settlement.heads.age_s < 1 or settlement.heads.head.number < chain.anvil.block_number():
                await settlement.heads.poll()
        current = settlement.operators.current()
        expected = await OperatorRegistry(honest, chain.deployment).operator_set(b"\x00", current.reference_block)
        assert dict(current.operators.members) == dict(expected.members)
        assert {member.stakes[0] for member in current.operators.members.values()} == {STAKE_WEI}


GARBAGE: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    1e300,
    10**40,
    "",
    "0x",
    "0x0",
    "0x1",
    "0xzz",
    "0x" + "ff" * 32,
    [],
    {},
    [[]],
]
"""What a field is replaced with; also what it never is in truth."""


def damaged(answer: Any, luck: random.Random) -> Any:
    """A copy of a JSON value in which one field, chosen at random, is another, missing or doubled."""
    if luck.random() < 0.2 or not isinstance(answer, dict | list) or not answer:
        if isinstance(answer, str) and len(answer) > 4 and luck.random() < 0.7:
            place = luck.randrange(2, len(answer))
            return answer[:place] + luck.choice("0123456789abcdefx") + answer[place + 1 :]
        return luck.choice(GARBAGE)
    if isinstance(answer, list):
        place = luck.randrange(len(answer))
        kept = [answer[place], answer[place]] if luck.random() < 0.2 else [damaged(answer[place], luck)]
        return answer[:place] + kept + answer[place + 1 :]
    name = luck.choice(list(answer))
    if luck.random() < 0.1:
        return {key: value for key, value in answer.items() if key != name}
    return answer | {name: damaged(answer[name], luck)}


@pytest.mark.parametrize("seed", range(4))
async def test_damaged_answers_raise_nothing_but_our_errors(
    chain: DeployedChain, lied_to: tuple[L1Proxy, L1Client], seed: int
) -> None:
    proxy, w3 = lied_to
    luck = random.Random(seed)
    settlement = settlement_of(w3, chain)
    await settlement.start()
    tracker = settlement.new_tracker(may_always)
    await settlement.take_over(tracker)
    operators = settlement.operators.current().operators
    raised = 0
    async with connection(chain.anvil.url, CHAIN_ID) as honest:
        leaver = chain.operators[2]
        for turn in range(80):
            proxy.tamper = None
            if turn % 20 == 0:
                header, signatures = signed_alert(settlement, chain.operators, bytes([turn + 1] * 32))
                await tracker.submit([await settlement.prepare_alert(header, operators, signatures)])
            if turn % 40 == 10:
                await operator_commands.deregister_from_avs(chain.sender(honest, leaver.account), chain.deployment)
            elif turn % 40 == 30:
                sender = chain.sender(honest, leaver.account)
                await operator_commands.register_with_avs(sender, chain.deployment, leaver.bls_key, socket="x")
            elif turn % 3 == 0:
                chain.anvil.mine(1)
            proxy.tamper = lambda _, answer: damaged(answer, luck) if luck.random() < 0.5 else answer
            for question in (
                settlement.heads.poll,
                tracker.poll,
                settlement.fees.refresh,
                settlement.sender.resync,
                settlement.start,
            ):
                try:
                    await question()
                except MachError:
                    raised += 1
    assert raised > 30
    # A process that starts on an honest node finds everything as it is.
    async with connection(chain.anvil.url, CHAIN_ID) as honest:
        fresh = settlement_of(honest, chain)
        await fresh.start()
        current = fresh.operators.current()
        expected = await OperatorRegistry(honest, chain.deployment).operator_set(b"\x00", current.reference_block)
        assert dict(current.operators.members) == dict(expected.members)
