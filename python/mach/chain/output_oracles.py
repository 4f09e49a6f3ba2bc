"""The OP Stack's proposals of output roots on L1, of both kinds: outputs of `L2OutputOracle`, and dispute games.

Both contracts are other people's: they are read by the signatures that their deployments share, without an artefact.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from mach.chain.addresses import address_bytes, checksum_of
from mach.chain.blocks import ChainLog, LogFilter, read_logs
from mach.chain.connection import require_code
from mach.chain.errors import L1UnavailableError, MalformedAnswerError
from mach.chain.json_rpc import RpcCall, call, call_all, hex_bytes, value_of
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.chain.connection import L1Client

_OUTPUT_PROPOSED: Final = keccak256(b"OutputProposed(bytes32,uint256,uint256,uint256)")
_OUTPUTS_DELETED: Final = keccak256(b"OutputsDeleted(uint256,uint256)")
_GAME_CREATED: Final = keccak256(b"DisputeGameCreated(address,uint32,bytes32)")

_GAME_COUNT: Final = keccak256(b"gameCount()")[:4]
_GAME_AT_INDEX: Final = keccak256(b"gameAtIndex(uint256)")[:4]
_L2_BLOCK_NUMBER: Final = keccak256(b"l2BlockNumber()")[:4]
_STATUS: Final = keccak256(b"status()")[:4]

_CHALLENGER_WINS: Final = 1
"""The `GameStatus` of a claim that was refuted."""
_GAMES_IN_ONE_LOOK: Final = 50
_WORD: Final = 32
_BLOCK_LIMIT: Final = 1 << 63


class OracleKind(StrEnum):
    """What holds a proposal."""

    OUTPUT_ORACLE = "L2OutputOracle"
    GAME_FACTORY = "DisputeGameFactory"


@dataclass(frozen=True, slots=True)
class OutputProposal:
    """A claim on L1 that `output_root` (32 bytes) is the output root of the L2 block `l2_block_number`.

    `index` is that of the output, or of the game; `oracle` is the contract's address, 20 bytes.
    """

    oracle: bytes
    kind: OracleKind
    index: int
    output_root: bytes
    l2_block_number: int
    l1_block_number: int
    l1_block_hash: bytes


@dataclass(frozen=True, slots=True)
class OracleEvents:
    """What a range of L1 blocks says: the proposals of it that stand, and what it took back of those before it.

    `deleted_from` holds by oracle (20 bytes) the first index whose earlier proposals were deleted.
    """

    proposals: tuple[OutputProposal, ...]
    deleted_from: dict[bytes, int]


class OutputOracles:
    """Reads proposals of one rollup from an `L2OutputOracle`, a `DisputeGameFactory`, or both (hex addresses)."""

    def __init__(
        self, w3: L1Client, *, l2_output_oracle: str | None = None, dispute_game_factory: str | None = None
    ) -> None:
        self._w3 = w3
        self._kinds: dict[bytes, OracleKind] = {}
        topics: set[bytes] = set()
        if l2_output_oracle is not None:
            self._kinds[address_bytes(l2_output_oracle)] = OracleKind.OUTPUT_ORACLE
            topics |= {_OUTPUT_PROPOSED, _OUTPUTS_DELETED}
        if dispute_game_factory is not None:
            self._kinds[address_bytes(dispute_game_factory)] = OracleKind.GAME_FACTORY
            topics.add(_GAME_CREATED)
        self._wanted = LogFilter(frozenset(self._kinds), frozenset(topics))
        self._games: dict[tuple[bytes, int], OutputProposal] = {}

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """The contracts that are read, 20 bytes each."""
        return tuple(self._kinds)

    async def check(self) -> None:
        """Raises `ContractNotFoundError` unless all contracts stand on this chain."""
        for address, kind in self._kinds.items():
            await require_code(self._w3, checksum_of(address), kind)

    async def read(self, first: int, last: int) -> OracleEvents:
        """The events of the L1 blocks `first` to `last`, both included.

        A game that was decided against its claim is left out: L1 knows already. Raises `L1UnavailableError` (also when
        the chain was reorganised while it was read: read again) and `RequestRefusedError`.
        """
        logs = await read_logs(self._w3, self._wanted, first, last, "read the proposals of output roots")
        standing: dict[tuple[bytes, int], OutputProposal] = {}
        deleted_from: dict[bytes, int] = {}
        for log in logs:
            if log.topics[0] == _OUTPUT_PROPOSED:
                proposal = self._output(log)
                standing[log.address, proposal.index] = proposal
            elif log.topics[0] == _OUTPUTS_DELETED:
                start = _topic_number(log, 2)
                for key in [key for key in standing if key[0] == log.address and key[1] >= start]:
                    del standing[key]
                deleted_from[log.address] = min(start, deleted_from.get(log.address, start))
        games = await self._read_games([log for log in logs if log.topics[0] == _GAME_CREATED])
        return OracleEvents((*standing.values(), *games), deleted_from)

    def _output(self, log: ChainLog) -> OutputProposal:
        return OutputProposal(
            oracle=log.address,
            kind=OracleKind.OUTPUT_ORACLE,
            index=_topic_number(log, 2),
            output_root=log.topics[1],
            l2_block_number=_topic_number(log, 3),
            l1_block_number=log.block_number,
            l1_block_hash=log.block_hash,
        )

    async def _read_games(self, logs: Sequence[ChainLog]) -> list[OutputProposal]:
        """The games that are open or were won; those seen before are only asked how they stand."""
        if any(len(log.topics) != 4 for log in logs):
            raise MalformedAnswerError("an event of the DisputeGameFactory lacks a topic")
        new = [log for log in logs if log.key not in self._games]
        if new:
            indices = await self._game_indices(new)
            numbers = await self._ask([(_game_of(log), _L2_BLOCK_NUMBER) for log in new], "read a game's block")
            for log, index, number in zip(new, indices, numbers, strict=True):
                self._games[log.key] = OutputProposal(
                    oracle=log.address,
                    kind=OracleKind.GAME_FACTORY,
                    index=index,
                    output_root=log.topics[3],
                    l2_block_number=_bounded(_number(number, "a game's l2BlockNumber")),
                    l1_block_number=log.block_number,
                    l1_block_hash=log.block_hash,
                )
        # Only what this range holds is asked for again.
        self._games = {log.key: self._games[log.key] for log in logs}
        states = await self._ask([(_game_of(log), _STATUS) for log in logs], "read how a game stands")
        return [
            self._games[log.key]
            for log, state in zip(logs, states, strict=True)
            if _number(state, "a game's status") != _CHALLENGER_WINS
        ]

    async def _game_indices(self, logs: Sequence[ChainLog]) -> list[int]:
        """The position of each new game in its factory's list: they are its last ones, so it is read from the end."""
        factory = logs[0].address
        (answer,) = await self._ask([(factory, _GAME_COUNT)], "count the dispute games")
        count = _bounded(_number(answer, "gameCount"))
        wanted = {_game_of(log) for log in logs}
        found: dict[bytes, int] = {}
        end = count
        while end > 0 and wanted - found.keys():
            start = max(0, end - _GAMES_IN_ONE_LOOK)
            calls = [(factory, _GAME_AT_INDEX + index.to_bytes(_WORD, "big")) for index in range(start, end)]
            for index, entry in enumerate(await self._ask(calls, "read a dispute game"), start):
                if len(entry) != 3 * _WORD:
                    raise MalformedAnswerError(f"gameAtIndex answered {len(entry)} bytes where 96 are due")
                found[entry[-20:]] = index
            end = start
        missing = wanted - found.keys()
        if missing:
            raise L1UnavailableError(
                f"game {checksum_of(min(missing))} is not in the list of its DisputeGameFactory: the L1 was reorganised"
                " meanwhile, or the node lags; read again"
            )
        return [found[_game_of(log)] for log in logs]

    async def _ask(self, calls: Sequence[tuple[bytes, bytes]], action: str) -> list[bytes]:
        """Answers of contract calls, each given as (address, calldata)."""
        if not calls:
            return []
        answers = await call_all(self._w3, [_contract_call(to, data) for to, data in calls], action)
        return [value_of(answer, action) for answer in answers]


