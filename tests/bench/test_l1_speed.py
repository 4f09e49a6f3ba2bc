"""`make bench`: from signatures to a transaction on its way, and bursts of them, on a real anvil with 50 operators.

The baseline does the same work the straightforward way: indices, gas, fees and nonce asked of the node for each alert,
the general ABI encoder and eth_account.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.deployed_chain import (
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    deploy_with_operators,
    make_operators,
    running_anvil,
)

from mach.chain.confirm_alert import encode_confirm_alert
from mach.chain.connection import connect, disconnect
from mach.chain.contracts import contract_at
from mach.chain.registry import OperatorRegistry
from mach.chain.sender import TransactionSender
from mach.chain.service_manager import AlertHeader, NonSignerStakesAndSignature
from mach.chain.settlement import Settlement, SettlementSettings
from mach.chain.signing import TransactionSigner
from mach.chain.transaction import Call
from mach.protocol.alerts import sign_hash

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture
    from tests.contracts.deployed_chain import DeployedChain

    from mach.chain.connection import L1Client
    from mach.chain.transaction import SignedTransaction
    from mach.chain.transaction_tracker import TransactionTracker

OPERATORS = 50
ROUNDS = 100
BURST = 200
BURST_PART = 50
"""Anvil leaves what does not fit its block of 30 million gas until another transaction comes."""

pytestmark = pytest.mark.timeout(600)


class Bench:
    """A followed deployment on an event loop of its own."""

    def __init__(self, chain: DeployedChain, runner: asyncio.Runner) -> None:
        self.chain = chain
        self.runner = runner
        self.alerts = itertools.count(1)
        self.w3: L1Client = self.run(connect(chain.anvil.url, CHAIN_ID))
        settings = SettlementSettings(b"\x00", ROLLUP_CHAIN_ID, CHAIN_ID)
        self.settlement = Settlement.build(self.w3, chain.deployment, DEPLOYER, settings)
        self.run(self.settlement.start())
        self.tracker: TransactionTracker = self.settlement.new_tracker(self.may_always)
        self.take_over()

    @staticmethod
    async def may_always(_: SignedTransaction, __: SignedTransaction) -> bool:
        return True

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def take_over(self) -> None:
        self.run(self.settlement.take_over(self.tracker))

    def signed(self, non_signers: int) -> tuple[AlertHeader, dict[bytes, bytes]]:
        """An alert of its own with the signatures of all operators but `non_signers`."""
        block = self.settlement.operators.current().reference_block
        alert = next(self.alerts).to_bytes(32)
        digest = sign_hash(alert, block, ROLLUP_CHAIN_ID)
        signers = self.chain.operators[non_signers:]
        header = AlertHeader(alert, b"\x00", b"\x42", block, ROLLUP_CHAIN_ID)
        return header, {one.operator_id: one.bls_key.sign(digest).to_bytes() for one in signers}

    async def settle(self) -> None:
        while len(self.tracker):
            await self.tracker.poll()
        await self.settlement.heads.poll()

    async def send(self, header: AlertHeader, signatures: dict[bytes, bytes]) -> None:
        operators = self.settlement.operators.current().operators
        transaction = await self.settlement.prepare_alert(header, operators, signatures)
        assert await self.tracker.submit([transaction]) == [None]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_anvil(tmp_path_factory.mktemp("anvil")) as node:
        chain = asyncio.run(deploy_with_operators(node, make_operators(OPERATORS)))
        with asyncio.Runner() as runner:
            made = Bench(chain, runner)
            yield made
            made.run(disconnect(made.w3))


@pytest.fixture(scope="module")
def proof(bench: Bench) -> tuple[AlertHeader, NonSignerStakesAndSignature]:
    header, signatures = bench.signed(3)
    return header, bench.settlement.operators.current().operators.non_signer_stakes_and_signature(signatures)


def test_calldata_by_the_general_encoder(
    benchmark: BenchmarkFixture, bench: Bench, proof: tuple[AlertHeader, NonSignerStakesAndSignature]
) -> None:
    benchmark.group = "calldata of confirmAlert, 3 non-signers"
    header, signed = proof
    contract = contract_at(bench.w3, "MachServiceManager", bench.chain.deployment.mach_service_manager)
    fields = tuple(getattr(header, name) for name in header.__slots__)
    encoded = benchmark(lambda: contract.encode_abi("confirmAlert", args=[fields, signed.to_struct()]))
    assert bytes.fromhex(encoded[2:]) == encode_confirm_alert(header, signed)


def test_calldata_by_its_layout(
    benchmark: BenchmarkFixture, proof: tuple[AlertHeader, NonSignerStakesAndSignature]
) -> None:
    benchmark.group = "calldata of confirmAlert, 3 non-signers"
    assert benchmark(encode_confirm_alert, *proof)


def test_sign_with_eth_account(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "sign a transaction"
    fields = {
        "type": 2,
        "chainId": CHAIN_ID,
        "nonce": 1,
        "maxFeePerGas": 2,
        "maxPriorityFeePerGas": 1,
        "gas": 300_000,
        "to": DEPLOYER.address,
        "value": 0,
        "data": bytes(1_200),
    }
    assert benchmark(DEPLOYER.sign_transaction, fields)


def test_sign_with_the_laid_out_fields(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "sign a transaction"
    signer = TransactionSigner(DEPLOYER, CHAIN_ID)
    call = Call(DEPLOYER.address, bytes(1_200), "bench")
    assert benchmark(signer.sign, call, 1, 300_000, 2, 1)


@pytest.mark.parametrize("non_signers", [0, 3, 16])
def test_from_signatures_to_sent(benchmark: BenchmarkFixture, bench: Bench, non_signers: int) -> None:
    benchmark.group = f"from signatures to the node's answer, {non_signers} non-signers"
    bench.take_over()

    def settled() -> tuple[tuple[AlertHeader, dict[bytes, bytes]], dict[str, Any]]:
        bench.run(bench.settle())
        return bench.signed(non_signers), {}

    benchmark.pedantic(
        lambda header, signatures: bench.run(bench.send(header, signatures)), setup=settled, rounds=ROUNDS
    )
    bench.run(bench.settle())


@pytest.mark.parametrize("non_signers", [0, 3, 16])
def test_from_signatures_to_sent_baseline(benchmark: BenchmarkFixture, bench: Bench, non_signers: int) -> None:
    benchmark.group = f"from signatures to the node's answer, {non_signers} non-signers"
    registry = OperatorRegistry(bench.w3, bench.chain.deployment)
    sender = TransactionSender(bench.w3, DEPLOYER, CHAIN_ID)
    manager = contract_at(bench.w3, "MachServiceManager", bench.chain.deployment.mach_service_manager)
    sent: SignedTransaction | None = None

    def settled() -> tuple[tuple[AlertHeader, dict[bytes, bytes], Any], dict[str, Any]]:
        bench.run(bench.settlement.heads.poll())
        header, signatures = bench.signed(non_signers)
        operators = bench.run(registry.operator_set(b"\x00", header.reference_block_number))
        return (header, signatures, operators), {}

    async def send(header: AlertHeader, signatures: dict[bytes, bytes], operators: Any) -> None:
        nonlocal sent
        signed = await registry.non_signer_stakes_and_signature(operators, signatures)
        fields = tuple(getattr(header, name) for name in header.__slots__)
        data = bytes.fromhex(manager.encode_abi("confirmAlert", args=[fields, signed.to_struct()])[2:])
        sent = await sender.prepare(str(manager.address), data)
        await sender.broadcast(sent)

    benchmark.pedantic(
        lambda header, signatures, operators: bench.run(send(header, signatures, operators)),
        setup=settled,
        rounds=ROUNDS,
    )
    assert sent is not None
    bench.run(sender.wait(sent.hash, 30))


def test_a_turn_without_news(benchmark: BenchmarkFixture, bench: Bench) -> None:
    benchmark.group = "one turn of the head follower"
    bench.run(bench.settle())
    assert benchmark(lambda: bench.run(bench.settlement.heads.poll())) is False


def test_a_turn_with_a_new_head(benchmark: BenchmarkFixture, bench: Bench) -> None:
    benchmark.group = "one turn of the head follower"

    def mined() -> tuple[tuple[()], dict[str, Any]]:
        bench.chain.anvil.mine(1)
        return (), {}

    assert benchmark.pedantic(lambda: bench.run(bench.settlement.heads.poll()), setup=mined, rounds=ROUNDS)


def test_a_burst_of_alerts(benchmark: BenchmarkFixture, bench: Bench) -> None:
    """200 alerts whose signatures are all there, in flight at once, until the last is confirmed."""
    benchmark.group = f"{BURST} alerts in flight"
    bench.take_over()

    def signed() -> tuple[tuple[list[tuple[AlertHeader, dict[bytes, bytes]]]], dict[str, Any]]:
        bench.run(bench.settle())
        return ([bench.signed(0) for _ in range(BURST)],), {}

    async def burst(alerts: list[tuple[AlertHeader, dict[bytes, bytes]]]) -> None:
        operators = bench.settlement.operators.current().operators
        started = time.perf_counter()
        for start in range(0, BURST, BURST_PART):
            part = [
                await bench.settlement.prepare_alert(header, operators, signatures)
                for header, signatures in alerts[start : start + BURST_PART]
            ]
            assert await bench.tracker.submit(part) == [None] * BURST_PART
        while len(bench.tracker):
            await bench.tracker.poll()
        benchmark.extra_info["confirmations_per_s"] = round(BURST / (time.perf_counter() - started), 1)

    benchmark.pedantic(lambda alerts: bench.run(burst(alerts)), setup=signed, rounds=3)
