"""Whether a verifier can do its work now, and what keeps it from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from mach.errors import MachError

if TYPE_CHECKING:
    from mach.storage.database import Database

DATABASE_DEADLINE_S: Final = 2.0


class VerifierReadiness:
    """Asks the parts that a verifier cannot do without."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def problems(self) -> list[str]:
        """In words for people; none when it is ready."""
        try:
            async with asyncio.timeout(DATABASE_DEADLINE_S):
                await self._database.snapshot(lambda connection: connection.execute(sa.text("SELECT 1")).scalar())
        except TimeoutError:
            return [f"database {self._database.name} did not answer within {DATABASE_DEADLINE_S:g} s"]
        except MachError as error:
            return [str(error)]
        return []
