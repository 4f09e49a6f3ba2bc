"""Cross-checking a rollup that cannot be re-executed here: independent endpoints, of which enough must agree.

Its statements rest on agreement and say so wherever they appear: `basis: agreement`. Endpoints that are away agree with
nobody: with too few of them a block is INCONCLUSIVE, and the required number never falls.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from mach.protocol.alerts import BlockMismatch
from mach.rollup.node import MalformedAnswerError, quantity
from mach.storage.chain_record import VERIFIED, LabelledHead
from mach.storage.disagreements import Disagreement
from mach.storage.raised_alerts import AGREEMENT
from mach.storage.verdict_log import VerdictRecord
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.verifier.agreement import (
    Endpoint,
    EndpointHeader,
    agreed,
    largest_group,
    names,
    reachable_height,
    read_header,
)
from mach.verifier.dispatcher import block_alert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mach.storage.chain_record import ChainRecord
    from mach.storage.disagreements import DisagreementLog
    from mach.storage.verdict_log import VerdictLog
    from mach.transport.jsonrpc_client import JsonRpcClient
    from mach.verifier.agreement import Rule
    from mach.verifier.cross_check_metrics import CrossCheckMetrics
    from mach.verifier.dispatcher import AlertDispatcher

log = structlog.get_logger()

MAX_REORG_DEPTH: Final = 4096
ALARM_AFTER: Final = 5
SETTLED_AT_ONCE: Final = 64
GIVE_UP_S: Final = 3600.0
"""So long an endpoint that disagreed may be away before its disagreement is laid aside, unproved."""

Answers = dict[Endpoint, EndpointHeader]


@dataclass(frozen=True, slots=True)
class AgreedTip:
    """The block that checking has reached; its hash is None before the first block."""

    number: int
    hash: bytes | None


class CrossCheck:
    """Compares every block of the endpoints until cancelled."""

    def __init__(
        self,
        endpoints: Mapping[Endpoint, JsonRpcClient],
        rule: Rule,
        verdicts: VerdictLog,
        record: ChainRecord,
        disagreements: DisagreementLog,
        dispatcher: AlertDispatcher,
        metrics: CrossCheckMetrics,
        *,
        start_block: int | None,
        poll_interval_s: float,
        settle_s: float,
        blocks_in_flight: int,
        alert_on_disagreement: bool,
    ) -> None:
        self._endpoints = dict(endpoints)
        self._rule = rule
        self._verdicts = verdicts
        self._record = record
        self._disagreements = disagreements
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._start_block = start_block
        self._poll_interval_s = poll_interval_s
        self._settle_s = settle_s
        self._blocks_in_flight = blocks_in_flight
        self._alerts = alert_on_disagreement
        self._opened = asyncio.Event()
        self._tip: AgreedTip | None = None
        self.problem: str | None = None
        """Why there is no agreement now."""

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_for_ever())
            group.create_task(self._follow())

    async def _follow(self) -> None:
        backoff, attempts = Backoff(self._poll_interval_s, 10.0), 0
        while True:
            problem = self.problem = await self._attempt()
            self._metrics.agreement_possible.set(problem is None)
            if problem is None:
                backoff.reset()
                attempts = 0
                await asyncio.sleep(self._poll_interval_s)
                continue
            attempts += 1
            report = log.error if attempts >= ALARM_AFTER else log.warning
            report("cross_check.inconclusive", basis=AGREEMENT, problem=problem, attempts=attempts)
            await asyncio.sleep(backoff.next_delay_s())

    async def _attempt(self) -> str | None:
        """Goes on up to what enough endpoints have; None when there, else what stands in the way."""
        heads = await self._heads()
        reachable = reachable_height(heads, self._rule)
        if reachable is None:
            return self._too_few(heads)
        tip = self._tip or await self._resume(reachable)
        self._tip = tip
        while tip.number < reachable:
            last = min(reachable, tip.number + self._blocks_in_flight)
            numbers = range(tip.number + 1, last + 1)
            for number, answers in zip(numbers, await asyncio.gather(*map(self._ask, numbers)), strict=True):
                problem = await self._check(tip, number, answers)
                if problem is not None:
                    return problem
                before, tip = tip, self._tip
                if tip.number <= before.number:
                    break  # a reorganisation: what was fetched ahead may be of the old branch
        return None

    def _too_few(self, answered: Mapping[Endpoint, object]) -> str:
        providers = len({endpoint.provider for endpoint in answered})
        return (
            f"{len(answered)} of {len(self._endpoints)} endpoints of {providers} providers answer; "
            f"{self._rule.endpoints} endpoints of {self._rule.providers} providers must agree"
        )

    async def _resume(self, reachable: int) -> AgreedTip:
        head = await self._record.head(VERIFIED)
        if head is not None:
            log.info("cross_check.resumed", block=head.block_number, basis=AGREEMENT)
            return AgreedTip(head.block_number, head.block_hash)
        return AgreedTip((self._start_block or max(reachable, 1)) - 1, None)

    async def _check(self, tip: AgreedTip, number: int, answers: Answers) -> str | None:
        """One height. None when there is progress: forwards, or back to where a reorganisation began."""
        found = agreed(answers, self._rule)
        if found is None:
            return await self._inconclusive(number, answers)
        header, endpoints = found
        if tip.hash is not None and header.parent_hash != tip.hash:
            return await self._follow_reorg(tip)
        head = LabelledHead(VERIFIED, number, header.hash)
        await self._verdicts.record(_verdict(header, "VALID", endpoints), tip=head)
        self._tip = AgreedTip(number, header.hash)
        self._metrics.block("VALID")
        self._metrics.tip.set(number)
        log.info(
            "block.agreed",
            block=number,
            hash="0x" + header.hash.hex(),
            basis=AGREEMENT,
            endpoints=len(endpoints),
            providers=len({endpoint.provider for endpoint in endpoints}),
        )
        for served_hash in {other.hash for other in answers.values() if other != header}:
            await self._open(header, served_hash, answers)
        return None

    async def _inconclusive(self, number: int, answers: Answers) -> str:
        largest = largest_group(answers)
        if largest is None or len(set(answers.values())) == 1:
            problem = f"block {number}: {self._too_few(answers)}"
        else:
            problem = f"block {number}: endpoints disagree and no block has enough of them: " + ", ".join(
                f"{endpoint.name} 0x{header.hash.hex()[:8]}…" for endpoint, header in answers.items()
            )
        if largest is not None:
            await self._verdicts.record(_verdict(largest[0], "INCONCLUSIVE", largest[1], problem))
        self._metrics.block("INCONCLUSIVE")
        return problem

    async def _open(self, header: EndpointHeader, served_hash: bytes, answers: Answers) -> None:
        evidence = {
            endpoint.name: {"provider": endpoint.provider, "header": served.as_json()}
            for endpoint, served in answers.items()
        }
        found = Disagreement(header.number, served_hash, header.hash, json.dumps(evidence), "open", time.time())
        if await self._disagreements.open(found):
            log.warning(
                "block.disagreement_noticed",
                block=header.number,
                served="0x" + served_hash.hex(),
                agreed="0x" + header.hash.hex(),
                basis=AGREEMENT,
            )
            self._opened.set()

    async def _settle_for_ever(self) -> None:
        while True:
            self._opened.clear()
            waiting = (await self._disagreements.in_state("open"))[:SETTLED_AT_ONCE]
            now = time.time()
            due = [found for found in waiting if found.noticed_at + self._settle_s <= now]
            for found in due:
                await self._settle(found)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if not waiting else self._settle_s / 4):
                    await self._opened.wait()

    async def _settle(self, found: Disagreement) -> None:
        """Whether a disagreement still stands: an endpoint that was on another branch has come back by now."""
        answers = await self._ask(found.block_number)
        present = agreed(answers, self._rule)
        if present is None:
            return
        header, endpoints = present
        served, by = _served_against(found)
        # whoever serves yet another block by now has not come back either
        odd = [endpoint for endpoint, now in answers.items() if endpoint.name in by and now != header]
        if header.hash == found.agreed_hash and odd:
            await self._conclude(header, endpoints, served, odd)
            await self._disagreements.settle(found, "stands")
        elif header.hash != found.agreed_hash or len(answers) == len(self._endpoints):
            await self._disagreements.settle(found, "settled")
        elif time.time() - found.noticed_at > GIVE_UP_S:
            log.warning("block.disagreement_laid_aside", block=found.block_number, basis=AGREEMENT)
            await self._disagreements.settle(found, "settled")

    async def _conclude(
        self,
        header: EndpointHeader,
        endpoints: Sequence[Endpoint],
        served: EndpointHeader,
        odd: Sequence[Endpoint],
    ) -> None:
        providers = len({endpoint.provider for endpoint in endpoints})
        reason = f"{len(endpoints)} endpoints of {providers} providers agree on 0x{header.hash.hex()}; not re-executed"
        verdict = _verdict(served, "INVALID", odd, reason, header)
        raised = None
        if self._alerts:
            raised = block_alert(BlockMismatch(served.hash, header.hash, served.number), AGREEMENT)
        deliveries = [] if raised is None else self._dispatcher.deliveries(raised)
        await self._verdicts.record(verdict, deliveries, raised=raised)
        self._metrics.block("INVALID")
        for endpoint in odd:
            self._metrics.disagreement(endpoint)
        log.error(
            "block.disagreement",
            block=served.number,
            basis=AGREEMENT,
            endpoints=names(odd),
            agreeing=names(endpoints),
            fields=[
                f"{name}: served {mine[:20]}, agreed {other[:20]}" for name, mine, other in served.differences(header)
            ],
            alert=None if raised is None else "0x" + raised.message_hash.hex(),
        )
        if raised is not None:
            self._dispatcher.wake()

    async def _follow_reorg(self, tip: AgreedTip) -> str | None:
        """Back to the newest block that was agreed on and still is. A reorganisation is no disagreement."""
        for number in range(tip.number, max(tip.number - MAX_REORG_DEPTH, -1), -1):
            answers = await self._ask(number)
            found = agreed(answers, self._rule)
            if found is None:
                return await self._inconclusive(number, answers)
            known = await self._verdicts.canonical_at(number)
            if known is None or known.block_hash == found[0].hash:
                if number == tip.number:
                    return f"block {number + 1} does not build on block {number}, on which the same endpoints agree"
                await self._record.rewind(LabelledHead(VERIFIED, number, found[0].hash), "unsafe")
                log.warning("cross_check.reorg", fork_point=number, depth=tip.number - number, basis=AGREEMENT)
                self._tip = AgreedTip(number, found[0].hash)
                return None
        return f"no block within {MAX_REORG_DEPTH} of block {tip.number} is still agreed on"

    async def _heads(self) -> dict[Endpoint, int]:
        async def head(endpoint: Endpoint, client: JsonRpcClient) -> int | None:
            try:
                number = quantity(await client.call("eth_blockNumber"), "eth_blockNumber")
            except (PeerUnavailableError, PeerRefusedError) as error:
                self._metrics.away(endpoint)
                log.info("cross_check.endpoint_away", endpoint=endpoint.name, problem=str(error))
                return None
            self._metrics.answered(endpoint, number)
            return number

        heads = await asyncio.gather(*(head(*pair) for pair in self._endpoints.items()))
        return {one: number for one, number in zip(self._endpoints, heads, strict=True) if number is not None}

    async def _ask(self, number: int) -> Answers:
        """The header at a height from every endpoint that serves a well-formed one."""

        async def ask(client: JsonRpcClient) -> EndpointHeader | None:
            try:
                return read_header(await client.call("eth_getBlockByNumber", hex(number), False), number)
            except (PeerUnavailableError, PeerRefusedError, MalformedAnswerError):
                return None

        headers = await asyncio.gather(*map(ask, self._endpoints.values()))
        return {one: header for one, header in zip(self._endpoints, headers, strict=True) if header is not None}


def _served_against(found: Disagreement) -> tuple[EndpointHeader, set[str]]:
    """The header that was served against the agreement, and the names of the endpoints that served it."""
    headers = {name: EndpointHeader.from_json(one["header"]) for name, one in json.loads(found.evidence).items()}
    by = {name for name, header in headers.items() if header.hash == found.served_hash}
    return headers[min(by)], by


def _verdict(
    header: EndpointHeader,
    verdict: str,
    endpoints: Sequence[Endpoint],
    reason: str | None = None,
    agreed_on: EndpointHeader | None = None,
) -> VerdictRecord:
    """What is recorded of a block that some endpoints serve; `agreed_on` is what the others agree on in its place."""
    differences = [] if agreed_on is None else header.differences(agreed_on)
    return VerdictRecord(
        block_number=header.number,
        block_hash=header.hash,
        verdict=verdict,
        computed_hash=None if verdict == "INCONCLUSIVE" else (agreed_on or header).hash,
        computed_header=None,
        fields=json.dumps([{"field": name, "served": mine, "agreed": other} for name, mine, other in differences]),
        reason=reason,
        gas_used=int(header.fields[6], 16),
        transaction_count=0,
        verified_at=time.time(),
        seconds=0.0,
        served_by=", ".join(names(endpoints)),
        basis=AGREEMENT,
    )
