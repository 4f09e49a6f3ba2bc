"""The devnet's proposer: puts the L2's output roots on L1, at both kinds of oracle, and lies about one when told to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog
from eth_account import Account

from mach.chain.connection import connection, request
from mach.chain.contracts import contract_at, encode_call
from mach.chain.sender import TransactionSender
from mach.chain.transaction import Call
from mach.devnet.layout import L1_CHAIN_ID
from mach.devnet.output_contracts import PROPOSER
from mach.errors import MachError
from mach.protocol.hashing import keccak256
from mach.transport.jsonrpc_client import JsonRpcClient, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mach.chain.connection import L1Client
    from mach.devnet.faults import ProposerFault
    from mach.devnet.output_contracts import OutputContracts

log = structlog.get_logger()

GAME_TYPE: Final = 1
"""The OP Stack's permissioned cannon game."""
DEFAULT_INTERVAL: Final = 5
"""L2 blocks between two proposals."""
_POLL_S: Final = 0.25
_PAUSE_AFTER_FAILURE_S: Final = 1.0
_VERSION_0: Final = bytes(32)


class OutputProposer:
    """Proposes the root of every `interval`-th L2 block, the same to both contracts, so that they count alike.

    Roots are made from what the honest node says of the block; the lie is another 32 bytes in place of one of them.
    """

    def __init__(
        self,
        l1_url: str,
        l2_url: str,
        contracts: OutputContracts,
        *,
        interval: int = DEFAULT_INTERVAL,
        on_event: Callable[[str, dict[str, Any]], None] = lambda _event, _values: None,
    ) -> None:
        self._l1_url = l1_url
        self._l2_url = l2_url
        self._contracts = contracts
        self._interval = interval
        self._on_event = on_event
        self._fault: ProposerFault | None = None

    @property
    def interval(self) -> int:
        """L2 blocks between two proposals."""
        return self._interval

    def set_fault(self, fault: ProposerFault) -> ProposerFault:
        """From now on lies about the first proposal that is due at the fault's block or later; returns that one."""
        number = fault.block_number or 1
        self._fault = replace(fault, block_number=-(-number // self._interval) * self._interval)
        return self._fault

    async def run(self) -> None:
        """Proposes until cancelled. An L1 or an L2 that is away is asked again."""
        async with connection(self._l1_url, L1_CHAIN_ID) as w3, JsonRpcClient(self._l2_url) as l2:
            sender = TransactionSender(w3, Account.from_key(PROPOSER), L1_CHAIN_ID)
            while True:
                pause = _POLL_S
                try:
                    await self.propose_due(w3, sender, l2)
                except MachError as error:
                    log.warning("nothing was proposed", error=str(error))
                    pause = _PAUSE_AFTER_FAILURE_S
                await asyncio.sleep(pause)

    async def propose_due(self, w3: L1Client, sender: TransactionSender, l2: JsonRpcClient) -> None:
        """Proposes each root that is due by now and is not on L1 yet.

        Raises `L1UnavailableError`, `RevertedError` and their like, `PeerUnavailableError`, `PeerRefusedError`.
        """
        head = int(await l2.call("eth_blockNumber"), 16)
        output_due, game_due = await self._next_blocks(w3)
        for number in range(min(output_due, game_due), head + 1, self._interval):
            truth = await output_root(l2, number)
            root = truth
            if self._fault is not None and self._fault.block_number == number:
                root = keccak256(b"mach devnet lie" + truth)
            calls = []
            if number >= output_due:
                data = encode_call(w3, "L2OutputOracle", "proposeL2Output", root, number, bytes(32), 0)
                calls.append(Call(self._contracts.l2_output_oracle, data, f"propose output root of block {number}"))
            if number >= game_due:
                data = encode_call(w3, "DisputeGameFactory", "create", GAME_TYPE, root, number.to_bytes(32, "big"))
                calls.append(Call(self._contracts.dispute_game_factory, data, f"create the game over block {number}"))
            # The second is simulated before the first is mined: they do not depend on each other.
            receipts = await sender.send_all(calls)
            self._on_event(
                "output.proposed",
                {
                    "index": number // self._interval - 1,
                    "block": number,
                    "root": "0x" + root.hex(),
                    "lie": root != truth,
                    "l1_block": receipts[-1].block_number,
                },
            )
            if root != truth:
                self._fault = None

    async def _next_blocks(self, w3: L1Client) -> tuple[int, int]:
        """The next L2 block that is due at the oracle, and at the factory."""
        oracle = contract_at(w3, "L2OutputOracle", self._contracts.l2_output_oracle)
        factory = contract_at(w3, "DisputeGameFactory", self._contracts.dispute_game_factory)
        due = await request(w3, oracle.functions.nextBlockNumber().call(), "read the next block to propose")
        games = await request(w3, factory.functions.gameCount().call(), "count the dispute games")
        return int(due), (int(games) + 1) * self._interval


async def output_root(l2: JsonRpcClient, number: int) -> bytes:
    """The output root (32 bytes, version 0) of an L2 block, as its node has it.

    `keccak256(version ‖ state root ‖ storage root of the message passer ‖ block hash)`; since Isthmus the header holds
    the message passer's root as `withdrawalsRoot` (OP Stack specification, "L2 output root").
    """
    block = await l2.call("eth_getBlockByNumber", hex(number), False)
    try:
        parts = [bytes.fromhex(block[name][2:]) for name in ("stateRoot", "withdrawalsRoot", "hash")]
    except (TypeError, KeyError, ValueError):
        raise PeerUnavailableError(f"the L2 node does not answer block {number}: is the chain that far?") from None
    return keccak256(_VERSION_0 + b"".join(parts))
