"""When independent endpoints agree on a block: enough of them, run by enough different providers. Pure.

Agreement is weaker than re-execution: endpoints can be wrong together. Everything that rests on it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mach.rollup.node import MalformedAnswerError, data, quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HASHES: Final = ("hash", "parentHash", "stateRoot", "receiptsRoot", "transactionsRoot")
COMPARED: Final = (*HASHES, "logsBloom", "gasUsed", "timestamp")
"""What endpoints of every stack serve of a header. The hash is compared as served: not all stacks hash the RLP."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint, by the name that logs and evidence give it, and who runs it."""

    name: str
    provider: str


@dataclass(frozen=True, slots=True)
class EndpointHeader:
    """A header as one endpoint serves it: `fields` are those of `COMPARED`, in that order, as lower-case hex."""

    number: int
    fields: tuple[str, ...]

    @property
    def hash(self) -> bytes:
        """The block hash, 32 bytes."""
        return bytes.fromhex(self.fields[0][2:])

    @property
    def parent_hash(self) -> bytes:
        """The parent's block hash, 32 bytes."""
        return bytes.fromhex(self.fields[1][2:])

    def as_json(self) -> dict[str, Any]:
        """For evidence."""
        return {"number": self.number, **dict(zip(COMPARED, self.fields, strict=True))}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> EndpointHeader:
        """Out of evidence, as `as_json` gives it."""
        return cls(value["number"], tuple(value[name] for name in COMPARED))

    def differences(self, other: EndpointHeader) -> list[tuple[str, str, str]]:
        """Name, own value and the other's value of each field that differs."""
        rows = zip(COMPARED, self.fields, other.fields, strict=True)
        return [(name, mine, theirs) for name, mine, theirs in rows if mine != theirs]


@dataclass(frozen=True, slots=True)
class Rule:
    """`endpoints` of all endpoints must agree, and among those that agree there must be `providers` different ones.

    It is a fixed number of endpoints, not a share of those that answer: one that is away agrees with nobody.
    """

    endpoints: int
    providers: int

    def holds(self, endpoints: Iterable[Endpoint]) -> bool:
        """Whether these are enough."""
        several = set(endpoints)
        return len(several) >= self.endpoints and len({one.provider for one in several}) >= self.providers


def read_header(block: Any, number: int) -> EndpointHeader:
    """A header out of an `eth_getBlockByNumber` answer; raises `MalformedAnswerError`."""
    if not isinstance(block, dict):
        raise MalformedAnswerError(f"block {number} is not served")
    if quantity(block.get("number"), "the block's number") != number:
        raise MalformedAnswerError(f"another block than {number} was served")
    fields = []
    for name in COMPARED:
        value = block.get(name)
        if name in ("gasUsed", "timestamp"):
            fields.append(hex(quantity(value, name)))
            continue
        raw = data(value, name)
        if len(raw) != (32 if name in HASHES else 256):
            raise MalformedAnswerError(f"{name} has {len(raw)} bytes")
        fields.append("0x" + raw.hex())
    return EndpointHeader(number, tuple(fields))


def largest_group(answers: Mapping[Endpoint, EndpointHeader]) -> tuple[EndpointHeader, list[Endpoint]] | None:
    """What most endpoints serve, and who they are; None without answers."""
    groups: dict[EndpointHeader, list[Endpoint]] = {}
    for endpoint, header in answers.items():
        groups.setdefault(header, []).append(endpoint)
    return max(groups.items(), key=lambda group: len(group[1]), default=None)


def agreed(answers: Mapping[Endpoint, EndpointHeader], rule: Rule) -> tuple[EndpointHeader, list[Endpoint]] | None:
    """The header that enough endpoints of enough providers serve, and who they are; None if there is none."""
    found = largest_group(answers)
    return found if found is not None and rule.holds(found[1]) else None


def reachable_height(heads: Mapping[Endpoint, int], rule: Rule) -> int | None:
    """The highest block that enough endpoints of enough providers have reached; None if too few answered."""
    for height in sorted(set(heads.values()), reverse=True):
        if rule.holds(endpoint for endpoint, head in heads.items() if head >= height):
            return height
    return None


def names(endpoints: Sequence[Endpoint]) -> list[str]:
    """For logs, in order."""
    return sorted(endpoint.name for endpoint in endpoints)
