"""The alerts that a verifier raised, each with what it rests on: what its operators ask before they sign.

The verifier writes them in the transaction of the verdict. An operator on the same machine reads them out of the
verifier's file, with a connection that cannot write.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import quote

from sqlalchemy import exists, literal, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from mach.storage.errors import DatabaseError
from mach.storage.schema import raised_alerts, verified_rollup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Select

    from mach.storage.database import Database

Basis = Literal["re-execution", "agreement"]
"""What a statement rests on: a block that was executed again, or only that independent endpoints agree."""

RE_EXECUTION: Final[Basis] = "re-execution"
AGREEMENT: Final[Basis] = "agreement"
BATCH: Final = 500
"""Hashes in one query: SQLite takes at most 999 parameters in old builds."""
BUSY_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """One alert of a verifier: a JSON-RPC method and its params as JSON, about a block of its rollup.

    `replaced_at` (Unix seconds) is set when the verifier saw the chain reorganised below that block.
    """

    message_hash: bytes
    block_number: int
    method: str
    params: str
    basis: Basis
    raised_at: float
    replaced_at: float | None = None


def record_raised(connection: Connection, alert: RaisedAlert) -> None:
    """Keeps an alert in the connection's transaction; one that rested on agreement may come to rest on re-execution."""
    values: dict[str, Any] = {name: getattr(alert, name) for name in RaisedAlert.__slots__}
    statement = insert(raised_alerts).values(**values)
    statement = statement.on_conflict_do_update(
        index_elements=[raised_alerts.c.message_hash],
        set_={"basis": statement.excluded.basis},
        where=(raised_alerts.c.basis == AGREEMENT) & (statement.excluded.basis == RE_EXECUTION),
    )
    connection.execute(statement)


def mark_replaced(connection: Connection, fork_point: int) -> None:
    """The chain was reorganised: what was raised about blocks above `fork_point` is about blocks of another branch."""
    statement = update(raised_alerts).where(
        raised_alerts.c.block_number > fork_point, raised_alerts.c.replaced_at.is_(None)
    )
    connection.execute(statement.values(replaced_at=time.time()))


async def raised(database: Database, message_hashes: Sequence[bytes]) -> dict[bytes, RaisedAlert]:
    """Those of the alerts that the verifier with this database raised; at most `BATCH` can be asked for at once."""
    query = select(raised_alerts).where(raised_alerts.c.message_hash.in_(message_hashes[:BATCH]))
    found = await database.snapshot(
        lambda connection: [_record(dict(row)) for row in connection.execute(query).mappings()]
    )
    return {alert.message_hash: alert for alert in found}


async def claim_database(database: Database, chain_id: int) -> None:
    """Says in the database which rollup it is about, once. Raises `DatabaseError` if it is about another one.

    Message hashes name no chain: an operator must not take another rollup's verdict for its own.
    """

    def write(connection: Connection) -> str:
        connection.execute(insert(verified_rollup).from_select(["chain_id"], _if_empty(chain_id)))
        return str(connection.execute(select(verified_rollup.c.chain_id)).scalar_one())

    found = await database.transaction(write)
    if found != str(chain_id):
        raise DatabaseError(
            f"database {database.name} is of the rollup with chain id {found}, layer2_chain_id is {chain_id}; name "
            f"another database_url"
        )


def _if_empty(chain_id: int) -> Select[str]:
    return select(literal(str(chain_id))).where(~exists(select(verified_rollup.c.chain_id)))


class VerifierFile:
    """A verifier's SQLite file as another process reads it. Each look opens it anew: it may be replaced meanwhile."""

    def __init__(self, url: str) -> None:
        """Raises `DatabaseError` unless the URL is of a SQLite file."""
        try:
            parsed = make_url(url)
            kind, path = parsed.drivername, parsed.database
        except (ArgumentError, ValueError):
            kind, path = "", None
        if kind not in ("sqlite", "sqlite+aiosqlite") or path in (None, "", ":memory:"):
            raise DatabaseError("verdict_database_url must name the verifier's file: sqlite+aiosqlite:///FILE")
        self.name = str(path)

    async def find(self, message_hashes: Sequence[bytes], chain_id: int) -> dict[bytes, RaisedAlert]:
        """Those of the alerts that the verifier raised about the rollup of this chain id.

        Raises `DatabaseError` when the file cannot be read or is about another rollup.
        """
        found: dict[bytes, RaisedAlert] = {}
        for start in range(0, len(message_hashes), BATCH):
            found |= await asyncio.to_thread(self._find, message_hashes[start : start + BATCH], chain_id)
        return found

    def _find(self, message_hashes: Sequence[bytes], chain_id: int) -> dict[bytes, RaisedAlert]:
        columns = ", ".join(RaisedAlert.__slots__)
        marks = ", ".join("?" * len(message_hashes))
        uri = f"file:{quote(str(Path(self.name).absolute()))}?mode=ro"
        query = f"SELECT {columns} FROM raised_alerts WHERE message_hash IN ({marks})"  # noqa: S608 - our own names
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
                rollup = connection.execute("SELECT chain_id FROM verified_rollup").fetchone()
                rows = connection.execute(query, list(message_hashes)).fetchall()
        except sqlite3.Error as error:
            raise DatabaseError(
                f"the verifier's database {self.name} cannot be read ({error}); start its verifier, of this version "
                f"of Mach, or correct verdict_database_url"
            ) from None
        if rollup is None or rollup[0] != str(chain_id):
            raise DatabaseError(
                f"the verifier's database {self.name} is about chain {'-' if rollup is None else rollup[0]}, "
                f"layer2_chain_id is {chain_id}; name the database of this rollup's verifier"
            )
        records = [_record(dict(zip(RaisedAlert.__slots__, row, strict=True))) for row in rows]
        return {record.message_hash: record for record in records}


def _record(row: dict[str, Any]) -> RaisedAlert:
    basis: Basis = row["basis"] if row["basis"] in get_args(Basis) else AGREEMENT
    return RaisedAlert(**row | {"basis": basis})