async def output_root_at(w3: L1Client, l2_output_oracle: str, index: int) -> bytes:
    """The root (32 bytes) that an `L2OutputOracle` holds at an index.

    Raises `RevertedError` where it has none, `L1UnavailableError`.
    """
    data = keccak256(b"getL2Output(uint256)")[:4] + index.to_bytes(_WORD, "big")
    answer = await call(w3, _contract_call(address_bytes(l2_output_oracle), data), f"read L2 output {index}")
    if len(answer) != 3 * _WORD:
        raise MalformedAnswerError(f"getL2Output answered {len(answer)} bytes where 96 are due")
    return answer[:_WORD]


def _contract_call(to: bytes, data: bytes) -> RpcCall[bytes]:
    target: dict[str, Any] = {"to": "0x" + to.hex(), "data": "0x" + data.hex()}
    return RpcCall("eth_call", (target, "latest"), hex_bytes)


def _game_of(log: ChainLog) -> bytes:
    return log.topics[1][-20:]


def _topic_number(log: ChainLog, position: int) -> int:
    if len(log.topics) <= position:
        raise MalformedAnswerError("an event of the L2OutputOracle lacks a topic")
    return _bounded(int.from_bytes(log.topics[position], "big"))


def _number(answer: bytes, what: str) -> int:
    if len(answer) != _WORD:
        raise MalformedAnswerError(f"{what} answered {len(answer)} bytes where 32 are due")
    return int.from_bytes(answer, "big")


def _bounded(value: int) -> int:
    """Block numbers and indices are kept in 63 bits; an L2 will not have more."""
    if value >= _BLOCK_LIMIT:
        raise MalformedAnswerError(f"{value} is neither a block number nor an index")
    return value
