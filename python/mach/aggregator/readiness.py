"""Whether an aggregator can do its work now, and what keeps it from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.errors import MachError

if TYPE_CHECKING:
    from mach.chain.settlement import Settlement
    from mach.storage.database import Database

OLDEST_HEAD_S: Final = 60.0
DATABASE_DEADLINE_S: Final = 2.0


class AggregatorReadiness:
    """Asks the parts that an aggregator cannot do without."""

    def __init__(self, database: Database, settlement: Settlement) -> None:
        self._database = database
        self._settlement = settlement

    async def problems(self) -> list[str]:
        """In words for people; none when it is ready. A replica that waits for the lease is ready."""
        found = []
        age_s = self._settlement.heads.age_s
        if age_s > OLDEST_HEAD_S:
            found.append(f"the L1 node has not answered for {age_s:.0f} s")
        try:
            async with asyncio.timeout(DATABASE_DEADLINE_S):
                await self._database.snapshot(lambda connection: connection.execute(sa.text("SELECT 1")).scalar())
        except TimeoutError:
            found.append(f"database {self._database.name} did not answer within {DATABASE_DEADLINE_S:g} s")
        except MachError as error:
            found.append(str(error))
        return found
