"""A canary: asks what users ask, where they ask and as they ask, and compares the answers with what was verified.

A node that lies to users and tells Mach the truth is seen by that. Each user comes with a client of the profile and a
connection of its own, asks some questions at random moments (a Poisson process) and goes; then another comes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog
from prometheus_client import Counter

from mach.errors import MachError
from mach.storage.canary_findings import CanaryFinding
from mach.storage.raised_alerts import RE_EXECUTION
from mach.storage.verdict_log import VerdictRecord
from mach.transport.json_text import parse_json
from mach.transport.urls import without_credentials
from mach.verifier.canary_checks import UndecidedError, addresses_in, provable_alert, transactions_in
from mach.verifier.canary_profile import User
from mach.verifier.dispatcher import block_alert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import CollectorRegistry

    from mach.rollup.node import ServedHeader
    from mach.storage.canary_findings import CanaryLog
    from mach.storage.verdict_log import VerdictLog
    from mach.verifier.canary_checks import AnswerChecks, Falsehood
    from mach.verifier.canary_profile import CanaryProfile, ClientShape
    from mach.verifier.dispatcher import AlertDispatcher
    from mach.verifier.progress import Progress

log = structlog.get_logger()

ANSWER_DEADLINE_S: Final = 20.0
MAX_ANSWER_BYTES: Final = 16 << 20
CHECKS_AT_ONCE: Final = 16
RECENT_BLOCKS: Final = 32
BALANCE_OF: Final = "0x70a08231"
"""The selector of ERC-20's balanceOf(address): what wallets call most."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question as it was sent, and where verification stood then."""

    target: str
    client: str
    method: str
    params: Sequence[Any]
    body: bytes
    tip: int


