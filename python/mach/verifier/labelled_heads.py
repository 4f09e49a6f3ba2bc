"""Following the safe and the finalized head: what was verified early must be what the chain settles on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from mach.storage.chain_record import LabelledHead
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from mach.rollup.endpoints import EndpointSet
    from mach.rollup.node import ServedHeader
    from mach.storage.chain_record import ChainRecord, HeadLabel
    from mach.storage.verdict_log import VerdictLog
    from mach.verifier.follower import ChainFollower
    from mach.verifier.metrics import VerifierMetrics

log = structlog.get_logger()

LABELS: Final[tuple[HeadLabel, ...]] = ("safe", "finalized")


class LabelledHeads:
    """Asks for both heads now and then, and has the follower look again where one is not the block verified there."""

    def __init__(
        self,
        endpoints: EndpointSet,
        verdicts: VerdictLog,
        chain: ChainRecord,
        follower: ChainFollower,
        metrics: VerifierMetrics,
        *,
        poll_interval_s: float,
    ) -> None:
        self._endpoints = endpoints
        self._verdicts = verdicts
        self._chain = chain
        self._follower = follower
        self._metrics = metrics
        self._poll_interval_s = poll_interval_s
        self._last: dict[HeadLabel, bytes] = {}
        self._told: dict[HeadLabel, bytes] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for label in LABELS:
                endpoint = self._endpoints.answering()
                if endpoint is None:
                    continue
                try:
                    head = await endpoint.node.labelled_header(label)
                except (PeerUnavailableError, PeerRefusedError) as error:
                    log.debug("label.unknown", label=label, problem=str(error))
                    continue
                if head is not None and head.hash != self._last.get(label):
                    await self._follow(label, head, endpoint.name)
            await asyncio.sleep(self._poll_interval_s)

    async def _follow(self, label: HeadLabel, head: ServedHeader, endpoint: str) -> None:
        self._metrics.labelled_head(label, head.number)
        record = await self._verdicts.canonical_at(head.number)
        if record is None:
            return  # verification has not come there, or began after it
        if record.computed_hash == head.hash:
            await self._chain.set_head(LabelledHead(label, head.number, head.hash))
            self._last[label] = head.hash
            return
        if self._told.get(label) != head.hash:
            self._told[label] = head.hash
            log.warning(
                "label.differs",
                label=label,
                block=head.number,
                hash="0x" + head.hash.hex(),
                verified="0x" + (record.computed_hash or b"").hex(),
                endpoint=endpoint,
            )
        if record.block_hash != head.hash:  # else it is the INVALID block itself, whose alert has been raised
            self._follower.doubt(label)
