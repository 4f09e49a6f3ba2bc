"""The Engine API of geth and op-geth: how a sequencer has blocks built and made the head of the chain."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mach.devnet.blobs import blob_hashes
from mach.errors import MachError
from mach.transport.jsonrpc_client import JsonRpcClient

if TYPE_CHECKING:
    from collections.abc import Sequence

JWT_SECRET_BYTES: Final = 32


class EngineError(MachError):
    """The node did not build or accept a block. The message holds its own words."""


@dataclass(frozen=True)
class ValidatorWithdrawal:
    """A withdrawal from the consensus layer (EIP-4895): 20 bytes of address, an amount in gwei."""

    index: int
    validator_index: int
    address: bytes
    amount_gwei: int

    def to_json(self) -> dict[str, str]:
        """The object of the Engine API (`WithdrawalV1`)."""
        return {
            "index": hex(self.index),
            "validatorIndex": hex(self.validator_index),
            "address": _hex(self.address),
            "amount": hex(self.amount_gwei),
        }


@dataclass(frozen=True)
class EthereumAttributes:
    """What a block of an Ethereum chain is made from (`PayloadAttributesV3`); lengths as in `PayloadAttributes`."""

    timestamp: int
    prev_randao: bytes
    fee_recipient: bytes
    parent_beacon_block_root: bytes
    withdrawals: Sequence[ValidatorWithdrawal]
    transactions: ClassVar[tuple[bytes, ...]] = ()
    """Its blocks hold what the pool holds, nothing else."""

    def to_json(self) -> dict[str, Any]:
        """The object that `engine_forkchoiceUpdatedV3` takes."""
        return {
            "timestamp": hex(self.timestamp),
            "prevRandao": _hex(self.prev_randao),
            "suggestedFeeRecipient": _hex(self.fee_recipient),
            "withdrawals": [withdrawal.to_json() for withdrawal in self.withdrawals],
            "parentBeaconBlockRoot": _hex(self.parent_beacon_block_root),
        }


@dataclass(frozen=True)
class BuiltPayload:
    """A block that the node built: the `executionPayload`, and the execution requests (EIP-7685) that came of it."""

    payload: dict[str, Any]
    requests: Sequence[str]


@dataclass(frozen=True)
class PayloadAttributes:
    """What a block to build is made from (`PayloadAttributesV3` with the fields of the OP Stack).

    `prev_randao` and `parent_beacon_block_root` hold 32 bytes, `fee_recipient` 20; `transactions` are EIP-2718
    encodings that open the block, before what the transaction pool holds.
    """

    timestamp: int
    prev_randao: bytes
    fee_recipient: bytes
    parent_beacon_block_root: bytes
    transactions: Sequence[bytes]
    gas_limit: int
    eip1559_denominator: int
    eip1559_elasticity: int
    min_base_fee_wei: int

    def to_json(self) -> dict[str, Any]:
        """The object that `engine_forkchoiceUpdatedV3` takes."""
        return {
            "timestamp": hex(self.timestamp),
            "prevRandao": _hex(self.prev_randao),
            "suggestedFeeRecipient": _hex(self.fee_recipient),
            "withdrawals": [],
            "parentBeaconBlockRoot": _hex(self.parent_beacon_block_root),
            "transactions": [_hex(transaction) for transaction in self.transactions],
            "noTxPool": False,
            "gasLimit": hex(self.gas_limit),
            "eip1559Params": f"0x{self.eip1559_denominator:08x}{self.eip1559_elasticity:08x}",
            "minBaseFee": self.min_base_fee_wei,  # a JSON number: the one field here that op-geth takes no hex for
        }


class EngineClient(JsonRpcClient):
    """Calls a node's authenticated port, which serves `engine_*` and `eth_*`; an async context manager.

    `get_payload` is the version of that call that fits the chain's forks: V4 for Prague, V5 for Osaka.
    """

    def __init__(
        self, url: str, jwt_secret: bytes, *, timeout_s: float = 10.0, get_payload: str = "engine_getPayloadV4"
    ) -> None:
        super().__init__(url, timeout_s=timeout_s)
        if len(jwt_secret) != JWT_SECRET_BYTES:
            raise EngineError(f"a JWT secret holds {JWT_SECRET_BYTES} bytes, this one {len(jwt_secret)}")
        self._jwt_secret = jwt_secret
        self._get_payload = get_payload

    async def call_with(self, method: str, params: Any) -> Any:
        if self._session is not None:
            # A token counts for a minute from its `iat`, so each call brings its own.
            self._session.headers["Authorization"] = f"Bearer {self._token()}"
        return await super().call_with(method, params)

    async def start_payload(self, head: bytes, attributes: PayloadAttributes | EthereumAttributes) -> str:
        """Has the node begin a block on top of `head` (32 bytes); returns the payload id.

        Raises:
            EngineError: the node does not know the head or rejects the attributes.
        """
        answer = await self._forkchoice(head, attributes.to_json())
        payload_id = answer.get("payloadId")
        if not isinstance(payload_id, str):
            raise EngineError(f"the node builds no block on 0x{head.hex()}: {answer}")
        return payload_id

    async def finish_payload(self, payload_id: str) -> dict[str, Any]:
        """As `finish`, for a chain without execution requests: the payload alone."""
        return (await self.finish(payload_id)).payload

    async def finish(self, payload_id: str) -> BuiltPayload:
        """Ends the building of a block and returns it. Also a block that is not full yet."""
        envelope = await self.call(self._get_payload, payload_id)
        return BuiltPayload(envelope["executionPayload"], envelope.get("executionRequests") or [])

    async def import_payload(
        self, payload: dict[str, Any], parent_beacon_block_root: bytes, requests: Sequence[str] = ()
    ) -> None:
        """Has the node execute a block.

        Raises:
            EngineError: the node does not hold it for valid.
        """
        blobs = [hashed for item in payload["transactions"] for hashed in blob_hashes(bytes.fromhex(item[2:]))]
        status = await self.call(
            "engine_newPayloadV4", payload, [_hex(blob) for blob in blobs], _hex(parent_beacon_block_root), requests
        )
        if status.get("status") != "VALID":
            raise EngineError(f"the node holds block {payload.get('blockNumber')} for {status}")

    async def set_head(self, head: bytes) -> None:
        """Makes the block `head` (32 bytes) the head of the chain, safe and final with it."""
        await self._forkchoice(head, None)

    async def _forkchoice(self, head: bytes, attributes: dict[str, Any] | None) -> dict[str, Any]:
        block = _hex(head)
        state = {"headBlockHash": block, "safeBlockHash": block, "finalizedBlockHash": block}
        answer: dict[str, Any] = await self.call("engine_forkchoiceUpdatedV3", state, attributes)
        if answer["payloadStatus"]["status"] != "VALID":
            raise EngineError(f"the node does not take {block} for its head: {answer['payloadStatus']}")
        return answer

    def _token(self) -> str:
        """A JSON Web Token (HS256) as the Engine API's authentication asks for."""
        claims = json.dumps({"iat": int(time.time())}).encode()
        signed = _base64url(b'{"alg":"HS256","typ":"JWT"}') + b"." + _base64url(claims)
        signature = hmac.new(self._jwt_secret, signed, hashlib.sha256).digest()
        return (signed + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
