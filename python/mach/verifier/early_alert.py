"""The early alert: a false output is told to the rollup's contract on L1 directly, before a quorum has signed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from mach.chain.errors import (
    L1UnavailableError,
    NonceConsumedError,
    RequestRefusedError,
    RevertedError,
    TransactionTimeoutError,
)
from mach.chain.transaction import SignedTransaction
from mach.errors import MachError
from mach.protocol.hashing import keccak256
from mach.transport.backoff import Backoff

if TYPE_CHECKING:
    from mach.chain.sender import TransactionSender
    from mach.storage.output_proposals import ProposalLog, ProposalRecord

log = structlog.get_logger()

_SELECTOR: Final = keccak256(b"alertBlockOutputOracleMismatch(uint256,bytes32)")[:4]
_MINED_WITHIN_S: Final = 120.0


class EarlyAlertSender:
    """Sends `alertBlockOutputOracleMismatch` for each false output of the proposal log, once.

    The signed transaction is stored before it is sent: a restart sends the same bytes again.
    """

    def __init__(self, sender: TransactionSender, contract: str, proposals: ProposalLog) -> None:
        self._sender = sender
        self._contract = contract
        self._proposals = proposals
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There is something new to send."""
        self._news.set()

    async def run(self) -> None:
        """Sends until cancelled; an L1 that is away, or fees above the cap, are waited for."""
        backoff = Backoff()
        while True:
            self._news.clear()
            try:
                for proposal in await self._proposals.pending_early_alerts():
                    await self._raise(proposal)
                backoff.reset()
                await self._news.wait()
            except MachError as error:
                log.warning("early_alert.waiting", contract=self._contract, problem=str(error))
                await asyncio.sleep(backoff.next_delay_s())

    async def _raise(self, proposal: ProposalRecord) -> None:
        event = {"contract": self._contract, "index": proposal.output_index, "block": proposal.l2_block_number}
        try:
            transaction = await self._stored_or_new(proposal)
            receipt = await self._deliver(proposal, transaction)
        except RevertedError as error:
            # Somebody else was first, or the output is gone: there is nothing left to say.
            await self._proposals.settle_early_alert(proposal.key, "refused", error.reason)
            log.warning("early_alert.refused", **event, reason=error.reason)
            return
        await self._proposals.settle_early_alert(proposal.key, "confirmed")
        log.info("early_alert.confirmed", **event, tx_hash="0x" + receipt.hex())

    async def _stored_or_new(self, proposal: ProposalRecord) -> SignedTransaction:
        if proposal.early_alert_transaction is not None:
            return SignedTransaction.from_raw(proposal.early_alert_transaction)
        if proposal.expected_root is None:
            raise RequestRefusedError(f"output {proposal.output_index} has no expected root on record: judge it again")
        data = _SELECTOR + proposal.output_index.to_bytes(32, "big") + proposal.expected_root
        transaction = await self._sender.prepare(self._contract, data, label="raise the early alert")
        await self._proposals.store_early_alert(proposal.key, transaction.raw)
        return transaction

    async def _deliver(self, proposal: ProposalRecord, transaction: SignedTransaction) -> bytes:
        """Sends the transaction and waits until it is mined; returns its hash (32 bytes)."""
        while True:
            try:
                await self._sender.broadcast(transaction)
            except NonceConsumedError:
                # Either it was mined itself, or another transaction of the account took its place.
                if await self._sender.receipt(transaction.hash) is None:
                    await self._proposals.store_early_alert(proposal.key, None)
                    raise L1UnavailableError(
                        "the account's nonce was used elsewhere: the alert is signed anew"
                    ) from None
            try:
                await self._sender.wait(transaction.hash, _MINED_WITHIN_S)
            except TransactionTimeoutError:
                transaction = await self._sender.replace(transaction)
                await self._proposals.store_early_alert(proposal.key, transaction.raw)
                continue
            return transaction.hash
