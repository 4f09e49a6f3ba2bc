"""Whether an answer to a user is the truth, by what was verified: header hashes, proofs against state roots, receipts.

Everything is measured against blocks that were re-executed. An own node helps with proofs and receipts; they count only
if they hash to what those blocks commit to. Calls (`eth_call`) alone are compared with the own node's word.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import rlp

from mach.errors import MachError
from mach.protocol.alerts import BlockMismatch
from mach.protocol.hashing import keccak256
from mach.rollup.node import MalformedAnswerError, data, quantity, served_header
from mach.rollup.tries import ProofError, ordered_trie_root, proven_account
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mach.rollup.endpoints import EndpointSet
    from mach.rollup.node import RollupNode, ServedHeader
    from mach.rollup.tries import AccountState
    from mach.storage.chain_record import ChainRecord
    from mach.storage.verdict_log import VerdictLog, VerdictRecord
    from mach.verifier.progress import Progress

STALE_BLOCKS: Final = 64
"""An answer about `latest` may be so many blocks old: nodes lag, and more is withholding news."""
_STATE_ROOT, _RECEIPTS_ROOT = 3, 5
_WITHDRAWALS_ROOT: Final = 16
_RESULTS: Final = frozenset({3, 5, 6, 10, 17, 20})
"""Header fields that follow from executing the block: roots, bloom, gas, blob gas or its footprint, requests."""


class UndecidedError(MachError):
    """The answer can be neither confirmed nor refuted now."""


@dataclass(frozen=True, slots=True)
class Falsehood:
    """What is wrong with an answer; `header` is a false header that was served whole."""

    reason: str
    expected: Any
    block_number: int | None = None
    header: ServedHeader | None = None


class AnswerChecks:
    """Checks for the answers to each method that a canary uses."""

    def __init__(
        self,
        endpoints: EndpointSet,
        verdicts: VerdictLog,
        chain: ChainRecord,
        progress: Progress,
        *,
        chain_id: int,
        settle_s: float,
    ) -> None:
        self._endpoints = endpoints
        self._verdicts = verdicts
        self._chain = chain
        self._progress = progress
        self._chain_id = chain_id
        self._settle_s = settle_s
        self._checks: dict[str, Callable[[Sequence[Any], Any, int], Awaitable[Falsehood | None]]] = {
            "eth_blockNumber": self._block_number,
            "eth_chainId": self._of_chain_id,
            "eth_getBlockByNumber": self._block,
            "eth_getBalance": self._balance,
            "eth_getTransactionCount": self._transaction_count,
            "eth_call": self._call,
            "eth_getLogs": self._logs,
            "eth_getTransactionReceipt": self._receipt,
        }

    @property
    def node(self) -> RollupNode:
        """An own node that answers. Raises `UndecidedError`."""
        endpoint = self._endpoints.answering()
        if endpoint is None:
            raise UndecidedError("no own node answers")
        return endpoint.node

    async def check(self, method: str, params: Sequence[Any], answer: Any, tip: int) -> Falsehood | None:
        """What is wrong with an answer; None if nothing is. `tip` is where verification stood when it was asked for.

        Raises `UndecidedError`.
        """
        check = self._checks.get(method)
        if check is None:
            return None
        try:
            return await check(params, answer, tip)
        except (PeerUnavailableError, PeerRefusedError, ProofError) as error:
            raise UndecidedError(str(error)) from None

    async def _block_number(self, _params: Sequence[Any], answer: Any, tip: int) -> Falsehood | None:
        number = _quantity(answer)
        if number is None or number < tip - STALE_BLOCKS:
            return Falsehood(f"the head is {answer!r}, block {tip} was verified before it was asked for", hex(tip))
        return None

    async def _of_chain_id(self, _params: Sequence[Any], answer: Any, _tip: int) -> Falsehood | None:
        if _quantity(answer) == self._chain_id:
            return None
        return Falsehood("it is another chain's id", hex(self._chain_id))

    async def _block(self, params: Sequence[Any], answer: Any, tip: int) -> Falsehood | None:
        asked = None if params[0] == "latest" else int(params[0], 16)
        if answer is None:
            if asked is None or asked <= tip:
                return Falsehood("a block that was verified is withheld", None, asked)
            raise UndecidedError("the block is not there yet")
        try:
            served = served_header(answer, "eth_getBlockByNumber")
        except MalformedAnswerError as error:
            return Falsehood(str(error), None, asked)
        if asked not in (None, served.number):
            return Falsehood(f"block {served.number} is served for block {asked}", None, asked, served)
        if served.number < tip - STALE_BLOCKS and asked is None:
            return Falsehood(f"the newest block is {served.number}, {tip} was verified before", hex(tip))
        await self._wait_for(served.number)
        deadline = time.monotonic() + self._settle_s
        while await self._verdicts.verified(served.number, served.hash) is None:
            record = await self._verdicts.canonical_at(served.number)
            left = deadline - time.monotonic()
            if left <= 0 and record is not None and record.computed_hash is not None:
                expected = "0x" + record.computed_hash.hex()
                return Falsehood("the block is not the one that was verified", expected, served.number, served)
            if left <= 0:
                raise UndecidedError(f"block {served.number} is not verified")
            await self._progress_or(left)  # another branch may be on its way here
        return None

    async def _balance(self, params: Sequence[Any], answer: Any, tip: int) -> Falsehood | None:
        return await self._account(params[0], answer, tip, lambda account: account.balance)

    async def _transaction_count(self, params: Sequence[Any], answer: Any, tip: int) -> Falsehood | None:
        return await self._account(params[0], answer, tip, lambda account: account.nonce)

    async def _account(
        self, address: str, answer: Any, tip: int, value_of: Callable[[AccountState], int]
    ) -> Falsehood | None:
        told = _quantity(answer, bits=256)
        raw, seen = bytes.fromhex(address[2:]), {}

        async def matches(number: int) -> bool:
            header = await self._header(number)
            proof = await self.node.account_proof(raw, [], number)
            seen[number] = value_of(proven_account(header[_STATE_ROOT], raw, proof.account))
            return seen[number] == told

        if await self._at_some_height(tip, matches):
            return None
        expected = {str(number): hex(value) for number, value in sorted(seen.items())[-4:]}
        return Falsehood(f"{answer!r:.80} is the value in no verified state of late", expected, max(seen, default=None))

    async def _call(self, params: Sequence[Any], answer: Any, tip: int) -> Falsehood | None:
        seen: dict[int, Any] = {}

        async def matches(number: int) -> bool:
            await self._header(number)
            seen[number] = await self.node.call("eth_call", params[0], hex(number))
            return bool(seen[number] == answer)

        if await self._at_some_height(tip, matches):
            return None
        expected = {str(number): value for number, value in sorted(seen.items())[-4:]}
        return Falsehood("the own node computes another result (not proved)", expected, max(seen, default=None))

    async def _logs(self, params: Sequence[Any], answer: Any, _tip: int) -> Falsehood | None:
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        address = params[0].get("address")
        expected: list[dict[str, Any]] = []
        for number in range(first, last + 1):
            record, receipts = await self._receipts(number)
            expected += [log for receipt in receipts for log in _logs_of(receipt, record)]
        wanted = [log for log in expected if address is None or log["address"] == address.lower()]
        told = [_comparable(log) for log in answer] if isinstance(answer, list) else None
        if told == [_comparable(log) for log in wanted]:
            return None
        return Falsehood("the logs are not those that the verified receipts hold", wanted, last)

    async def _receipt(self, params: Sequence[Any], answer: Any, _tip: int) -> Falsehood | None:
        found = await self.node.call("eth_getTransactionReceipt", params[0])
        if not isinstance(found, dict):
            raise UndecidedError("the own node does not know the transaction")
        number, index = (
            quantity(found.get("blockNumber"), "receipt"),
            quantity(found.get("transactionIndex"), "receipt"),
        )
        record, receipts = await self._receipts(number)
        if index >= len(receipts):
            raise UndecidedError("the own node's receipt is of no transaction in its block")
        status, gas = receipts[index][0], receipts[index][1]
        expected = {
            "status": hex(int.from_bytes(status, "big")),
            "cumulativeGasUsed": hex(int.from_bytes(gas, "big")),
            "blockHash": "0x" + (record.computed_hash or b"").hex(),
            "blockNumber": hex(number),
            "transactionIndex": hex(index),
            "logs": _logs_of(receipts[index], record, receipts[:index]),
        }
        if not isinstance(answer, dict):
            return Falsehood("the receipt of a transaction in a verified block is withheld", expected, number)
        told = {name: answer.get(name) for name in expected}
        logs = told.pop("logs")
        wrong = [name for name in told if told[name] != expected[name]]
        true_logs = [_comparable(log) for log in _logs_of(receipts[index], record)]
        if not isinstance(logs, list) or [_comparable(log) for log in logs] != true_logs:
            wrong.append("logs")
        return Falsehood(f"the receipt's {', '.join(wrong)} are not true", expected, number) if wrong else None

    async def _receipts(self, number: int) -> tuple[VerdictRecord, list[list[Any]]]:
        """The decoded receipts of a verified block, proved by its receipts root."""
        await self._wait_for(number)
        header, raw = await self._header(number), await self.node.raw_receipts(number)
        if ordered_trie_root(raw) != header[_RECEIPTS_ROOT]:
            raise UndecidedError(f"the own node's receipts of block {number} are not those of the verified block")
        record = await self._verdicts.canonical_at(number)
        if record is None:
            raise UndecidedError(f"block {number} is not verified")
        return record, [rlp.decode(one[1:] if one[0] < 0x80 else one) for one in raw]

    async def _header(self, number: int) -> list[bytes]:
        """The items of the verified header at a height."""
        record = await self._verdicts.canonical_at(number)
        if record is None or record.computed_header is None:
            raise UndecidedError(f"block {number} is not verified")
        items: list[bytes] = rlp.decode(record.computed_header)
        return items

    async def _at_some_height(self, tip: int, matches: Callable[[int], Awaitable[bool]]) -> bool:
        """Whether something holds at a verified block not long before `tip`, or at one that is verified soon."""
        first = await self._verdicts.first_block()
        low = max(tip - STALE_BLOCKS, first or 0)
        started, looked_at = time.time(), low - 1
        deadline = time.monotonic() + self._settle_s
        while True:
            reached = self._progress.tip.number if self._progress.tip is not None else tip
            for number in range(reached, looked_at, -1):  # the newest first: that is what `latest` most likely was
                if await matches(number):
                    return True
            looked_at = max(reached, looked_at)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            await self._progress_or(left)
        if any(block.noticed_at > started - 60 for block in await self._chain.replaced(low)):
            raise UndecidedError("the chain was reorganised meanwhile")
        return False

    async def _wait_for(self, number: int) -> None:
        try:
            async with asyncio.timeout(self._settle_s):
                await self._progress.moved_beyond(number - 1)
        except TimeoutError:
            raise UndecidedError(f"block {number} is not verified yet") from None

    async def _progress_or(self, timeout_s: float) -> None:
        tip = self._progress.tip
        try:
            async with asyncio.timeout(timeout_s):
                await self._progress.moved_beyond(-1 if tip is None else tip.number)
        except TimeoutError:
            return


def provable_alert(served: ServedHeader, record: VerdictRecord) -> BlockMismatch | None:
    """The alert over a false header, if it proves itself false: the inputs of the verified block with other results.

    A header with other inputs may be of another good block; only executing that one would tell. Output roots stand for
    the blocks where the chain has them (OP Stack from Isthmus, whose headers hold the message passer's root).
    """
    if record.computed_header is None or record.computed_hash is None or record.block_number != served.number:
        return None
    ours, theirs = rlp.decode(record.computed_header), rlp.decode(served.header)
    if len(ours) != len(theirs):
        return None
    differing = {index for index, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]}
    if record.computed_output_root is None:  # the withdrawals are an input here
        provable = bool(differing) and differing <= _RESULTS
        return BlockMismatch(served.hash, record.computed_hash, served.number) if provable else None
    if len(ours) <= _WITHDRAWALS_ROOT or _output_root(ours, record.computed_hash) != record.computed_output_root:
        return None
    if not differing or not differing <= _RESULTS | {_WITHDRAWALS_ROOT}:
        return None
    return BlockMismatch(_output_root(theirs, served.hash), record.computed_output_root, served.number)


def _output_root(header: Sequence[bytes], block_hash: bytes) -> bytes:
    """keccak256(version 0 ‖ state root ‖ message passer's storage root ‖ block hash): OP Stack's output root."""
    return keccak256(bytes(32) + header[_STATE_ROOT] + header[_WITHDRAWALS_ROOT] + block_hash)


def _logs_of(
    receipt: Sequence[Any], record: VerdictRecord, before: Sequence[Sequence[Any]] | None = None
) -> list[dict[str, Any]]:
    """A receipt's logs as JSON-RPC words them; their index only with the block's receipts before it."""
    block_hash = "0x" + (record.computed_hash or b"").hex()
    first = None if before is None else sum(len(one[3]) for one in before)
    logs = []
    for offset, (address, topics, content) in enumerate(receipt[3]):
        log = {
            "address": "0x" + address.hex(),
            "topics": ["0x" + topic.hex() for topic in topics],
            "data": "0x" + content.hex(),
            "blockNumber": hex(record.block_number),
            "blockHash": block_hash,
        }
        logs.append(log if first is None else log | {"logIndex": hex(first + offset)})
    return logs


def _comparable(log: Any) -> tuple[Any, ...]:
    """What is compared of a log."""
    if not isinstance(log, dict):
        return ()
    topics = log.get("topics")
    return (
        str(log.get("address")).lower(),
        tuple(map(str, topics)) if isinstance(topics, list) else (),
        log.get("data"),
        log.get("blockNumber"),
        log.get("blockHash"),
    )


def _quantity(value: Any, bits: int = 64) -> int | None:
    try:
        number = int(value, 16) if isinstance(value, str) and value.startswith("0x") else -1
    except ValueError:
        return None
    return number if 0 <= number < 1 << bits else None


def addresses_in(block: Any) -> list[str]:
    """The accounts that a block's transactions (given in full) name; 0x-hex."""
    return _named_in(block, ("from", "to"), 20)


def transactions_in(block: Any) -> list[str]:
    """The hashes of a block's transactions (given in full); 0x-hex."""
    return _named_in(block, ("hash",), 32)


def _named_in(block: Any, names: Sequence[str], size: int) -> list[str]:
    transactions = block.get("transactions") if isinstance(block, dict) else None
    found = []
    for transaction in transactions if isinstance(transactions, list) else ():
        for name in names:
            value = transaction.get(name) if isinstance(transaction, dict) else None
            try:
                if len(data(value, name)) == size:
                    found.append(str(value))
            except MalformedAnswerError:
                continue
    return found
