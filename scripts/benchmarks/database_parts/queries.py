"""Times each statement that a database executes, by its name."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncpg

    from gaia.validator.db.connection import Database


class Slowest(NamedTuple):
    """The slowest of some statements."""

    name: str
    ms: float


@asynccontextmanager
async def timed(database: Database) -> AsyncIterator[dict[str, list[float]]]:
    """Yield a dictionary that collects name -> milliseconds of each statement on a pool of two connections.

    The driver counts from the request to the last row of the answer. A statement of the driver's own has its first
    word for a name.
    """
    from gaia.validator.db.statements import SQL

    names = {text: name for name, text in SQL.items()}
    found: dict[str, list[float]] = defaultdict(list)

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        name = names.get(record.query) or record.query.split()[0].rstrip(";")
        found[name].append(1e3 * record.elapsed)

    # Both at once, so that the pool has no third connection, which nobody would time.
    async with database.reading() as one, database.reading() as other:
        for connection in (one, other):
            connection.add_query_logger(note)
    await asyncio.sleep(0)  # what these two executed themselves is noted only now
    found.clear()
    yield found
    await asyncio.sleep(0)


def slowest_of(found: Mapping[str, list[float]]) -> Slowest:
    """Return the statement with the longest single execution.

    >>> slowest_of({"due_forecasts": [3.5, 2.0], "BEGIN": [0.1]})
    Slowest(name='due_forecasts', ms=3.5)
    """
    name = max(found, key=lambda each: max(found[each]))
    return Slowest(name, max(found[name]))
