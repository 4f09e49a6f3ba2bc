"""Sends transactions of one account so that a crash, a restart or a second try never sends anything twice.

The order of use is prepare, store, broadcast, wait: `prepare` signs without sending, so the caller can store the bytes
first, and after a restart `broadcast` the very same bytes again.

Where fees are followed (`FeeOracle`) and the process has the account for itself (`exclusive`), `prepare` with a gas
limit asks the node nothing: the broadcast is the only request between a decision and the transaction on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from eth_typing import Hash32

from mach.chain.blocks import block_by_number, latest_block
from mach.chain.connection import DEFAULT_DEADLINE_S, L1Client
from mach.chain.errors import (
    FeeCapReachedError,
    InsufficientFundsError,
    L1UnavailableError,
    MalformedAnswerError,
    NonceConsumedError,
    ReplacementUnderpricedError,
    RequestRefusedError,
    RevertedError,
    TransactionRefusedError,
    TransactionTimeoutError,
)
from mach.chain.fees import FeeOracle
from mach.chain.json_rpc import (
    CALLS_IN_ONE_REQUEST,
    RpcCall,
    call_all,
    hex_bytes,
    json_object,
    small_quantity,
    value_of,
)
from mach.chain.json_rpc import call as ask
from mach.chain.nonces import NonceAllocator
from mach.chain.signing import TransactionSigner
from mach.chain.transaction import Call, Receipt, SignedTransaction, receipt_of
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eth_account.signers.local import LocalAccount

GWEI = 10**9

# What geth, reth, erigon, nethermind, besu and anvil say; all are matched in lower case.
_ALREADY_KNOWN = ("already known", "already imported", "alreadyknown", "known transaction", "already in the pool")
_NONCE_CONSUMED = ("nonce too low", "nonce is too low", "oldnonce", "invalid nonce", "nonce below")
_UNDERPRICED = ("replacement transaction underpriced", "replacement underpriced", "could not replace existing")
_NO_FUNDS = ("insufficient funds", "insufficient balance", "insufficientfunds")

_REPLACEMENT_BUMP_PERCENT = 13
"""Nodes want at least 10 % more on both fees (geth's `txpool.pricebump`); a little above spares rounding disputes."""

_TRANSFER_GAS = 21_000

_POLL_FIRST_S = 0.005
_POLL_LAST_S = 1.0
_REPLACE_AFTER_S = 25.0
"""Two slots: what should be next and is not mined by then was forgotten by the node, or pays too little."""
_LEAST_REQUEST_S = 0.5
"""For the last request before a deadline: less would make a busy node look like one that is away."""


class TransactionSender:
    """Signs and sends EIP-1559 transactions of `account` on the chain `chain_id`.

    `fee_cap_wei` bounds the price per gas of everything it signs, `gas_margin` multiplies gas estimates, and
    `request_deadline_s` bounds each single request. `fees` is asked for the gas price. With `exclusive`, nonces are
    counted in memory from the first use on, until `resync`. `send` and `send_all` replace what should be next and was
    not mined for `replace_after_s`. Safe to use from several tasks of one event loop; two processes must not share an
    account.
    """

    def __init__(
        self,
        w3: L1Client,
        account: LocalAccount,
        chain_id: int,
        *,
        fee_cap_wei: int = 500 * GWEI,
        minimum_priority_fee_wei: int = 1,
        gas_margin: float = 1.25,
        request_deadline_s: float = DEFAULT_DEADLINE_S,
        fees: FeeOracle | None = None,
        exclusive: bool = False,
        replace_after_s: float = _REPLACE_AFTER_S,
    ) -> None:
        self.w3 = w3
        self.chain_id = chain_id
        self.nonces = NonceAllocator()
        self._account = account
        self._signer = TransactionSigner(account, chain_id)
        self._fee_cap_wei = fee_cap_wei
        self._minimum_priority_fee_wei = minimum_priority_fee_wei
        self._gas_margin = gas_margin
        self._deadline_s = request_deadline_s
        self._fee_oracle = fees or FeeOracle(w3, request_deadline_s=request_deadline_s)
        self._exclusive = exclusive
        self._replace_after_s = replace_after_s
        self._nonce_lock = asyncio.Lock()

    @property
    def address(self) -> str:
        """The sending account, in checksum form."""
        return str(self._account.address)

    def sign_digest(self, digest: bytes) -> bytes:
        """The account's 65-byte signature r‖s‖v over a 32-byte digest of the caller's (EIP-712 and the like)."""
        return bytes(self._account.unsafe_sign_hash(Hash32(digest)).signature)

    async def prepare(
        self,
        to: str | None,
        data: bytes,
        *,
        label: str = "transaction",
        value_wei: int = 0,
        nonce: int | None = None,
        gas_limit: int | None = None,
    ) -> SignedTransaction:
        """A signed transaction, not sent. `to` None creates a contract.

        Without `gas_limit` the node simulates it first: `RevertedError` with the decoded reason when it would revert.
        Without `nonce` it takes the next free one; give it back with `release` when the transaction is dropped before
        `broadcast`. Raises `FeeCapReachedError`, `InsufficientFundsError`, `L1UnavailableError`, `RequestRefusedError`.
        """
        call = Call(to, data, label, value_wei)
        (limit,) = [gas_limit] if gas_limit is not None else await self._estimate([call])
        max_fee, priority_fee = await self._fees()
        if nonce is None:
            (nonce,) = await self._take_nonces(1)
        return self._sign(call, nonce, limit, max_fee, priority_fee)

    async def prepare_cancellation(self, nonce: int, instead_of: SignedTransaction | None = None) -> SignedTransaction:
        """A transfer of nothing to the account itself under a nonce that would hold back every later one; not sent.

        Its fees are high enough to take the place of `instead_of`. Raises `FeeCapReachedError` when that needs more
        than the cap, `L1UnavailableError`, `RequestRefusedError`.
        """
        call = Call(self.address, b"", f"free nonce {nonce}")
        if instead_of is None:
            return self._sign(call, nonce, _TRANSFER_GAS, *await self._fees())
        return self._sign(call, nonce, _TRANSFER_GAS, *await self._replacement_fees(instead_of))

    def release(self, transaction: SignedTransaction) -> None:
        """Gives back the nonce of a prepared transaction that will never be broadcast."""
        self.nonces.release(transaction.nonce)

    async def resync(self, on_record: Iterable[SignedTransaction] = ()) -> None:
        """Counts nonces anew from the node's count and the transactions that are stored and may still be sent.

        For a process that takes the account over, or starts again.
        """
        async with self._nonce_lock:
            pending = await self._nonce("pending")
            self.nonces.forget()
            self.nonces.observe(pending)
            for transaction in on_record:
                self.nonces.reserve_up_to(transaction.nonce)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """Hands the transaction to the node. Sending the same bytes again, mined or not, is no error.

        A transaction that the node refuses gives its nonce back: prepare a new one. Raises `NonceConsumedError` when
        another transaction took its nonce, `ReplacementUnderpricedError`, `InsufficientFundsError`, another
        `TransactionRefusedError`, or `L1UnavailableError` (send the same bytes again).
        """
        try:
            await ask(self.w3, _sending(transaction), _sending_action(transaction), self._deadline_s)
        except (RequestRefusedError, RevertedError) as error:
            await self._accept_or_raise(transaction, error)
        self.nonces.sent(transaction.nonce)

    async def broadcast_all(
        self, transactions: Sequence[SignedTransaction], *, keep_nonces: bool = False
    ) -> list[MachError | None]:
        """Hands several transactions to the node in one request for every hundred, in their order.

        For each, None when the node has it, or what `broadcast` would have raised; with `keep_nonces` a refused one
        keeps its nonce, to be sent again later. Raises `L1UnavailableError` when the request failed as a whole: send
        the same bytes again.
        """
        answers = []
        # One part after the other: a pool takes nonces in their order without holding any back.
        for start in range(0, len(transactions), CALLS_IN_ONE_REQUEST):
            part = transactions[start : start + CALLS_IN_ONE_REQUEST]
            action = f"send {len(part)} transactions"
            answers += await call_all(self.w3, [_sending(one) for one in part], action, self._deadline_s)
        results: list[MachError | None] = []
        for transaction, answer in zip(transactions, answers, strict=True):
            try:
                try:
                    value_of(answer, _sending_action(transaction))
                except (RequestRefusedError, RevertedError) as error:
                    await self._accept_or_raise(transaction, error, keep_nonce=keep_nonces)
                self.nonces.sent(transaction.nonce)
                results.append(None)
            except MachError as error:
                results.append(error)
        return results

    async def wait(self, transaction_hash: bytes, deadline_s: float, confirmations: int = 1) -> Receipt:
        """The receipt of a transaction once `confirmations` blocks hold it (1: the block it is in).

        A node that is away in between is asked again until the deadline. Raises `RevertedError` with the decoded
        reason when it was mined and failed, and at the deadline `TransactionTimeoutError`, or `L1UnavailableError` when
        the node did not answer to the last.
        """
        end, pause = time.monotonic() + deadline_s, _POLL_FIRST_S
        while True:
            away: L1UnavailableError | None = None
            allowed_s = max(end - time.monotonic(), _LEAST_REQUEST_S)
            try:
                receipt = await self._confirmed_receipt(transaction_hash, confirmations, allowed_s)
                if receipt is not None:
                    if not receipt.succeeded:
                        raise await self.mined_revert(receipt)
                    return receipt
            except L1UnavailableError as error:
                away = error
            if time.monotonic() + pause >= end:
                if away is not None:
                    raise away
                raise _late(transaction_hash, deadline_s, confirmations)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _POLL_LAST_S)

    async def replace(self, transaction: SignedTransaction) -> SignedTransaction:
        """The same message under the same nonce with fees high enough to take its place; not sent.

        Raises `FeeCapReachedError` when that needs more than the cap.
        """
        call = Call(transaction.to, transaction.data, "replacement", transaction.value_wei)
        return self._sign(call, transaction.nonce, transaction.gas_limit, *await self._replacement_fees(transaction))

    async def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """The receipt of a mined transaction, None while it is not mined or unknown."""
        return await self._receipt(transaction_hash, self._deadline_s)

    async def receipts(self, transaction_hashes: Sequence[bytes]) -> dict[bytes, Receipt]:
        """The receipts of those transactions that are mined, asked for in one request."""
        answers = await call_all(
            self.w3, [receipt_of(one) for one in transaction_hashes], "read receipts", self._deadline_s
        )
        found = (value_of(answer, "read receipts") for answer in answers)
        return {receipt.transaction_hash: receipt for receipt in found if receipt is not None}

    async def still_mined(self, receipt: Receipt) -> bool:
        """Whether the block of a receipt still belongs to the chain."""
        action = f"read block {receipt.block_number}"
        block = await ask(self.w3, block_by_number(receipt.block_number), action, self._deadline_s)
        return block is not None and block.hash == receipt.block_hash

    async def send(self, call: Call, deadline_s: float = 120.0) -> Receipt:
        """Prepares, broadcasts and waits for one call; returns the receipt."""
        (receipt,) = await self.send_all([call], deadline_s)
        return receipt

    async def send_all(self, calls: Sequence[Call], deadline_s: float = 120.0) -> list[Receipt]:
        """Sends calls that do not depend on each other, simulated together, mined in this order; their receipts.

        Nothing is sent when one of them would revert. A transaction that should be next and is not mined is sent again
        with higher fees, under the same nonce, so that one of the two is mined. Errors name the call's label.
        """
        limits = await self._estimate(calls)
        max_fee, priority_fee = await self._fees()
        nonces = await self._take_nonces(len(calls))
        transactions = [
            self._sign(call, nonce, limit, max_fee, priority_fee)
            for call, limit, nonce in zip(calls, limits, nonces, strict=True)
        ]
        for index, transaction in enumerate(transactions):
            try:
                await self.broadcast(transaction)
            except (L1UnavailableError, TransactionRefusedError):
                for unsent in transactions[index + 1 :]:
                    self.release(unsent)
                raise
        return list(await asyncio.gather(*(self._wait_or_replace(one, deadline_s) for one in transactions)))

    async def _wait_or_replace(self, transaction: SignedTransaction, deadline_s: float) -> Receipt:
        end, sent = time.monotonic() + deadline_s, [transaction]
        while True:
            left_s = end - time.monotonic()
            try:
                return await self.wait(sent[-1].hash, min(left_s, self._replace_after_s))
            except TransactionTimeoutError:
                late: MachError = _late(sent[-1].hash, deadline_s)
            except L1UnavailableError as error:
                late = error
            with contextlib.suppress(L1UnavailableError, FeeCapReachedError):
                mined = await self.receipts([one.hash for one in sent])
                if mined:
                    return await self.wait(next(iter(mined)), self._replace_after_s)
                if left_s > self._replace_after_s and await self._nonce("latest") == transaction.nonce:
                    sent.append(await self.replace(sent[-1]))
                    # Refused, it leaves the nonce to the one before.
                    await self.broadcast_all(sent[-1:], keep_nonces=True)
            if left_s <= self._replace_after_s:
                raise late

    async def _estimate(self, calls: Sequence[Call]) -> list[int]:
        return list(await asyncio.gather(*(self._estimate_one(call) for call in calls)))

    async def _estimate_one(self, call: Call) -> int:
        message = {"from": self.address, "data": "0x" + call.data.hex(), "value": hex(call.value_wei)}
        if call.to is not None:
            message["to"] = call.to
        try:
            # Simulated on the pending state, so that our own transactions in flight count as done.
            asked: RpcCall[int] = RpcCall("eth_estimateGas", (message, "pending"), small_quantity)
            gas = await ask(self.w3, asked, call.label, self._deadline_s)
        except RequestRefusedError as error:
            if any(phrase in str(error).lower() for phrase in _NO_FUNDS):
                raise _no_funds(self.address) from error
            raise
        return int(gas * self._gas_margin)

    async def _fees(self) -> tuple[int, int]:
        """Highest and priority fee per gas: the base fee may double (six full blocks) before the first is too low."""
        price = await self._fee_oracle.price()
        base_fee = price.base_fee_wei
        priority_fee = max(price.tip_wei, self._minimum_priority_fee_wei)
        if base_fee + priority_fee > self._fee_cap_wei:
            raise FeeCapReachedError(
                f"gas costs {(base_fee + priority_fee) / GWEI:g} gwei, above the cap of {self._fee_cap_wei / GWEI:g}: "
                f"raise the cap or wait"
            )
        return min(2 * base_fee + priority_fee, self._fee_cap_wei), priority_fee

    async def _replacement_fees(self, transaction: SignedTransaction) -> tuple[int, int]:
        suggested_max, suggested_priority = await self._fees()
        max_fee = max(_bumped(transaction.max_fee_wei), suggested_max)
        priority_fee = max(_bumped(transaction.priority_fee_wei), suggested_priority)
        if max_fee > self._fee_cap_wei:
            # Just the least bump may still fit where the suggestion does not.
            max_fee = _bumped(transaction.max_fee_wei)
            priority_fee = min(priority_fee, max_fee)
        if max_fee > self._fee_cap_wei:
            raise FeeCapReachedError(
                f"replacing transaction 0x{transaction.hash.hex()} needs {max_fee / GWEI:g} gwei per gas, "
                f"above the cap of {self._fee_cap_wei / GWEI:g}: raise the cap or wait"
            )
        return max_fee, priority_fee

    async def _take_nonces(self, count: int) -> list[int]:
        if self._exclusive and self.nonces.known:
            return self.nonces.take(count)
        async with self._nonce_lock:
            if not (self._exclusive and self.nonces.known):
                self.nonces.observe(await self._nonce("pending"))
            return self.nonces.take(count)

    async def _nonce(self, block: str) -> int:
        asked: RpcCall[int] = RpcCall("eth_getTransactionCount", (self.address, block), small_quantity)
        return await ask(self.w3, asked, f"read the nonce of {self.address}", self._deadline_s)

    def _sign(self, call: Call, nonce: int, gas_limit: int, max_fee: int, priority_fee: int) -> SignedTransaction:
        raw, transaction_hash = self._signer.sign(call, nonce, gas_limit, max_fee, priority_fee)
        return SignedTransaction(
            raw=raw,
            hash=transaction_hash,
            sender=self.address,
            chain_id=self.chain_id,
            nonce=nonce,
            max_fee_wei=max_fee,
            priority_fee_wei=priority_fee,
            gas_limit=gas_limit,
            to=call.to,
            value_wei=call.value_wei,
            data=call.data,
        )

    async def _accept_or_raise(
        self, transaction: SignedTransaction, refusal: RequestRefusedError | RevertedError, *, keep_nonce: bool = False
    ) -> None:
        """Returns when the node refused only because it has the transaction; else raises what its words mean."""
        text = str(refusal).lower()
        if any(phrase in text for phrase in _ALREADY_KNOWN):
            return
        if any(phrase in text for phrase in _NONCE_CONSUMED):
            if await self._is_known(transaction.hash):
                return
            self.nonces.sent(transaction.nonce)
            self.nonces.known = False
            raise NonceConsumedError(
                f"nonce {transaction.nonce} of {transaction.sender} was used by another transaction: "
                f"prepare transaction 0x{transaction.hash.hex()} anew, and let no other process use the account"
            ) from refusal
        if any(phrase in text for phrase in _UNDERPRICED):
            raise ReplacementUnderpricedError(
                f"another pending transaction of {transaction.sender} has nonce {transaction.nonce}: "
                f"replace it with higher fees"
            ) from refusal
        if not keep_nonce:
            # It is certainly not in the pool: without this, its nonce would hold back every later transaction.
            self.release(transaction)
        if any(phrase in text for phrase in _NO_FUNDS):
            raise _no_funds(transaction.sender) from refusal
        raise TransactionRefusedError(str(refusal)) from refusal

    async def _receipt(self, transaction_hash: bytes, deadline_s: float) -> Receipt | None:
        action = f"read the receipt of 0x{transaction_hash.hex()}"
        return await ask(self.w3, receipt_of(transaction_hash), action, min(deadline_s, self._deadline_s))

    async def _confirmed_receipt(
        self, transaction_hash: bytes, confirmations: int, deadline_s: float
    ) -> Receipt | None:
        receipt = await self._receipt(transaction_hash, deadline_s)
        if receipt is None or confirmations <= 1:
            return receipt
        head = await latest_block(self.w3, self._deadline_s)
        return receipt if head.number - receipt.block_number + 1 >= confirmations else None

    async def _is_known(self, transaction_hash: bytes) -> bool:
        shown = "0x" + transaction_hash.hex()
        asked: RpcCall[bool] = RpcCall("eth_getTransactionByHash", (shown,), lambda value: value is not None)
        return await ask(self.w3, asked, f"look up transaction {shown}", self._deadline_s)

    async def mined_revert(self, receipt: Receipt) -> RevertedError:
        """The error of a failed transaction; it is replayed on the state around its block to learn the reason."""
        reason = "no reason given"
        shown = f"0x{receipt.transaction_hash.hex()}"
        try:
            read: RpcCall[dict[str, Any]] = RpcCall("eth_getTransactionByHash", (shown,), _message)
            message = await ask(self.w3, read, f"read {shown}", self._deadline_s)
            if receipt.gas_used >= small_quantity(message["gas"]):
                reason = "out of gas"
            # What made it fail may stand in the same block, before it.
            for block in (receipt.block_number - 1, receipt.block_number):
                replay: RpcCall[bytes] = RpcCall("eth_call", (message, hex(block)), hex_bytes)
                await ask(self.w3, replay, f"replay {shown}", self._deadline_s)
        except RevertedError as error:
            reason = error.reason
        except (L1UnavailableError, RequestRefusedError):
            # The state may be pruned: the revert stands, only its reason stays unknown.
            pass
        return RevertedError(
            f"transaction {shown} reverted in block {receipt.block_number}: {reason}", reason, receipt.transaction_hash
        )


