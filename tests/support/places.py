"""Pools of few connections, and commits that take a moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gaia.validator.db.connection import Database
from tests.support.wires import Wire

SIZE = 8
PATIENCE_S = 15.0
SHORT_S = 2.0
"""Long enough for what succeeds on a busy machine, short enough to wait for."""
NEVER_S = 3600.0
SLOW_COMMIT = """
CREATE TABLE written (key integer PRIMARY KEY);
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON written DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


@asynccontextmanager
async def wired(dsn: str, **options: Any) -> AsyncIterator[tuple[Database, Wire]]:
    """A pool of one behind a wire that tests can cut."""
    async with Wire(dsn) as wire:
        options = {"timeout_s": PATIENCE_S, "pool_size": 1, "rebuild_after_s": NEVER_S} | options
        database = await Database.connect(wire.dsn, **options)
        yield database, wire
        await database.close()


async def long_statement(database: Database) -> None:
    """Ask the server for what takes it half a minute."""
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_sleep(30)")
