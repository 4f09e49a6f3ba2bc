"""What an operator has signed: one claim for a subject, so that it never contradicts itself.

A subject is what a statement is about (`block 7`, `output 3`); a claim is what the statement says should stand there (a
root). Two statements about one subject with the same claim say the same thing about two lies; with different claims
they contradict each other, and the second one is not signed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from mach.errors import MachError
from mach.storage.schema import signed_statements

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

NO_CLAIM: Final = bytes(32)
"""Says that nothing should stand there: it contradicts no statement."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a statement says (`value`, 32 bytes) about what (`subject`)."""

    subject: str
    value: bytes


class ContradictionError(MachError):
    """Another claim about the same subject was signed already."""

    def __init__(self, claim: Claim, signed: bytes) -> None:
        super().__init__(
            f"alert 0x{signed.hex()} was signed already and says something else about {claim.subject}; "
            f"the verifier has recorded no reorganisation in between"
        )
        self.signed = signed


def contradicting(connection: Connection, message_hash: bytes, claim: Claim) -> list[bytes]:
    """Message hashes of what was signed and contradicts this statement, newest first; of one signed before: none."""
    if claim.value == NO_CLAIM:
        return []
    query = select(signed_statements).where(signed_statements.c.subject == claim.subject)
    rows = list(connection.execute(query.order_by(signed_statements.c.signed_at.desc())).mappings())
    if any(row["message_hash"] == message_hash for row in rows):
        return []
    return [row["message_hash"] for row in rows if row["claim"] not in (claim.value, NO_CLAIM)]


def enter(connection: Connection, message_hash: bytes, claim: Claim, permitted: Collection[bytes] | None) -> None:
    """Enters a statement in the connection's transaction, or raises `ContradictionError`.

    `permitted` are the contradicting statements that a reorganisation has overtaken; None permits all.
    """
    if permitted is not None:
        for other in contradicting(connection, message_hash, claim):
            if other not in permitted:
                raise ContradictionError(claim, other)
    statement = insert(signed_statements).values(
        message_hash=message_hash, subject=claim.subject, claim=claim.value, signed_at=time.time()
    )
    connection.execute(statement.on_conflict_do_nothing())