def _message(value: Any) -> dict[str, Any]:
    """The message of a mined transaction, to be replayed."""
    mined = json_object(value)
    message = {"from": mined["from"], "value": mined["value"], "data": mined["input"], "gas": mined["gas"]}
    return message | ({"to": mined["to"]} if mined.get("to") else {})


def _sending(transaction: SignedTransaction) -> RpcCall[bytes]:
    def read(value: Any) -> bytes:
        if hex_bytes(value, 32) != transaction.hash:
            raise MalformedAnswerError("another hash than that of the transaction which was sent")
        return transaction.hash

    return RpcCall("eth_sendRawTransaction", ("0x" + transaction.raw.hex(),), read)


def _sending_action(transaction: SignedTransaction) -> str:
    return f"send transaction 0x{transaction.hash.hex()}"


def _bumped(fee_wei: int) -> int:
    return fee_wei + max(1, -(-fee_wei * _REPLACEMENT_BUMP_PERCENT // 100))


def _late(transaction_hash: bytes, deadline_s: float, confirmations: int = 1) -> TransactionTimeoutError:
    return TransactionTimeoutError(
        f"transaction 0x{transaction_hash.hex()} has not {confirmations} confirmation(s) after "
        f"{deadline_s:g} s: wait longer, or replace it with higher fees"
    )


def _no_funds(address: str) -> InsufficientFundsError:
    return InsufficientFundsError(f"{address} cannot pay for value and gas of the transaction: fund the account")
