"""A rollup's node over JSON-RPC: heads, blocks, witnesses and receipts, all of it distrusted."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mach.protocol.hashing import keccak256
from mach.rollup.witness_files import header_rlp
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.transport.urls import without_credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.transport.jsonrpc_client import JsonRpcClient

INVALID_PARAMS: Final = -32602
"""JSON-RPC 2.0: how a node answers a call with a parameter too few or too many."""
WITNESS_MODES: Final[tuple[tuple[str, ...], ...]] = ((), ("canonical",), ("legacy",))
"""What follows the block in debug_executionWitness: geth and the standard take nothing, reth may want its mode."""


class MalformedAnswerError(PeerUnavailableError):
    """The node answered something that is not what was asked for: as good as no answer, worth trying again."""


@dataclass(frozen=True, slots=True)
class BlockData:
    """What re-executing one block takes. `block` is the RLP block; preimages and ancestor headers come in any order."""

    number: int
    block: bytes
    preimages: Sequence[bytes]
    ancestors: Sequence[bytes]
    served_by: str = ""


@dataclass(frozen=True, slots=True)
class ServedHeader:
    """A header as a node serves it: its RLP and what that hashes to."""

    number: int
    hash: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class Witness:
    """Trie nodes and codes in any order, and RLP headers for BLOCKHASH: all found by hash, none believed."""

    preimages: Sequence[bytes]
    ancestors: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class AccountProof:
    """Trie nodes from the root down: of the state trie to an account, of its storage trie to each slot asked for."""

    account: list[bytes]
    slots: list[list[bytes]]

    @property
    def nodes(self) -> list[bytes]:
        """All of them."""
        return [*self.account, *(node for nodes in self.slots for node in nodes)]


@dataclass(frozen=True, slots=True)
class TouchedState:
    """Accounts (20 bytes) with their slots (32 bytes), and codes."""

    slots: dict[bytes, set[bytes]]
    codes: set[bytes]


class RollupNode:
    """Calls of one node; every answer is checked for its form, nothing for its truth."""

    def __init__(self, client: JsonRpcClient, name: str | None = None) -> None:
        self._client = client
        self._witness_mode: tuple[str, ...] | None = None
        self.name = name or without_credentials(client.url)

    async def call(self, method: str, *params: Any) -> Any:
        """The result of a call that has no method here; nothing about it is checked."""
        return await self._client.call(method, *params)

    async def chain_id(self) -> int:
        return quantity(await self._client.call("eth_chainId"), "eth_chainId")

    async def head_number(self) -> int:
        return quantity(await self._client.call("eth_blockNumber"), "eth_blockNumber")

    async def labelled_header(self, label: str) -> ServedHeader | None:
        """The block under `safe`, `finalized` or another tag; None if the node has none. Its hash is made anew."""
        try:
            answer = await self._client.call("eth_getBlockByNumber", label, False)
        except PeerRefusedError:
            return None  # geth refuses a tag that it has no block for
        return None if answer is None else served_header(answer, "eth_getBlockByNumber")

    async def raw_header(self, number: int) -> bytes:
        """The RLP header at a height."""
        return data(await self._client.call("debug_getRawHeader", hex(number)), "debug_getRawHeader")

    async def raw_block(self, number: int) -> bytes:
        """The RLP block at a height."""
        return data(await self._client.call("debug_getRawBlock", hex(number)), "debug_getRawBlock")

    async def raw_receipts(self, number: int) -> list[bytes]:
        """The EIP-2718 receipts at a height, in order."""
        return data_list(await self._client.call("debug_getRawReceipts", hex(number)), "debug_getRawReceipts")

    async def account_proof(self, address: bytes, slots: Sequence[bytes], number: int) -> AccountProof:
        """The way to an account (20 bytes) and to slots of it (32 bytes) in a block's state."""
        answer = await self._client.call(
            "eth_getProof", "0x" + address.hex(), ["0x" + slot.hex() for slot in slots], hex(number)
        )
        if not isinstance(answer, dict) or not isinstance(answer.get("storageProof"), list):
            raise MalformedAnswerError("eth_getProof did not answer a proof")
        return AccountProof(
            data_list(answer.get("accountProof"), "eth_getProof accountProof"),
            [
                data_list(entry.get("proof") if isinstance(entry, dict) else None, "eth_getProof storageProof")
                for entry in answer["storageProof"]
            ],
        )

    async def code(self, address: bytes, number: int) -> bytes:
        """An account's code in a block's state."""
        return data(await self._client.call("eth_getCode", "0x" + address.hex(), hex(number)), "eth_getCode")

    async def touched(self, number: int) -> TouchedState:
        """What a block's transactions touch, by prestateTracer."""
        what = "debug_traceBlockByNumber"
        answer = await self._client.call(what, hex(number), {"tracer": "prestateTracer"})
        slots: dict[bytes, set[bytes]] = {}
        codes: set[bytes] = set()
        try:
            for trace in answer:
                for address, account in trace["result"].items():
                    of_account = slots.setdefault(data(address, what), set())
                    of_account.update(data(slot, what).rjust(32, b"\0") for slot in account.get("storage") or ())
                    codes.add(data(account.get("code") or "0x", what))
        except (AttributeError, KeyError, TypeError):
            raise MalformedAnswerError(f"{what} did not answer prestateTracer's traces") from None
        if any(len(address) != 20 for address in slots) or any(
            len(slot) != 32 for slot in set().union(*slots.values())
        ):
            raise MalformedAnswerError(f"{what} answered an address or a slot of a wrong length")
        return TouchedState(slots, codes)

    async def execution_witness(self, number: int) -> Witness:
        """The witness of debug_executionWitness in geth's, reth's and the standard's form.

        State and codes may be lists or, as older versions have it, objects by hash; headers may be RLP or JSON; keys
        are not looked at.
        """
        answer = await self._ask_for_witness(number)
        if not isinstance(answer, dict):
            raise MalformedAnswerError("debug_executionWitness did not answer an object")
        preimages = data_values(answer.get("state"), "debug_executionWitness state")
        preimages += data_values(answer.get("codes") or [], "debug_executionWitness codes")
        headers = answer.get("headers") or []
        if not isinstance(headers, list):
            raise MalformedAnswerError("debug_executionWitness headers is not a list")
        return Witness(preimages, [await self._ancestor(entry) for entry in headers])

    async def _ask_for_witness(self, number: int) -> Any:
        modes = WITNESS_MODES if self._witness_mode is None else (self._witness_mode,)
        for mode in modes:
            try:
                answer = await self._client.call("debug_executionWitness", hex(number), *mode)
            except PeerRefusedError as error:
                if error.code == INVALID_PARAMS and mode is not modes[-1]:
                    continue
                raise
            self._witness_mode = mode
            return answer
        raise MalformedAnswerError("debug_executionWitness has no form that is known here")

    async def _ancestor(self, entry: Any) -> bytes:
        """An ancestor's RLP header: the standard gives RLP; geth gives a JSON object, which is encoded here.

        A header with fields that are not known here does not hash to what it should; the node is then asked for it.
        """
        if isinstance(entry, str):
            return data(entry, "debug_executionWitness headers")
        if not isinstance(entry, dict) or "number" not in entry:
            raise MalformedAnswerError("debug_executionWitness headers holds neither RLP nor header objects")
        try:
            return served_header(entry, "debug_executionWitness headers").header
        except MalformedAnswerError:
            return await self.raw_header(quantity(entry["number"], "debug_executionWitness headers"))


