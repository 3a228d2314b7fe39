"""The SQL statements in `sql/`, by name; no statement is built from strings.

A file holds the statements of one group of tables. Each statement has a line ``-- name: <name>``, at
least one line of comment that says what it does, and SQL that ends in a semicolon. The SQL can be
pasted into psql. Comments before the first name describe the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent / "sql"

_HEAD: Final = "-- name:"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class MalformedStatements(ValueError):
    """A file of statements does not have the form above; names the file and the line."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}")
        self.path = path
        self.line = line
        """Line number, from 1."""


class Statement(NamedTuple):
    """One statement and its place."""

    name: str
    text: str
    """SQL without the final semicolon."""
    path: Path
    line: int
    """Line of its name."""


def parse(path: Path, content: str) -> list[Statement]:
    """Return the statements of one file, in order; errors name `path`.

    Raises
    ------
    MalformedStatements
        If `content` does not have the form that the module describes.
    """
    statements: list[Statement] = []
    lines = list(enumerate(content.splitlines(), 1))
    heads = [place for place, (_, line) in enumerate(lines) if line.startswith(_HEAD)]
    for number, line in lines[: heads[0] if heads else len(lines)]:
        if line.strip() and not line.startswith("--"):
            raise MalformedStatements(path, number, "SQL before the first name")
    for place, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        number, head = lines[place]
        name = head.removeprefix(_HEAD).strip()
        if not _NAME.fullmatch(name):
            raise MalformedStatements(path, number, f"{name!r} is no name in lower case")
        statements.append(Statement(name, _sql(path, number, lines[place + 1 : end]), path, number))
    return statements


def by_name(statements: Iterable[Statement]) -> Mapping[str, str]:
    """Return name -> SQL.

    Raises
    ------
    MalformedStatements
        If two statements have one name.
    """
    known: dict[str, Statement] = {}
    for statement in statements:
        first = known.setdefault(statement.name, statement)
        if first is not statement:
            problem = f"the name {statement.name} stands in {first.path}:{first.line} as well"
            raise MalformedStatements(statement.path, statement.line, problem)
    return MappingProxyType({name: statement.text for name, statement in known.items()})


def read_statements(*paths: Path) -> Mapping[str, str]:
    """Return the statements of all files, name -> SQL.

    Raises
    ------
    MalformedStatements
        If a file does not have the form that the module describes, or a name occurs twice.
    """
    return by_name(statement for path in paths for statement in parse(path, path.read_text(encoding="utf-8")))


def _sql(path: Path, head: int, body: list[tuple[int, str]]) -> str:
    """Return the SQL between the name in line `head` and the next name."""
    code = [(number, line.rstrip()) for number, line in body if line.strip() and not line.startswith("--")]
    if not code:
        raise MalformedStatements(path, head, "no SQL follows the name")
    if not (body[0][1].startswith("--") and body[0][1].strip("- ")):
        raise MalformedStatements(path, head, "no sentence follows the name")
    for number, line in code[:-1]:
        if line.endswith(";"):
            raise MalformedStatements(path, number, "a second statement follows under one name")
    number, last = code[-1]
    if not last.endswith(";"):
        raise MalformedStatements(path, number, "the statement does not end in a semicolon")
    return "\n".join(line for _, line in code).removesuffix(";")


SQL: Final = read_statements(*sorted(FOLDER.glob("*.sql")))
"""All statements of the validator, parsed once."""
ORIGINALS_SQL: Final = read_statements(*sorted((FOLDER / "original").glob("*.sql")))
"""Statements for the tables of the original validator, which `gaia db import-original` reads."""
