"""A connection beside the pool, for tests that disturb what the pool does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.places import SLOW_COMMIT


@pytest.fixture
async def administrator(empty_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of its own to a database where commits take a moment."""
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(SLOW_COMMIT)
    yield connection
    await connection.close()