def header_of(block: bytes) -> bytes:
    """The RLP header in an RLP block; raises `MalformedAnswerError`."""
    start, end = _list_payload(block, 0)
    _, header_end = _list_payload(block, start)
    if header_end > end:
        raise MalformedAnswerError("the node's raw block is not an RLP block")
    return block[start:header_end]


def parent_hash_of(block: bytes) -> bytes:
    """The parent hash (32 bytes) in an RLP block's header; raises `MalformedAnswerError`."""
    return parent_hash_in(header_of(block))


def parent_hash_in(header: bytes) -> bytes:
    """The parent hash (32 bytes) in an RLP header; raises `MalformedAnswerError`."""
    start, end = _list_payload(header, 0)
    if header[start : start + 1] != b"\xa0" or end - start < 33:
        raise MalformedAnswerError("the node's raw block has no 32-byte parent hash")
    return header[start + 1 : start + 33]


def _list_payload(encoded: bytes, offset: int) -> tuple[int, int]:
    """Where the payload of the RLP list at an offset begins and ends. The items are not looked at."""
    prefix = encoded[offset] if offset < len(encoded) else 0
    size_bytes = max(prefix - 0xF7, 0)
    start = offset + 1 + size_bytes
    size = int.from_bytes(encoded[offset + 1 : start], "big") if size_bytes else prefix - 0xC0
    if prefix < 0xC0 or start + size > len(encoded):
        raise MalformedAnswerError("the node's raw block is not an RLP block")
    return start, start + size


def served_header(answer: Any, what: str) -> ServedHeader:
    """A header given as JSON, encoded; raises `MalformedAnswerError` if it does not hash to its own hash."""
    try:
        header = header_rlp(answer)
        number, told = quantity(answer["number"], what), data(answer["hash"], what)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MalformedAnswerError(f"{what} did not answer a header") from None
    if keccak256(header) != told:
        raise MalformedAnswerError(f"{what} answered a header that does not hash to its own hash")
    return ServedHeader(number, told, header)


def quantity(value: Any, what: str) -> int:
    """A JSON-RPC quantity of at most 64 bits."""
    try:
        number = int(value, 16) if isinstance(value, str) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise MalformedAnswerError(f"{what} did not answer a quantity")
    return number


def data(value: Any, what: str) -> bytes:
    """JSON-RPC data: 0x and an even number of hex digits."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise MalformedAnswerError(f"{what} did not answer 0x-data")
    try:
        return binascii.unhexlify(value[2:])
    except (ValueError, binascii.Error):
        raise MalformedAnswerError(f"{what} did not answer 0x-data") from None


def data_list(value: Any, what: str) -> list[bytes]:
    if not isinstance(value, list):
        raise MalformedAnswerError(f"{what} is not a list")
    return [data(entry, what) for entry in value]


def data_values(value: Any, what: str) -> list[bytes]:
    """The byte strings of a list, or of an object's values."""
    return data_list(list(value.values()) if isinstance(value, dict) else value, what)
