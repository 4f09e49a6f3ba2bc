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
        try:
            async with asyncio.timeout(DATABASE_DEADLINE_S):
                await self._database.snapshot(lambda connection: connection.execute(sa.text("SELECT 1")).scalar())
        except TimeoutError:
            found.append(f"database {self._database.name} did not answer within {DATABASE_DEADLINE_S:g} s")
        except MachError as error:
            found.append(str(error))
        return found
