"""The operator set at every block, followed by the registries' events: read anew only where one of them changed it.

Between two changes the same set holds for every block. A set is read through the registries' own histories, at the
state of the followed head: no archive node is needed, and a head that was reorganised away refuses instead of mixing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from mach.chain.addresses import address_bytes
from mach.chain.blocks import Block, ChainLog, LogFilter, read_logs
from mach.chain.contracts import event_topic
from mach.chain.errors import L1UnavailableError, MalformedAnswerError
from mach.chain.head_follower import REMEMBERED_BLOCKS, NoHeadError
from mach.chain.indexed_operator_set import IndexedOperatorSet, index_members
from mach.chain.json_rpc import Refusal, RpcCall, call_all, hex_bytes, value_of
from mach.chain.operator_set import OperatorKeys, build_operator_set
from mach.chain.registry import key_unknown, registered_keys
from mach.chain.service_manager import CheckSignaturesIndices
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mach.chain.connection import L1Client
    from mach.chain.deploy_output import DeployOutput

T = TypeVar("T")
_Stakes: TypeAlias = dict[bytes, dict[int, int]]
"""Stakes in wei by operator id and quorum number."""

_OPERATOR_STATE: Final = keccak256(b"getOperatorState(address,bytes,uint32)")[:4]
_INDICES: Final = keccak256(b"getCheckSignaturesIndices(address,uint32,bytes,bytes32[])")[:4]
_LOOKED_UP_SETS: Final = 64
_WORD: Final = 32


class OperatorSetUnknownError(L1UnavailableError):
    """No set is known for a block: it is ahead of the followed head, or too old."""


@dataclass(frozen=True, slots=True)
class CurrentOperators:
    """What a new task gets: the block whose stakes count (the head's parent: the contract wants a past block)."""

    reference_block: int
    operators: IndexedOperatorSet


class OperatorSetFollower:
    """The sets of some quorums. A `LogConsumer`: give it to a `HeadFollower`.

    A head costs nothing beyond the follower's own request, and one more where the set changed.
    """

    def __init__(self, w3: L1Client, deployment: DeployOutput, quorum_numbers: bytes) -> None:
        self._w3 = w3
        self._quorum_numbers = quorum_numbers
        self._coordinator = deployment.registry_coordinator
        self._retriever = deployment.operator_state_retriever
        self._stake_registry = address_bytes(deployment.stake_registry)
        self._apk_registry = address_bytes(deployment.apk_registry)
        self._deployment_block = deployment.deployment_block or 0
        self._registration = event_topic("BLSApkRegistry", "NewPubkeyRegistration")
        self._added = event_topic("BLSApkRegistry", "OperatorAddedToQuorums")
        self._removed = event_topic("BLSApkRegistry", "OperatorRemovedFromQuorums")
        self._stake_update = event_topic("StakeRegistry", "OperatorStakeUpdate")
        self._keys: dict[bytes, OperatorKeys] = {}
        # (first block, set) in rising order; None where a change was seen whose set nobody has asked for.
        self._timeline: list[tuple[int, IndexedOperatorSet | None]] = []
        self._head: Block | None = None
        self._valid_to = -1
        self._looked_up: OrderedDict[int, IndexedOperatorSet] = OrderedDict()
        self.sets_read = 0
        """How often a set was read from the chain."""

    @property
    def wanted(self) -> LogFilter:
        """Everything that changes members, stakes, aggregate keys or a place in a history.

        Every change of an operator's quorums goes through the key registry, every change of a stake through the stake
        registry; the coordinator and the index registry change with the former only.
        """
        return LogFilter(
            frozenset({self._stake_registry, self._apk_registry}),
            frozenset({self._registration, self._added, self._removed, self._stake_update}),
        )

    def current(self) -> CurrentOperators:
        """The reference block for a new task, and its set. Raises `NoHeadError` or `OperatorSetUnknownError`."""
        if self._head is None:
            raise NoHeadError("the L1's head is not known yet: wait for the node to answer")
        reference_block = min(max(self._head.number - 1, 0), self._valid_to)
        operators = self.at(reference_block)
        if operators is None:
            raise OperatorSetUnknownError(f"the operator set at block {reference_block} is not read yet: wait")
        return CurrentOperators(reference_block, operators)

    def at(self, block: int) -> IndexedOperatorSet | None:
        """The set at the end of `block`, without asking the chain; None when it is not at hand."""
        if block > self._valid_to:
            return None
        for first, operators in reversed(self._timeline):
            if first <= block:
                return operators or self._looked_up.get(block)
        return self._looked_up.get(block)

    async def read_at(self, block: int) -> IndexedOperatorSet:
        """The set at the end of any block up to the head, asking the chain where it is not at hand.

        Raises `OperatorSetUnknownError` for a block after the head, `RevertedError` when a quorum did not exist then,
        and `L1UnavailableError`.
        """
        known = self.at(block)
        if known is not None:
            return known
        if self._head is None or block > self._valid_to:
            raise OperatorSetUnknownError(f"block {block} is after the followed head of the L1: wait for it")
        (operators,) = await self._read(self._head, {block: None})
        self._looked_up[block] = operators
        while len(self._looked_up) > _LOOKED_UP_SETS:
            self._looked_up.popitem(last=False)
        return operators

    async def restart(self, head: Block) -> None:
        """Reads all keys, and the set at the head and at its parent."""
        self._keys = {}
        await self._learn_keys(await self._registrations_up_to(head))
        await self._reload(head)

    async def advance(self, head: Block, logs: Sequence[ChainLog]) -> None:
        """Takes a head: reads the sets anew where the logs say that they changed."""
        ours = [log for log in logs if log in self.wanted]
        await self._learn_keys(ours)
        changes = sorted({log.block_number for log in ours if self._changes_the_set(log)})
        if not self._timeline or (changes and changes[0] <= self._timeline[0][0]):
            await self._reload(head)
            return
        if changes:
            reference_block = head.number - 1
            # The set of the reference block, and that of the head, which is the next one's.
            past = [block for block in changes if block <= reference_block]
            expected = {block: self._expected_members(ours, block) for block in past[-1:] + changes[len(past) :]}
            sets = dict(zip(expected, await self._read(head, expected), strict=True))
            # The same head may come twice, when another consumer could not take it.
            self._timeline = [entry for entry in self._timeline if entry[0] < changes[0]]
            self._timeline += [(block, sets.get(block)) for block in changes]
        self._take(head)

    def rewind(self, last_valid: int) -> None:
        """Forgets changes after a block, which then may be different ones."""
        self._timeline = [(first, operators) for first, operators in self._timeline if first <= last_valid]
        self._looked_up = OrderedDict((block, known) for block, known in self._looked_up.items() if block <= last_valid)
        self._valid_to = min(self._valid_to, last_valid)

    def _take(self, head: Block) -> None:
        self._head = head
        self._valid_to = head.number
        while len(self._timeline) > 1 and self._timeline[1][0] <= head.number - REMEMBERED_BLOCKS:
            del self._timeline[0]

    async def _reload(self, head: Block) -> None:
        parent = max(head.number - 1, 0)
        sets = await self._read(head, {parent: None, head.number: None})
        before, now = sets[0], sets[-1]
        self._looked_up.clear()
        self._timeline = [(parent, before)]
        if now.set_id != before.set_id:
            self._timeline.append((head.number, now))
        self._take(head)

    # ---- logs ----

    def _changes_the_set(self, log: ChainLog) -> bool:
        if log.topics[0] == self._stake_update:
            # OperatorStakeUpdate(bytes32 indexed operatorId, uint8 quorumNumber, uint96 stake)
            return int.from_bytes(log.data[:_WORD]) in self._quorum_numbers
        # A change of any quorum moves the operator's place in the history of bitmaps; a key alone changes nothing.
        return log.topics[0] != self._registration

    async def _registrations_up_to(self, head: Block) -> list[ChainLog]:
        wanted = LogFilter(frozenset({self._apk_registry}), frozenset({self._registration}))
        action = "read the operators' key registrations"
        return await read_logs(self._w3, wanted, self._deployment_block, head.number, action)

    async def _learn_keys(self, logs: Sequence[ChainLog]) -> None:
        registrations = [log for log in logs if log.topics[0] == self._registration]
        # Each key is checked to be in its group: too long for the event loop where there are hundreds.
        for keys in (
            await asyncio.to_thread(lambda: [registered_keys(log) for log in registrations]) if registrations else ()
        ):
            self._keys.setdefault(keys.operator_id, keys)

    def _expected_members(self, logs: Sequence[ChainLog], block: int) -> list[bytes]:
        """Who should be a member at `block` by the last set before `logs` and what they tell; sorted by operator id."""
        known = next((operators for _, operators in reversed(self._timeline) if operators is not None), None)
        quorums = {} if known is None else {member: set(one.stakes) for member, one in known.members.items()}
        for log in logs:
            if log.block_number <= block and log.topics[0] in (self._added, self._removed):
                # (address operator, bytes32 operatorId, bytes quorumNumbers)
                operator_id, length = log.data[_WORD : 2 * _WORD], int.from_bytes(log.data[3 * _WORD : 4 * _WORD])
                named = set(log.data[4 * _WORD : 4 * _WORD + length]).intersection(self._quorum_numbers)
                if log.topics[0] == self._added:
                    quorums.setdefault(operator_id, set()).update(named)
                else:
                    quorums.get(operator_id, set()).difference_update(named)
        return sorted(operator_id for operator_id, numbers in quorums.items() if numbers)

    # ---- reading the chain ----

    async def _read(self, head: Block, expected: Mapping[int, Sequence[bytes] | None]) -> list[IndexedOperatorSet]:
        """The sets at the blocks that `expected` names with their members: in one request, in two where it is wrong."""
        blocks = list(expected)
        action = f"read the operators of quorums {list(self._quorum_numbers)} at blocks {blocks}"
        guessed = {block: members for block, members in expected.items() if members is not None}
        calls: list[RpcCall[Any]] = [self._state_call(head, block) for block in blocks]
        calls += [self._indices_call(head, block, members) for block, members in guessed.items()]
        answers = await call_all(self._w3, calls, action)
        stakes: dict[int, _Stakes] = {
            block: value_of(answer, action) for block, answer in zip(blocks, answers, strict=False)
        }
        indices: dict[int, CheckSignaturesIndices] = {
            block: answer
            for block, answer in zip(guessed, answers[len(blocks) :], strict=True)
            if not isinstance(answer, Refusal) and sorted(stakes[block]) == guessed[block]
        }
        missing = {block: sorted(stakes[block]) for block in blocks if block not in indices}
        if missing:
            exact = [self._indices_call(head, block, members) for block, members in missing.items()]
            for block, answer in zip(missing, await call_all(self._w3, exact, action), strict=True):
                indices[block] = value_of(answer, action)
        self.sets_read += len(blocks)
        return [await self._build(head, block, stakes[block], indices[block]) for block in blocks]

    async def _build(
        self, head: Block, block: int, stakes: _Stakes, answer: CheckSignaturesIndices
    ) -> IndexedOperatorSet:
        if not stakes.keys() <= self._keys.keys():
            await self._learn_keys(await self._registrations_up_to(head))
        unknown = next((operator_id for operator_id in stakes if operator_id not in self._keys), None)
        if unknown is not None:
            raise key_unknown(unknown, self._deployment_block)
        operators = build_operator_set(self._quorum_numbers, block, stakes, self._keys)
        try:
            indices = index_members(operators, answer)
        except ValueError as error:
            raise MalformedAnswerError(
                f"the indices of the operators at block {block} do not fit their quorums: use another L1 node"
            ) from error
        return await asyncio.to_thread(IndexedOperatorSet.build, operators, indices)

    def _state_call(self, head: Block, block: int) -> RpcCall[_Stakes]:
        arguments = encode(["address", "bytes", "uint32"], [self._coordinator, self._quorum_numbers, block])

        def read(value: Any) -> _Stakes:
            (quorums,) = _decoded(["(address,bytes32,uint96)[][]"], value)
            stakes: _Stakes = {}
            for number, quorum in zip(self._quorum_numbers, quorums, strict=True):
                for _, operator_id, stake in quorum:
                    stakes.setdefault(operator_id, {})[number] = stake
            return stakes

        return self._call(head, _OPERATOR_STATE + arguments, read)

    def _indices_call(self, head: Block, block: int, operator_ids: Sequence[bytes]) -> RpcCall[CheckSignaturesIndices]:
        arguments = encode(
            ["address", "uint32", "bytes", "bytes32[]"],
            [self._coordinator, block, self._quorum_numbers, list(operator_ids)],
        )

        def read(value: Any) -> CheckSignaturesIndices:
            ((bitmaps, apks, totals, stakes),) = _decoded(["(uint32[],uint32[],uint32[],uint32[][])"], value)
            return CheckSignaturesIndices(tuple(bitmaps), tuple(apks), tuple(totals), tuple(map(tuple, stakes)))

        return self._call(head, _INDICES + arguments, read)

    def _call(self, head: Block, data: bytes, read: Callable[[Any], T]) -> RpcCall[T]:
        # EIP-1898: the state of this very head, or a refusal.
        message = {"to": self._retriever, "data": "0x" + data.hex()}
        return RpcCall("eth_call", (message, {"blockHash": "0x" + head.hash.hex()}), read)


def _decoded(types: Sequence[str], value: Any) -> tuple[Any, ...]:
    try:
        return decode(types, hex_bytes(value))
    except (DecodingError, OverflowError) as error:
        raise MalformedAnswerError(f"a contract's answer does not decode: {error}") from error