class CanaryMetrics:
    """What a canary counts, in its verifier's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._probes = Counter(
            "mach_canary_probes",
            "Users' questions that were asked, by what came of them: true, false, undecided, unchecked, away",
            ["target", "method", "result"],
            registry=registry,
        )

    def probe(self, target: str, method: str, result: str) -> None:
        """A question has its result."""
        self._probes.labels(target, method, result).inc()


class Canary:
    """Asks one or several targets until cancelled."""

    def __init__(
        self,
        targets: Sequence[str],
        profile: CanaryProfile,
        checks: AnswerChecks,
        verdicts: VerdictLog,
        findings: CanaryLog,
        dispatcher: AlertDispatcher,
        progress: Progress,
        metrics: CanaryMetrics,
        *,
        interval_s: float,
    ) -> None:
        self._targets = tuple(targets)
        self._profile = profile
        self._checks = checks
        self._verdicts = verdicts
        self._findings = findings
        self._dispatcher = dispatcher
        self._progress = progress
        self._metrics = metrics
        self._interval_s = interval_s
        self._slots = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._random = secrets.SystemRandom()

    async def run(self) -> None:
        """Never returns; does nothing without targets."""
        async with asyncio.TaskGroup() as group:
            for target in self._targets:
                group.create_task(self._serve(target, group))

    async def _serve(self, target: str, group: asyncio.TaskGroup) -> None:
        while True:
            client = self._profile.any_client()
            user = User(client)
            # Requests of one user are geometrically distributed: the chance to go on is the same after each.
            async with _session() as session:
                while True:
                    await asyncio.sleep(self._random.expovariate(1.0 / self._interval_s))
                    await self._slots.acquire()  # released when the answer has been checked
                    try:
                        asked = await self._ask(session, target, client, user)
                    except BaseException:
                        self._slots.release()
                        raise
                    group.create_task(self._judge(*asked))
                    if self._random.random() < 1.0 / self._profile.requests_per_user:
                        break

    async def _ask(
        self, session: aiohttp.ClientSession, target: str, client: ClientShape, user: User
    ) -> tuple[Probe, bytes | None]:
        """Asks one question; the answer's body, or None if there is none."""
        method = self._profile.any_method()
        try:
            params = await self._params(method)
        except MachError:
            method, params = "eth_blockNumber", []  # nothing is known to ask about yet; users ask this most of all
        body, _ = user.body(method, params)
        tip = self._progress.tip.number if self._progress.tip is not None else 0
        probe = Probe(target, client.name, method, params, body, tip)
        try:
            async with session.post(target, data=body, headers=list(client.headers)) as response:
                answer = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    answer += chunk
                    if len(answer) > MAX_ANSWER_BYTES:
                        return probe, None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return probe, None
        return probe, bytes(answer)

    async def _judge(self, probe: Probe, body: bytes | None) -> None:
        """Counts an answer and, if it is false, keeps the evidence. Ends the probe's slot."""
        try:
            result = await self._result(probe, body)
        except MachError as error:  # the own database, say: the canary goes on
            log.warning("canary.not_recorded", method=probe.method, problem=str(error))
            result = "undecided"
        finally:
            self._slots.release()
        self._metrics.probe(without_credentials(probe.target), probe.method, result)

    async def _result(self, probe: Probe, body: bytes | None) -> str:
        try:
            answer = None if body is None else parse_json(body)
        except ValueError:
            answer = None
        if body is None or not isinstance(answer, dict) or "result" not in answer:
            return "away"  # an error, a limit, nothing: users see that for themselves
        if probe.method == "eth_gasPrice":
            return "unchecked"
        try:
            async with asyncio.timeout(10 * ANSWER_DEADLINE_S):
                found = await self._checks.check(probe.method, probe.params, answer["result"], probe.tip)
        except (UndecidedError, TimeoutError) as error:
            log.info("canary.undecided", method=probe.method, reason=str(error))
            return "undecided"
        if found is None:
            return "true"
        await self._report(probe, body, found)
        return "false"

    async def _report(self, probe: Probe, body: bytes, found: Falsehood) -> None:
        alert = None if found.header is None else await self._convict(found.header, probe)
        finding = CanaryFinding(
            noticed_at=time.time(),
            target=without_credentials(probe.target),
            client=probe.client,
            method=probe.method,
            request=probe.body.decode(),
            answer=body.decode("utf-8", "replace"),
            expected=json.dumps(found.expected),
            reason=found.reason,
            block_number=found.block_number,
            alert=alert,
        )
        await self._findings.record(finding)
        log.error(
            "canary.poisoned",
            target=finding.target,
            client=finding.client,
            method=finding.method,
            block=found.block_number,
            reason=found.reason,
            alert=None if alert is None else "0x" + alert.hex(),
        )

    async def _convict(self, served: ServedHeader, probe: Probe) -> bytes | None:
        """A false header's verdict and alert, if it proves itself false; the alert's message hash."""
        record = await self._verdicts.canonical_at(served.number)
        alert = None if record is None else provable_alert(served, record)
        if record is None or alert is None:
            return None
        raised = block_alert(alert, RE_EXECUTION)
        verdict = VerdictRecord(
            block_number=served.number,
            block_hash=served.hash,
            verdict="INVALID",
            computed_hash=record.computed_hash,
            computed_header=record.computed_header,
            fields=json.dumps(
                [
                    {
                        "field": "block_hash",
                        "served": "0x" + served.hash.hex(),
                        "computed": "0x" + (record.computed_hash or b"").hex(),
                    }
                ]
            ),
            reason="served to users: the inputs of the verified block with other results",
            gas_used=record.gas_used,
            transaction_count=record.transaction_count,
            verified_at=time.time(),
            seconds=0.0,
            served_by=without_credentials(probe.target),
            served_header=served.header,
            computed_output_root=record.computed_output_root,
        )
        await self._verdicts.record(verdict, self._dispatcher.deliveries(raised), raised=raised)
        self._dispatcher.wake()
        return raised.message_hash

    async def _params(self, method: str) -> list[Any]:
        """What a user might ask with a method now: about the newest state, and about what happened lately."""
        tip = self._progress.tip
        if method in ("eth_blockNumber", "eth_chainId", "eth_gasPrice"):
            return []
        if tip is None:
            raise UndecidedError("no block is verified yet")
        recent = tip.number - self._random.randrange(max(min(RECENT_BLOCKS, tip.number), 1))
        if method == "eth_getBlockByNumber":
            return ["latest" if self._random.random() < 0.6 else hex(recent), False]
        block = await self._checks.node.call("eth_getBlockByNumber", hex(recent), True)
        accounts, hashes = addresses_in(block), transactions_in(block)
        if not hashes or not accounts:
            raise UndecidedError("nothing happened there")
        account = self._random.choice(accounts)
        match method:
            case "eth_getBalance" | "eth_getTransactionCount":
                return [account, "latest"]
            case "eth_call":
                data = BALANCE_OF + account[2:].rjust(64, "0")
                return [{"to": self._random.choice(accounts), "data": data}, "latest"]
            case "eth_getLogs":
                first = max(recent - self._random.randrange(3), 1)
                return [{"fromBlock": hex(first), "toBlock": hex(recent)}]
            case _:
                return [self._random.choice(hashes)]


def _session() -> aiohttp.ClientSession:
    """One user's connection: nothing goes out but what the client's shape says, and Host and Content-Length."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1),
        timeout=aiohttp.ClientTimeout(total=ANSWER_DEADLINE_S),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
