"""Output roots that are proposed on L1, compared with those of the blocks that were re-executed here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from mach.chain.addresses import checksum_of
from mach.chain.blocks import latest_block
from mach.chain.errors import RevertedError
from mach.chain.output_oracles import OracleKind
from mach.errors import MachError
from mach.protocol.alerts import OutputOracleMismatch
from mach.protocol.hashing import keccak256
from mach.storage.output_proposals import ProposalRecord
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.verifier.dispatcher import output_alert

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mach.chain.connection import L1Client
    from mach.chain.output_oracles import OracleEvents, OutputOracles
    from mach.storage.output_proposals import ProposalLog
    from mach.storage.verdict_log import VerdictLog, VerdictRecord
    from mach.verifier.dispatcher import AlertDispatcher

log = structlog.get_logger()

REREAD_BLOCKS: Final = 64
"""L1 blocks that are read again with each turn, two epochs: what a reorganisation took out of them is seen."""
JUDGED_AT_ONCE: Final = 256
_LONGEST_BACKOFF_S: Final = 30.0
_ALARM_AFTER: Final = 5


class OutputRootWatch:
    """Follows the proposals, judges each once its block is verified, and has alerts delivered over false ones.

    `settled_header` gives the RLP header that the rollup's node has at a height, None while that block may still be
    replaced: a proposal rests on what L1 holds of the rollup, which an unsafe block need not become. `on_counts` is
    told after each turn how many proposals stand in each state. `on_early_alert` is called when a proposal waits for
    its early alert; None where none is configured.
    """

    def __init__(
        self,
        w3: L1Client,
        oracles: OutputOracles,
        proposals: ProposalLog,
        verdicts: VerdictLog,
        dispatcher: AlertDispatcher,
        settled_header: Callable[[int], Awaitable[bytes | None]],
        *,
        confirmations: int,
        lookback_blocks: int,
        poll_interval_s: float,
        on_counts: Callable[[Mapping[str, int]], None] = lambda _counts: None,
        on_early_alert: Callable[[], None] | None = None,
    ) -> None:
        self._w3 = w3
        self._oracles = oracles
        self._proposals = proposals
        self._verdicts = verdicts
        self._dispatcher = dispatcher
        self._settled_header = settled_header
        self._confirmations = confirmations
        self._lookback_blocks = lookback_blocks
        self._poll_interval_s = poll_interval_s
        self._on_counts = on_counts
        self._on_early_alert = on_early_alert

    async def run(self) -> None:
        """Turns until cancelled. An L1 or L2 node that is away or contradicts itself is asked again, ever later."""
        backoff = Backoff(first_s=self._poll_interval_s, most_s=_LONGEST_BACKOFF_S)
        failures = 0
        while True:
            try:
                await self.turn()
                if failures:
                    log.info("oracle.back", after_failures=failures)
                failures = 0
                backoff.reset()
                await asyncio.sleep(self._poll_interval_s)
            except (MachError, RevertedError) as error:
                failures += 1
                report = log.error if failures >= _ALARM_AFTER else log.warning
                report("oracle.away", problem=str(error), attempts=failures)
                await asyncio.sleep(backoff.next_delay_s())

    async def turn(self) -> None:
        """Reads what is new on L1 and judges what can be judged.

        Raises `L1UnavailableError`, `RequestRefusedError`; the L2 node's absence only delays a verdict.
        """
        head = (await latest_block(self._w3)).number
        await self._follow(head)
        for proposal in await self._proposals.open(JUDGED_AT_ONCE):
            if proposal.l1_block_number + self._confirmations - 1 <= head:
                await self._judge(proposal)
        self._on_counts(await self._proposals.count_by_state())

    async def _follow(self, head: int) -> None:
        starts = []
        for oracle in self._oracles.addresses:
            position = await self._proposals.next_block(oracle)
            # An L1 that is shorter than what was read is another one, or was reorganised: its end is read again.
            start = head + 1 - self._lookback_blocks if position is None else min(position, head + 1) - REREAD_BLOCKS
            starts.append(max(start, 0))
        first = min(starts)
        events = await self._oracles.read(first, head)
        known = await self._proposals.count_by_state()
        raised_in_vain = await self._proposals.take(
            self._oracles.addresses, first, head + 1, _records(events), events.deleted_from
        )
        for proposal in raised_in_vain:
            log.warning("output.withdrawn", **_described(proposal), note="an alert was raised over it")
        counts = await self._proposals.count_by_state()
        if counts.get("open", 0) > known.get("open", 0):
            log.info("output.proposed", open=counts["open"], l1_head=head)

    async def _judge(self, proposal: ProposalRecord) -> None:
        number = proposal.l2_block_number
        verdict = await self._verdicts.canonical_at(number)
        if verdict is None:
            first = await self._verdicts.first_block()
            if first is not None and number < first:
                await self._conclude_unknown(proposal, f"verification began at block {first}")
            return
        if verdict.computed_output_root is None:
            await self._conclude_unknown(proposal, "no output root is on record for the block")
        elif not await self._is_settled(verdict):
            return
        elif verdict.computed_output_root == proposal.output_root:
            await self._proposals.judge(proposal.key, "agrees", verdict.computed_output_root)
            log.info("output.agrees", **_described(proposal))
        else:
            await self._conclude_mismatch(proposal, verdict.computed_output_root)

    async def _is_settled(self, verdict: VerdictRecord) -> bool:
        """Whether the rollup's node has this very block, to stay: after a pause the log may end with a replaced one."""
        try:
            header = await self._settled_header(verdict.block_number)
        except (PeerUnavailableError, PeerRefusedError) as error:
            log.warning("output.waiting", block=verdict.block_number, problem=str(error))
            return False
        if header is None:
            return False
        if keccak256(header) in (verdict.block_hash, verdict.computed_hash):
            return True
        log.warning("output.waiting", block=verdict.block_number, problem="the node has another block there by now")
        return False

    async def _conclude_unknown(self, proposal: ProposalRecord, reason: str) -> None:
        await self._proposals.judge(proposal.key, "unknown")
        log.warning("output.unknown", **_described(proposal), reason=reason)

    async def _conclude_mismatch(self, proposal: ProposalRecord, expected_root: bytes) -> None:
        alert = OutputOracleMismatch(expected_root, proposal.output_index)
        raised = output_alert(alert, proposal.l2_block_number)
        early = self._on_early_alert is not None and proposal.kind == OracleKind.OUTPUT_ORACLE
        judged = await self._proposals.judge(
            proposal.key,
            "mismatch",
            expected_root,
            self._dispatcher.deliveries(raised),
            raised,
            early_alert=early,
        )
        if not judged:
            return
        log.error(
            "output.mismatch",
            **_described(proposal),
            expected="0x" + expected_root.hex(),
            alert="0x" + alert.message_hash().hex(),
        )
        self._dispatcher.wake()
        if early and self._on_early_alert is not None:
            self._on_early_alert()


def _records(events: OracleEvents) -> list[ProposalRecord]:
    return [
        ProposalRecord(
            oracle=proposal.oracle,
            output_index=proposal.index,
            output_root=proposal.output_root,
            l2_block_number=proposal.l2_block_number,
            kind=proposal.kind,
            l1_block_number=proposal.l1_block_number,
            l1_block_hash=proposal.l1_block_hash,
        )
        for proposal in events.proposals
    ]


def _described(proposal: ProposalRecord) -> dict[str, object]:
    return {
        "oracle": checksum_of(proposal.oracle),
        "kind": str(proposal.kind),
        "index": proposal.output_index,
        "block": proposal.l2_block_number,
        "proposed": "0x" + proposal.output_root.hex(),
    }
