"""PostgreSQL accepts every statement against the schema as the migrations leave it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import asyncpg

from gaia.localnet.view import watch
from gaia.validator.db.connection import Database
from gaia.validator.db.statements import ORIGINALS_SQL, SQL
from tests.support.original import make_original

STATEMENTS = {**SQL, **{f"progress/{name}": text for name, text in watch._SQL.items()}}


async def refused(dsn: str, statements: Mapping[str, str]) -> dict[str, str]:
    """Return the statements that the server does not prepare, with its errors."""
    found = {}
    connection = await asyncpg.connect(dsn)
    for name, text in statements.items():
        try:
            await connection.prepare(text)
        except asyncpg.PostgresError as error:
            found[name] = str(error)
    await connection.close()
    return found


async def test_server_prepares_every_statement(database: Database, empty_dsn: str) -> None:
    assert await refused(empty_dsn, STATEMENTS) == {}


async def test_server_prepares_every_statement_for_the_tables_of_the_original(empty_dsn: str) -> None:
    await make_original(empty_dsn, [])

    assert await refused(empty_dsn, ORIGINALS_SQL) == {}


def test_parameters_of_every_statement_are_numbered_without_a_gap() -> None:
    numbers = {
        name: sorted({int(number) for number in re.findall(r"\$(\d+)", text)})
        for name, text in [*STATEMENTS.items(), *ORIGINALS_SQL.items()]
    }

    assert {name: found for name, found in numbers.items() if found != list(range(1, len(found) + 1))} == {}
