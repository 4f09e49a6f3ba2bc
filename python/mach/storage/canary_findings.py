"""Answers to users' requests that were not the truth: the evidence of a canary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, select

from mach.storage.schema import canary_findings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mach.storage.database import Database

KEPT: Final = 10_000
"""So many findings are kept: whoever lies all the time must not fill the disk."""
MAX_ANSWER_CHARACTERS: Final = 65_536


@dataclass(frozen=True, slots=True)
class CanaryFinding:
    """One false answer: `request` and `answer` as they went over the wire, `expected` as JSON.

    `alert` is the message hash of the alert that was raised over it, if the answer proves itself false.
    """

    noticed_at: float
    target: str
    client: str
    method: str
    request: str
    answer: str
    expected: str
    reason: str
    block_number: int | None = None
    alert: bytes | None = None


class CanaryLog:
    """The findings of one verifier's canary."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, finding: CanaryFinding) -> None:
        """Keeps a finding; beyond `KEPT` the oldest go. A long answer is kept in part."""
        row = {name: getattr(finding, name) for name in CanaryFinding.__slots__}
        row["answer"] = finding.answer[:MAX_ANSWER_CHARACTERS]

        def write(connection: Connection) -> None:
            connection.execute(insert(canary_findings).values(**row))
            newest = select(canary_findings.c.id).order_by(canary_findings.c.id.desc()).offset(KEPT).limit(1)
            connection.execute(delete(canary_findings).where(canary_findings.c.id <= newest.scalar_subquery()))

        await self._database.transaction(write)

    async def newest(self, count: int = 100) -> list[CanaryFinding]:
        """The newest findings first."""
        columns = [canary_findings.c[name] for name in CanaryFinding.__slots__]
        query = select(*columns).order_by(canary_findings.c.id.desc()).limit(count)
        return await self._database.snapshot(
            lambda connection: [CanaryFinding(**row) for row in connection.execute(query).mappings()]
        )
