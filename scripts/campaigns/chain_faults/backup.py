"""A backup of the database and of the signer's record, and its restore as if many days had passed since."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_KEPT: Final = "kept"
"""Schema with the backup."""
_EPOCHS: Final = frozenset({"epoch", "commit_epoch", "reveal_epoch"})
_BLOCKS: Final = frozenset({"block", "commit_block", "promised_block", "tried_block"})
_COLUMNS: Final = """
SELECT table_name, column_name, data_type FROM information_schema.columns
JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND is_generated = 'NEVER'
ORDER BY table_name, ordinal_position
"""


@dataclass(frozen=True, slots=True)
class Age:
    """How much later than the backup its restore is."""

    days: int
    epochs: int
    blocks: int


@dataclass
class Backup:
    """All tables, and the file that says what the hotkey has signed."""

    record: bytes
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    """Table -> column -> type."""

    @classmethod
    async def make(cls, connection: Connection, record: Path) -> Backup:
        """Copy every table into another schema, and the record into memory."""
        backup = cls(record.read_bytes())
        await connection.execute(f"DROP SCHEMA IF EXISTS {_KEPT} CASCADE; CREATE SCHEMA {_KEPT}")
        async with connection.transaction(isolation="repeatable_read"):
            for row in await connection.fetch(_COLUMNS):
                backup.columns.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"]
            for table in backup.columns:
                await connection.execute(f"CREATE TABLE {_KEPT}.{table} AS TABLE public.{table}")
        return backup

    async def restore(self, connection: Connection, age: Age) -> None:
        """Replace all tables by the backup; its times, blocks and epochs are as long ago as `age` says."""
        async with connection.transaction():
            # Rows refer to rows of other tables, which come in any order.
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(f"TRUNCATE {', '.join(self.columns)}")
            for table, types in self.columns.items():
                names = ", ".join(types)
                values = ", ".join(_aged(name, kind, age) for name, kind in types.items())
                await connection.execute(
                    f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE"  # noqa: S608 - ours
                    f" SELECT {values} FROM {_KEPT}.{table}"
                )

    def aged_record(self, age: Age) -> bytes:
        """Return the record, whose signatures are as long ago as `age` says."""
        record: dict[str, Any] = json.loads(self.record)
        for signed in record["epochs"]:
            signed["epoch"] -= age.epochs
            for name in ("first_block", "last_block"):
                if signed.get(name) is not None:
                    signed[name] -= age.blocks
        return json.dumps(record).encode()


def _aged(name: str, kind: str, age: Age) -> str:
    """Return the value of a column at the time of the restore, in SQL."""
    if kind == "timestamp with time zone":
        return f"{name} - interval '{age.days} days'"
    if name in _EPOCHS:
        return f"{name} - {age.epochs}"
    return f"{name} - {age.blocks}" if name in _BLOCKS else name
