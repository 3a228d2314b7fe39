"""What a database holds, as counts and digests that tell whether another one holds the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


class TableContent(msgspec.Struct, frozen=True):
    """What one table holds."""

    rows: int
    digest: str
    """Sum of the digests of all rows, which their order does not change."""


Contents = Mapping[str, TableContent]
"""Name of a table -> what it holds."""


async def read_contents(connection: Connection) -> dict[str, TableContent]:
    """Return what each table of the schema holds; reads every row.

    The connection must be in a transaction, whose settings of output change.
    """
    await connection.execute(SQL["plain_output"])
    found = {}
    for table in await connection.fetch(SQL["statements_of_contents"]):
        row = await connection.fetchrow(table["statement"])
        assert row is not None
        found[table["name"]] = TableContent(row["rows"], row["digest"])
    return found


def differences(expected: Contents, found: Contents) -> list[str]:
    """Return a sentence for each table that is not the same, in the order of names."""
    return [
        _difference(name, expected.get(name), found.get(name))
        for name in sorted(set(expected) | set(found))
        if expected.get(name) != found.get(name)
    ]


def _difference(name: str, expected: TableContent | None, found: TableContent | None) -> str:
    if found is None:
        return f"table {name} is missing"
    if expected is None:
        return f"table {name} is not in the backup"
    if expected.rows != found.rows:
        return f"table {name} has {found.rows} rows, and {expected.rows} were saved"
    return f"table {name} has as many rows as were saved, and other values"
