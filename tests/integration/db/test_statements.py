"""PostgreSQL accepts every statement against the schema as the migrations leave it."""

from __future__ import annotations

import re

import asyncpg

from gaia.localnet.view import watch
from gaia.validator.db.connection import Database
from gaia.validator.db.statements import SQL

STATEMENTS = {**SQL, **{f"progress/{name}": text for name, text in watch._SQL.items()}}


async def test_server_prepares_every_statement(database: Database, empty_dsn: str) -> None:
    refused = {}
    connection = await asyncpg.connect(empty_dsn)
    for name, text in STATEMENTS.items():
        try:
            await connection.prepare(text)
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    await connection.close()

    assert refused == {}


def test_parameters_of_every_statement_are_numbered_without_a_gap() -> None:
    numbers = {
        name: sorted({int(number) for number in re.findall(r"\$(\d+)", text)})
        for name, text in STATEMENTS.items()
    }

    assert {name: found for name, found in numbers.items() if found != list(range(1, len(found) + 1))} == {}
