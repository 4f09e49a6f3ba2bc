"""All that the aggregator knows of the L1 and does there: followed heads, operator sets, alerts, sending.

After `start`, an alert's transaction is made from its signatures without a request (`prepare_alert`). Whoever submits
makes a tracker (`new_tracker`), takes the account over with it (`take_over`), and learns from it what became of its
transactions.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from mach.chain.confirm_alert import encode_confirm_alert, gas_limit
from mach.chain.confirmed_alerts import ConfirmedAlerts
from mach.chain.fees import FeeOracle
from mach.chain.head_follower import HeadFollower
from mach.chain.operator_set_follower import OperatorSetFollower
from mach.chain.sender import GWEI, TransactionSender
from mach.chain.transaction_tracker import TrackerSettings, TransactionTracker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from eth_account.signers.local import LocalAccount

    from mach.chain.connection import L1Client
    from mach.chain.deploy_output import DeployOutput
    from mach.chain.indexed_operator_set import IndexedOperatorSet
    from mach.chain.service_manager import AlertHeader
    from mach.chain.transaction import SignedTransaction


@dataclass(frozen=True, slots=True)
class SettlementSettings:
    """`poll_interval_s`: how often the head is asked for; the rest as in `TransactionSender` and `TrackerSettings`."""

    quorum_numbers: bytes
    rollup_chain_id: int
    layer1_chain_id: int
    poll_interval_s: float = 0.5
    fee_cap_wei: int = 500 * GWEI
    tracking: TrackerSettings = field(default_factory=TrackerSettings)


@dataclass(frozen=True, slots=True)
class Settlement:
    """One deployment as one aggregator sees it."""

    deployment: DeployOutput
    heads: HeadFollower
    operators: OperatorSetFollower
    alerts: ConfirmedAlerts
    fees: FeeOracle
    sender: TransactionSender
    settings: SettlementSettings

    @classmethod
    def build(
        cls,
        w3: L1Client,
        deployment: DeployOutput,
        account: LocalAccount,
        settings: SettlementSettings,
    ) -> Self:
        """Puts the parts together; nothing is asked yet."""
        operators = OperatorSetFollower(w3, deployment, settings.quorum_numbers)
        alerts = ConfirmedAlerts(w3, deployment, settings.rollup_chain_id)
        heads = HeadFollower(w3, (operators, alerts), poll_interval_s=settings.poll_interval_s)
        fees = FeeOracle(w3)
        heads.add_listener(fees.note_head)
        sender = TransactionSender(
            w3, account, settings.layer1_chain_id, fee_cap_wei=settings.fee_cap_wei, fees=fees, exclusive=True
        )
        return cls(deployment, heads, operators, alerts, fees, sender, settings)

    async def start(self) -> None:
        """Reads the head, the operator sets, the alerts and the fees. Raises what reading raises: start again then."""
        await self.heads.poll()
        await self.fees.refresh()

    async def run(self) -> None:
        """Follows heads and fees until cancelled; after `start`, or instead of it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.heads.run())
            group.create_task(self.fees.run())

    def new_tracker(
        self, replacing: Callable[[SignedTransaction, SignedTransaction], Awaitable[bool]]
    ) -> TransactionTracker:
        """A tracker of this account's transactions; `replacing` as it takes it. One at a time."""
        return TransactionTracker(self.sender, replacing, self.settings.tracking)

    async def take_over(self, tracker: TransactionTracker, on_record: Iterable[SignedTransaction] = ()) -> None:
        """Begins to use the account, alone: nonces are counted anew, and the tracker sends what was stored again.

        `on_record` holds every version of the transactions that may be under way. Raises `L1UnavailableError`.
        """
        on_record = tuple(on_record)
        await self.sender.resync(on_record)
        for transaction in on_record:
            tracker.add(transaction, sent=False)

    async def prepare_alert(
        self,
        header: AlertHeader,
        operators: IndexedOperatorSet,
        signatures: Mapping[bytes, bytes],
        *,
        simulate: bool = False,
    ) -> SignedTransaction:
        """The signed `confirmAlert` of an alert, not sent, from the signatures (64 bytes) by operator id.

        No request while the fees are fresh, unless `simulate` asks the node whether it would revert: `RevertedError`
        then, before a nonce is taken. Raises `NoSignatureError`, and what `TransactionSender.prepare` raises.
        """
        signed = operators.non_signer_stakes_and_signature(signatures)
        return await self.sender.prepare(
            self.deployment.mach_service_manager,
            encode_confirm_alert(header, signed),
            label=f"confirm alert 0x{header.message_hash.hex()}",
            gas_limit=None if simulate else gas_limit(header, len(signed.non_signer_public_keys)),
        )
