"""What has happened on a devnet so far, folded out of its services' log lines."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mach.devnet.processes import Event


@dataclass(slots=True)
class VerifierStory:
    """One verifier: how far it is, and what it found wrong.

    `invalid` holds falsified fields as told by block number, `false_outputs` by the L2 block that was proposed.
    """

    valid: int = 0
    transactions: int = 0
    last_block: int = 0
    last_ms: float = 0.0
    invalid: dict[int, list[str]] = field(default_factory=dict)
    outputs_agree: int = 0
    false_outputs: dict[int, list[str]] = field(default_factory=dict)
    waiting: str | None = None


@dataclass(slots=True)
class AlertStory:
    """One alert on its way, by what the aggregator says of it."""

    task_index: int | None = None
    signers: list[str] = field(default_factory=list)
    quorum: bool = False
    tx_hash: str | None = None
    confirmed_block: int | None = None
    gas_used: int | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the story: seconds since the start, who, what."""

    at_s: float
    who: str
    what: str
    style: str


class Story:
    """Fold `note` over every event; read the rest."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.verifiers: dict[str, VerifierStory] = {}
        self.alerts: dict[str, AlertStory] = {}
        self.signed_by_operator: Counter[str] = Counter()
        self.moments: list[Moment] = []
        self.proposals = 0
        self.early_alerts: list[str] = []
        """Transactions on L1 that told of a false output before a quorum had signed."""
        self.operator_names: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def say(self, who: str, what: str, style: str = "") -> None:
        self.moments.append(Moment(self.seconds, who, what, style))

    def note(self, name: str, event: Event) -> None:
        """Takes in one event of the service `name`."""
        kind = event.get("event")
        if name.startswith("verifier"):
            self._note_verifier(name, kind, event)
        elif name.startswith("operator"):
            self._note_operator(name, kind, event)
        elif name == "aggregator":
            self._note_aggregator(kind, event)
        elif name == "proposer":
            self._note_proposer(kind, event)
        elif kind == "l1.up":
            self.say("L1", f"anvil answers at {event['url']}; deploying EigenLayer and Mach")
        elif kind == "l1.ready":
            self.say("L1", f"MachServiceManager at {event['service_manager']}, three operators registered", "green")
        elif kind == "l2.ready":
            self.say("L2", f"{name} answers at {event['url']}", "green")

    def _note_verifier(self, name: str, kind: object, event: Event) -> None:
        verifier = self.verifiers.setdefault(name, VerifierStory())
        if kind == "block.valid":
            verifier.valid += 1
            verifier.transactions += int(event["transactions"])
            verifier.last_block = int(event["block"])
            verifier.last_ms = float(event["milliseconds"])
            verifier.waiting = None
        elif kind == "block.invalid":
            block = int(event["block"])
            verifier.last_block = block
            verifier.invalid[block] = list(event["mismatches"])
            self.say(name, f"block {block} is INVALID: {', '.join(event['fields'])}", "bold red")
        elif kind == "output.agrees":
            verifier.outputs_agree += 1
        elif kind == "output.mismatch":
            told = f"{event['kind']} {event['index']}: proposed {event['proposed']}, re-executed {event['expected']}"
            block = int(event["block"])
            verifier.false_outputs.setdefault(block, []).append(told)
            where = f"{event['kind']} {event['index']} for block {block}"
            self.say(name, f"output root on L1 is FALSE: {where}", "bold red")
        elif kind == "early_alert.confirmed":
            self.early_alerts.append(str(event["tx_hash"]))
            self.say(name, f"early alert over output {event['index']} is on L1", "bold yellow")
        elif kind == "verifier.waiting":
            verifier.waiting = str(event.get("problem"))
        elif kind == "verifier.started":
            self.say(name, "re-executes every block")

    def _note_proposer(self, kind: object, event: Event) -> None:
        if kind != "output.proposed":
            return
        self.proposals += 1
        if event["lie"]:
            where = f"block {event['block']} as output {event['index']} and game {event['index']}"
            self.say("proposer", f"puts a false output root on L1: {where}", "bold magenta")
        elif self.proposals == 1:
            self.say("proposer", f"proposes output roots on L1, the first of block {event['block']}")

    def _note_operator(self, name: str, kind: object, event: Event) -> None:
        if kind == "operator.started":
            self.operator_names[str(event["operator_id"])] = name
            self.say(name, f"signs as {event['address']}")
        elif kind == "alert.signed":
            self.signed_by_operator[name] += 1
            self.say(name, f"signed alert {event['alert'][:18]}…", "yellow")

    def _note_aggregator(self, kind: object, event: Event) -> None:
        if kind == "aggregator.started":
            self.say("aggregator", f"collects signatures, threshold {event['threshold_percentage']} % of stake")
        alert = self.alerts.setdefault(str(event["alert"]), AlertStory()) if "alert" in event else None
        if alert is None:
            return
        if kind == "task.created":
            alert.task_index = int(event["task_index"])
            self.say("aggregator", f"task {alert.task_index} over L1 block {event['reference_block_number']}")
        elif kind == "signature.counted":
            alert.signers.append(self.operator_names.get(str(event["operator_id"]), str(event["operator_id"])[:12]))
            self.say("aggregator", f"signature of {alert.signers[-1]} is good ({len(alert.signers)} of 3)")
        elif kind == "task.quorum":
            alert.quorum = True
            self.say("aggregator", "quorum reached", "bold yellow")
        elif kind == "task.submitted":
            alert.tx_hash = str(event["tx_hash"])
            self.say("aggregator", f"confirmAlert sent: {alert.tx_hash} ({event['signatures']} signatures)")
        elif kind == "task.confirmed":
            alert.tx_hash = str(event["tx_hash"])
            alert.confirmed_block = int(event["block"])
            alert.gas_used = event.get("gas_used")
            self.say("aggregator", f"AlertConfirmed in L1 block {alert.confirmed_block}", "bold green")
        elif kind == "task.failed":
            alert.failed = str(event["problem"])
            self.say("aggregator", f"task failed: {alert.failed}", "bold red")
