"""The book of a campaign: its units and their answers, in a file that survives every process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_TABLES = """
CREATE TABLE IF NOT EXISTS unit (
    number INTEGER PRIMARY KEY, is_open INTEGER NOT NULL DEFAULT 1, strikes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS open_unit ON unit (number) WHERE is_open;
CREATE TABLE IF NOT EXISTS answer (
    number INTEGER NOT NULL, attempt INTEGER NOT NULL, digest TEXT, failure TEXT, engine INTEGER NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS refused (number INTEGER NOT NULL, engine INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS strike (number INTEGER NOT NULL, failure TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stop (at REAL NOT NULL);
"""


class Book:
    """A connection to the book at `path`; several processes may have one."""

    def __init__(self, path: Path) -> None:
        self._rows = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode=WAL")
        # Writes survive a killed process; only a power cut would need more.
        self._rows.execute("PRAGMA synchronous=OFF")
        self._rows.executescript(_TABLES)

    def close(self) -> None:
        self._rows.close()

    def open_units(self) -> list[tuple[int, int]]:
        """Return (number, strikes) of each unit without an answer."""
        return self._rows.execute("SELECT number, strikes FROM unit WHERE is_open ORDER BY number").fetchall()

    def create(self, amount: int) -> list[tuple[int, int]]:
        """Add `amount` units, unless the campaign is stopped; return (number, 0 strikes) of each."""
        if self._one("SELECT count(*) FROM stop"):
            return []
        first = self._one("SELECT coalesce(max(number), 0) FROM unit") + 1
        numbers = [(number, 0) for number in range(first, first + amount)]
        self._together([("INSERT INTO unit (number, strikes) VALUES (?, ?)", row) for row in numbers])
        return numbers

    def commit(self, number: int, attempt: int, digest: str | None, failure: str | None, engine: int) -> None:
        """Record an answer only if the unit has none."""
        rows = self._rows
        rows.execute("BEGIN IMMEDIATE")
        is_first = rows.execute(
            "UPDATE unit SET is_open = 0 WHERE number = ? AND is_open", (number,)
        ).rowcount
        if is_first:
            values = (number, attempt, digest, failure, engine, time.time())
            rows.execute("INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?)", values)
        else:
            rows.execute("INSERT INTO refused VALUES (?, ?)", (number, engine))
        rows.execute("COMMIT")

    def strike(self, number: int, failure: str) -> None:
        """Record a strike of a unit, which will be tried again."""
        update = "UPDATE unit SET strikes = strikes + 1 WHERE number = ?"
        self._together([(update, (number,)), ("INSERT INTO strike VALUES (?, ?)", (number, failure))])

    def stop(self) -> None:
        """Stop the creation of units."""
        self._rows.execute("INSERT INTO stop VALUES (?)", (time.time(),))

    def go_on(self) -> None:
        """Resume the creation of units."""
        self._rows.execute("DELETE FROM stop")

    def answers(self) -> int:
        """Return the number of answers."""
        return self._one("SELECT count(*) FROM answer")

    def open_count(self) -> int:
        """Return the number of units without an answer."""
        return self._one("SELECT count(*) FROM unit WHERE is_open")

    def last_engine(self) -> int:
        """Return the pid of the engine that committed last; 0 if none did."""
        return self._one("SELECT coalesce((SELECT engine FROM answer ORDER BY rowid DESC LIMIT 1), 0)")

    def doubled(self) -> int:
        """Return the number of units with more than one answer."""
        return self._one("SELECT count(*) FROM (SELECT 1 FROM answer GROUP BY number HAVING count(*) > 1)")

    def all_answers(self) -> Iterable[tuple[int, int, str | None, str | None]]:
        """Return (number, attempt, digest, failure) of each answer."""
        return self._rows.execute("SELECT number, attempt, digest, failure FROM answer")

    def tallies(self) -> dict[str, Any]:
        """Return the numbers of units, of refused second answers, and of strikes by kind."""
        strikes = self._rows.execute("SELECT failure, count(*) FROM strike GROUP BY failure").fetchall()
        return {
            "units": self._one("SELECT count(*) FROM unit"),
            "refused": self._one("SELECT count(*) FROM refused"),
            "strikes": dict(strikes),
        }

    def _one(self, query: str) -> int:
        return int(self._rows.execute(query).fetchone()[0])

    def _together(self, statements: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        self._rows.execute("BEGIN IMMEDIATE")
        for statement, values in statements:
            self._rows.execute(statement, values)
        self._rows.execute("COMMIT")
