"""A rollup's node over JSON-RPC: heads, blocks, witnesses and receipts, all of it distrusted."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rlp

from mach.transport.jsonrpc_client import PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.transport.jsonrpc_client import JsonRpcClient


class MalformedAnswerError(PeerUnavailableError):
    """The node answered something that is not what was asked for: as good as no answer, worth trying again."""


@dataclass(frozen=True, slots=True)
class BlockData:
    """What re-executing one block takes. `block` is the RLP block; preimages and ancestor headers come in any order."""

    number: int
    block: bytes
    preimages: Sequence[bytes]
    ancestors: Sequence[bytes]


class RollupNode:
    """Calls of one node; every answer is checked for its form, nothing for its truth."""

    def __init__(self, client: JsonRpcClient) -> None:
        self._client = client

    async def chain_id(self) -> int:
        return quantity(await self._client.call("eth_chainId"), "eth_chainId")

    async def head_number(self) -> int:
        return quantity(await self._client.call("eth_blockNumber"), "eth_blockNumber")

    async def raw_header(self, number: int) -> bytes:
        """The RLP header at a height."""
        return data(await self._client.call("debug_getRawHeader", hex(number)), "debug_getRawHeader")

    async def raw_block(self, number: int) -> bytes:
        """The RLP block at a height."""
        return data(await self._client.call("debug_getRawBlock", hex(number)), "debug_getRawBlock")

    async def raw_receipts(self, number: int) -> list[bytes]:
        """The EIP-2718 receipts at a height, in order."""
        return data_list(await self._client.call("debug_getRawReceipts", hex(number)), "debug_getRawReceipts")

    async def proof(self, address: bytes, slots: Sequence[bytes], number: int) -> list[bytes]:
        """The trie nodes on the way to an account (20 bytes) and to slots of it (32 bytes), in a block's state."""
        answer = await self._client.call(
            "eth_getProof", "0x" + address.hex(), ["0x" + slot.hex() for slot in slots], hex(number)
        )
        if not isinstance(answer, dict) or not isinstance(answer.get("storageProof"), list):
            raise MalformedAnswerError("eth_getProof did not answer a proof")
        nodes = data_list(answer.get("accountProof"), "eth_getProof accountProof")
        for entry in answer["storageProof"]:
            nodes += data_list(entry.get("proof") if isinstance(entry, dict) else None, "eth_getProof storageProof")
        return nodes

    async def block_data(self, number: int) -> BlockData:
        """Block and execution witness at a height."""
        block = await self.raw_block(number)
        witness = await self._client.call("debug_executionWitness", hex(number))
        if not isinstance(witness, dict):
            raise MalformedAnswerError("debug_executionWitness did not answer an object")
        state = data_list(witness.get("state"), "debug_executionWitness state")
        codes = data_list(witness.get("codes"), "debug_executionWitness codes")
        headers = witness.get("headers") or []
        if not isinstance(headers, list):
            raise MalformedAnswerError("debug_executionWitness headers is not a list")
        ancestors = [header for entry in headers if (header := await self._ancestor(entry)) is not None]
        return BlockData(number, block, state + codes, ancestors)

    async def _ancestor(self, entry: Any) -> bytes | None:
        """An ancestor's RLP header: the standard gives RLP; geth gives a JSON object, and is asked for the RLP."""
        if isinstance(entry, str):
            return data(entry, "debug_executionWitness headers")
        if isinstance(entry, dict) and "number" in entry:
            return await self.raw_header(quantity(entry["number"], "debug_executionWitness headers"))
        raise MalformedAnswerError("debug_executionWitness headers holds neither RLP nor header objects")


def parent_hash_of(block: bytes) -> bytes:
    """The parent hash (32 bytes) in an RLP block's header; raises `MalformedAnswerError`."""
    try:
        header = rlp.decode(block, strict=False)[0]
        parent = header[0]
    except (rlp.DecodingError, IndexError, TypeError):
        raise MalformedAnswerError("the node's raw block is not an RLP block") from None
    if not isinstance(parent, bytes) or len(parent) != 32:
        raise MalformedAnswerError("the node's raw block has no 32-byte parent hash")
    return parent


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
