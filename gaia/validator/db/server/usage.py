"""What the stored runs cost so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDone:
    """Costs of all runs in the database."""

    runs: int
    span_s: float
    """Seconds from the opening of the first run to that of the newest."""
    miners: int
    """Miners that the newest run asked."""
    cpu_s: float
    """CPU time of the workers for all scores."""
    era5_sets: int
    """Times for which ERA5 was fetched."""
    database_bytes: int

    @property
    def days(self) -> float:
        """Days that the runs cover; each run counts for one day at least."""
        return max(1.0, self.span_s / 86_400 + 1.0)


async def work_done(connection: Connection) -> WorkDone:
    """Return what all runs cost."""
    row = await connection.fetchrow(SQL["work_done"])
    assert row is not None
    return WorkDone(**dict(row))
