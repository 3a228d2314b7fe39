"""What the schema is, by the server's own catalogue, and how it differs from what the migrations make.

`migrations/catalogue.txt` lists what they make; `scripts/generate/data/catalogue.py` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gaia.validator.db.schema.files import FOLDER
from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

EXPECTED: Final = FOLDER / "catalogue.txt"

_RECORD: Final = "schema_migrations"
_FUNCTION: Final = "function"
_INDEX: Final = "index "
_SHOWN: Final = 3
_PARENTHESES: Final = str.maketrans("", "", "()")


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One column, constraint, index or trigger of a table, or one function."""

    owner: str
    """Table; "function" for a function."""
    name: str
    """Kind and name, such as "column uid"."""
    form: str
    """How it is defined, as the server says it."""

    def __str__(self) -> str:
        return f"{self.owner}: {self.name}"


@dataclass(frozen=True, slots=True)
class Drift:
    """Differences of a database from what the migrations make."""

    missing: tuple[str, ...] = ()
    """What is not there."""
    changed: tuple[str, ...] = ()
    """What is there in another form."""
    added: tuple[str, ...] = ()
    """Columns, constraints and triggers of our tables that no migration makes."""
    slow: tuple[str, ...] = ()
    """Indexes that are not there or have another form; only speed depends on them."""

    @property
    def is_serious(self) -> bool:
        """Whether what we write could be refused, or be wrong."""
        return bool(self.missing or self.changed or self.added)

    def __bool__(self) -> bool:
        return self.is_serious or bool(self.slow)

    def __str__(self) -> str:
        parts = (("lacks", self.missing + self.slow), ("changed", self.changed), ("added", self.added))
        return "; ".join(f"{word} {_some(names)}" for word, names in parts if names)


async def read_catalogue(connection: Connection) -> list[Entry]:
    """Return what the schema of this session is, in the order of tables and names."""
    rows = await connection.fetch(SQL["catalogue"])
    return sorted(Entry(*row) for row in rows if row["owner"] != _RECORD)


def expected_catalogue(path: Path = EXPECTED) -> list[Entry]:
    """Return what the migrations of this program make."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Entry(*line.split("\t")) for line in lines if line and not line.startswith("#")]


def as_text(entries: Iterable[Entry]) -> str:
    """Return the text of `migrations/catalogue.txt`."""
    head = "# What the migrations make; written by scripts/generate/data/catalogue.py.\n"
    return head + "".join(f"{entry.owner}\t{entry.name}\t{entry.form}\n" for entry in entries)


def drift_of(found: Iterable[Entry], expected: Iterable[Entry]) -> Drift:
    """Return how `found` differs from `expected`; tables and functions of others do not count."""
    there = {(entry.owner, entry.name): entry for entry in found}
    wanted = {(entry.owner, entry.name): entry for entry in expected}
    owners = {entry.owner for entry in wanted.values()} - {_FUNCTION}
    missing = [entry for key, entry in wanted.items() if key not in there]
    changed = [
        entry for key, entry in wanted.items() if key in there and _bare(there[key].form) != _bare(entry.form)
    ]
    added = [
        entry
        for key, entry in there.items()
        if key not in wanted and entry.owner in owners and not entry.name.startswith(_INDEX)
    ]
    slow = [entry for entry in missing + changed if entry.name.startswith(_INDEX)]
    return Drift(
        missing=_names(entry for entry in missing if entry not in slow),
        changed=_names(entry for entry in changed if entry not in slow),
        added=_names(added),
        slow=_names(slow),
    )


def _bare(form: str) -> str:
    """Return a form without parentheses: the server drops some when a schema is dumped and restored."""
    return form.translate(_PARENTHESES)


def _names(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(sorted(map(str, entries)))


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
