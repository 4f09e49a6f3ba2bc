"""A real anvil for tests, empty or with Mach deployed and operators registered, and alerts confirmed on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_account import Account

from mach.bls import SecretKey
from mach.chain import operators
from mach.chain.connection import connection
from mach.chain.deployment import DeployOutput, MachParameters, allow_operators, deploy
from mach.chain.registry import OperatorRegistry
from mach.chain.sender import TransactionSender
from mach.chain.service_manager import AlertHeader, ServiceManager
from mach.chain.transaction import Call
from mach.protocol.alerts import sign_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eth_account.signers.local import LocalAccount

    from mach.chain.connection import L1Client
    from mach.chain.transaction import Receipt

CHAIN_ID = 31337
ROLLUP_CHAIN_ID = 901
STAKE_WEI = 100 * 10**18
DEPLOYER = Account.from_key("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""Anvil's first account, public and rich."""

REPOSITORY = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 20.0
ALERT = b"\xa1" * 32


def anvil_binary() -> Path:
    """The native anvil: MACH_ANVIL, else the one `npm ci` puts into contracts/, else one on PATH."""
    candidates = [
        os.environ.get("MACH_ANVIL"),
        REPOSITORY / "contracts" / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil",
        shutil.which("anvil"),
    ]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise FileNotFoundError("no anvil: run `make contracts`, or set MACH_ANVIL")


@dataclass
class Anvil:
    """A running anvil. `rpc` asks it directly, so that a test does not depend on the code under test."""

    url: str
    process: subprocess.Popen[bytes]

    def rpc(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, blocks: int) -> None:
        self.rpc("anvil_mine", hex(blocks))

    def block_number(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


@contextlib.contextmanager
def running_anvil(folder: Path, *flags: str, port: int = 0) -> Iterator[Anvil]:
    """Anvil on a free port (or on `port`), killed at the end."""
    log = folder / f"anvil-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [anvil_binary(), "--port", str(port), *flags], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Anvil(f"http://{_listening_address(log, process)}", process)
    finally:
        process.kill()
        process.wait(timeout=10)


def _listening_address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("Listening on "):
                return line.removeprefix("Listening on ").strip()
        time.sleep(0.01)
    raise AssertionError(f"anvil did not start within {START_DEADLINE_S} s:\n{log.read_text()}")


@dataclass(frozen=True)
class Operator:
    """One operator's two keys."""

    account: LocalAccount
    bls_key: SecretKey

    @property
    def operator_id(self) -> bytes:
        return self.bls_key.public_key_g1.operator_id


def make_operators(count: int, first: int = 1) -> list[Operator]:
    """Operators with the fixed keys `first`, `first` + 1, …"""
    return [
        Operator(Account.from_key(index.to_bytes(32)), SecretKey.from_bytes(index.to_bytes(32)))
        for index in range(first, first + count)
    ]


@dataclass(frozen=True)
class DeployedChain:
    """A chain with Mach for `ROLLUP_CHAIN_ID`, and registered operators of equal stake."""

    anvil: Anvil
    deployment: DeployOutput
    operators: list[Operator]

    def sender(self, w3: L1Client, account: LocalAccount = DEPLOYER, **settings: Any) -> TransactionSender:
        return TransactionSender(w3, account, CHAIN_ID, **settings)


async def fund_and_allow(sender: TransactionSender, deployment: DeployOutput, new: list[Operator]) -> None:
    addresses = [operator.account.address for operator in new]
    await operators.fund_operators(sender, deployment, addresses, ether_wei=10**18, tokens_wei=2 * STAKE_WEI)
    await allow_operators(sender, deployment, addresses)


async def register(w3: L1Client, deployment: DeployOutput, operator: Operator, stake_wei: int = STAKE_WEI) -> None:
    """Takes a funded and allowed operator from nothing to registered with the AVS."""
    sender = TransactionSender(w3, operator.account, CHAIN_ID)
    await operators.register_with_eigenlayer(sender, deployment)
    await operators.deposit_into_strategy(sender, deployment, stake_wei)
    await operators.register_with_avs(sender, deployment, operator.bls_key, socket="127.0.0.1:8091")


async def deploy_with_operators(anvil: Anvil, new: list[Operator]) -> DeployedChain:
    """Deploys everything on an empty anvil and registers the operators."""
    async with connection(anvil.url, CHAIN_ID) as w3:
        sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
        deployment = await deploy(sender, MachParameters((ROLLUP_CHAIN_ID,)))
        await fund_and_allow(sender, deployment, new)
        await asyncio.gather(*(register(w3, deployment, operator) for operator in new))
    # The reference block of an alert must be past.
    anvil.mine(2)
    return DeployedChain(anvil, deployment, new)


async def confirm(
    w3: L1Client,
    deployment: DeployOutput,
    signers: Sequence[Operator],
    *,
    alert: bytes = ALERT,
    signed_alert: bytes | None = None,
    quorum_numbers: bytes = b"\x00",
    percentages: bytes = b"\x42",
    rollup_chain_id: int = ROLLUP_CHAIN_ID,
    reference_block: int | None = None,
) -> Receipt:
    """Signs and confirms an alert at the block before the head, as the aggregator does."""
    registry, manager = OperatorRegistry(w3, deployment), ServiceManager(w3, deployment)
    block = await manager.block_number() - 1 if reference_block is None else reference_block
    digest = sign_hash(signed_alert or alert, block, rollup_chain_id)
    signatures = {signer.operator_id: signer.bls_key.sign(digest).to_bytes() for signer in signers}
    operator_set = await registry.operator_set(quorum_numbers, block)
    signed = await registry.non_signer_stakes_and_signature(operator_set, signatures)
    header = AlertHeader(alert, quorum_numbers, percentages, block, rollup_chain_id)
    data = manager.confirm_alert_calldata(header, signed)
    sender = TransactionSender(w3, DEPLOYER, CHAIN_ID)
    return await sender.send(Call(manager.address, data, "confirm the alert"))
