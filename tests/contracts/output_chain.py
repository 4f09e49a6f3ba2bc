"""An anvil with the doubles that output roots are proposed to, and their proposer's hand."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_account import Account
from tests.contracts.deployed_chain import CHAIN_ID

from mach.chain.connection import connection
from mach.chain.contracts import contract_at, encode_call
from mach.chain.sender import TransactionSender
from mach.chain.transaction import Call
from mach.devnet.output_contracts import PROPOSER, OutputContracts, deploy_output_contracts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contracts.deployed_chain import Anvil

    from mach.chain.connection import L1Client

INTERVAL = 5


def root_of(number: int) -> bytes:
    """A made-up output root of an L2 block."""
    return number.to_bytes(2, "big") * 16


@dataclass
class OutputChain:
    """The contracts with a client of the chain they stand on."""

    anvil: Anvil
    w3: L1Client
    contracts: OutputContracts

    async def send(self, name: str, address: str, function: str, *arguments: Any) -> int:
        """Calls a contract as the proposer; returns the block it was mined in."""
        sender = TransactionSender(self.w3, Account.from_key(PROPOSER), CHAIN_ID)
        data = encode_call(self.w3, name, function, *arguments)
        return (await sender.send(Call(address, data, f"call {function}"))).block_number

    async def propose(self, number: int, root: bytes | None = None) -> int:
        """An output; the block must be the next that is due."""
        return await self.send(
            "L2OutputOracle",
            self.contracts.l2_output_oracle,
            "proposeL2Output",
            root or root_of(number),
            number,
            bytes(32),
            0,
        )

    async def delete_from(self, index: int) -> int:
        """Deletes outputs."""
        return await self.send("L2OutputOracle", self.contracts.l2_output_oracle, "deleteL2Outputs", index)

    async def create_game(self, number: int, root: bytes | None = None) -> int:
        """A dispute game."""
        return await self.send(
            "DisputeGameFactory",
            self.contracts.dispute_game_factory,
            "create",
            1,
            root or root_of(number),
            number.to_bytes(32, "big"),
        )

    async def create_games(self, numbers: range) -> None:
        """Many, without waiting for each."""
        sender = TransactionSender(self.w3, Account.from_key(PROPOSER), CHAIN_ID)
        factory = self.contracts.dispute_game_factory
        calls = [
            encode_call(self.w3, "DisputeGameFactory", "create", 1, root_of(number), number.to_bytes(32, "big"))
            for number in numbers
        ]
        await sender.send_all([Call(factory, data, "create a game") for data in calls])

    async def game_at(self, index: int) -> str:
        """A game's address."""
        factory = contract_at(self.w3, "DisputeGameFactory", self.contracts.dispute_game_factory)
        return str((await factory.functions.gameAtIndex(index).call())[2])

    async def head(self) -> int:
        """The chain's head."""
        return int(await self.w3.eth.block_number)


@contextlib.asynccontextmanager
async def output_chain(anvil: Anvil) -> AsyncIterator[OutputChain]:
    """The doubles deployed on an empty anvil."""
    contracts = await deploy_output_contracts(anvil.url, INTERVAL)
    async with connection(anvil.url, CHAIN_ID) as w3:
        yield OutputChain(anvil, w3, contracts)
