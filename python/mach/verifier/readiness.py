"""Whether a verifier can do its work now, and what keeps it from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.errors import MachError

if TYPE_CHECKING:
    from mach.rollup.endpoints import EndpointSet
    from mach.storage.database import Database
    from mach.verifier.lag import LagWatch

DATABASE_DEADLINE_S: Final = 2.0


class VerifierReadiness:
    """Asks the parts that a verifier cannot do without."""

    def __init__(self, database: Database, endpoints: EndpointSet, lag: LagWatch) -> None:
        self._database = database
        self._endpoints = endpoints
        self._lag = lag

    async def problems(self) -> list[str]:
        """In words for people; none when it is ready."""
        found = []
        if self._endpoints.answering() is None:
            found += [f"{endpoint.name}: {endpoint.problem}" for endpoint in self._endpoints.endpoints]
        if self._lag.alarm is not None:
            found.append(self._lag.alarm)
        return found + await database_problems(self._database)


async def database_problems(database: Database) -> list[str]:
    """Why the database cannot be used now; none if it can."""
    try:
        async with asyncio.timeout(DATABASE_DEADLINE_S):
            await database.snapshot(lambda connection: connection.execute(sa.text("SELECT 1")).scalar())
    except TimeoutError:
        return [f"database {database.name} did not answer within {DATABASE_DEADLINE_S:g} s"]
    except MachError as error:
        return [str(error)]
    return []
