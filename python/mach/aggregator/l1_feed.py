"""What the intake must know of the L1: which operators there are at which block, and which alerts stand already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from mach.chain.errors import L1UnavailableError
from mach.chain.head_follower import REMEMBERED_BLOCKS
from mach.transport.intake import UnknownOperatorSetError

if TYPE_CHECKING:
    from mach.chain.blocks import Block
    from mach.chain.confirmed_alerts import ConfirmedAlert
    from mach.chain.indexed_operator_set import IndexedOperatorSet
    from mach.chain.settlement import Settlement
    from mach.transport.intake import Intake

log = structlog.get_logger()


class L1Feed:
    """Tells an intake of each new head, and of each alert that appears on L1 or vanishes from it."""

    def __init__(self, settlement: Settlement, intake: Intake) -> None:
        self._settlement = settlement
        self._intake = intake

    @property
    def oldest_reference_block(self) -> int:
        """Below it, blocks are too old for new tasks."""
        return max(self._settlement.heads.head.number - REMEMBERED_BLOCKS, 0)

    def follow(self) -> None:
        """Tells what is known now, and from then on what changes."""
        for alert in self._settlement.alerts:
            self._note_alert(alert, stands=True)
        self._settlement.alerts.add_listener(self._note_alert)
        self._note_head(self._settlement.heads.head)
        self._settlement.heads.add_listener(self._note_head)

    async def ensure_reference_block(self, block: int) -> IndexedOperatorSet:
        """Makes a block's operator set known to the intake. Raises `L1UnavailableError`."""
        operators = await self._settlement.operators.read_at(block)
        try:
            self._intake.add_reference_block(block, operators.set_id)
        except UnknownOperatorSetError:
            self._teach(operators)
            self._intake.add_reference_block(block, operators.set_id)
        return operators

    def _note_head(self, _head: Block) -> None:
        try:
            current = self._settlement.operators.current()
        except L1UnavailableError as error:
            log.warning("l1.operators_unknown", problem=str(error))
            return
        block, operators = current.reference_block, current.operators
        try:
            self._intake.set_head(block, operators.set_id)
        except UnknownOperatorSetError:
            self._teach(operators)
            self._intake.set_head(block, operators.set_id)

    def _teach(self, operators: IndexedOperatorSet) -> None:
        columns = operators.columns()
        self._intake.add_operator_set(
            operators.set_id, columns.operator_ids, columns.public_keys_g2, columns.stakes, columns.totals
        )
        log.debug("operators.known", members=len(operators.members), from_block=operators.reference_block)

    def _note_alert(self, alert: ConfirmedAlert, stands: bool) -> None:
        if stands:
            self._intake.alert_confirmed(alert.message_hash, alert.transaction_hash)
        else:
            self._intake.alert_unconfirmed(alert.message_hash)
