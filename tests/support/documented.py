"""The commands of the pages for users, in the order in which a reader meets them, and how each may be run.

A comment before a block says what is special about its commands, by their numbers in the block:

    <!-- run: 1 exits 2; 2 3 need the live network; 4 until stopped -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.repository import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]

_PIECE = re.compile(
    r"(?:<!-- run: (?P<marker>[^>]+) -->\s*)?^ *```(?P<language>\w*)\n(?P<block>.*?)^ *```$|`(?P<inline>[^`\n]+)`",
    re.MULTILINE | re.DOTALL,
)
_OUTPUT = re.compile(r"\s*^ *```\n(?P<block>(?:(?! *```).*\n)+?) *```$", re.MULTILINE)
"""A block that stands directly below the commands, without a word between."""
_PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:(?:\.venv|celery-env)/bin/\w[\w-]*|python3|gaia|gaia-validator|bash|sudo|cp|cd|mkdir|journalctl|jq|docker|export)(?: |$)"
)
_NOT_COMMANDS = {"python", "ini", "yaml", "json"}
_CLAUSE = re.compile(
    r"(?P<numbers>[\d ]+) (?:needs? (?P<need>.+)|exits (?P<codes>[\d ]+)|(?P<endless>until stopped))"
)
_TIME_OF_CRON = re.compile(r"^(?:[\d*/,-]+ ){5}")
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command as it is written."""

    page: str
    text: str
    is_inline: bool = False
    need: str = ""
    """What a test lacks to run it; "": nothing."""
    codes: tuple[int, ...] = (0,)
    """Exit codes that the page speaks of."""
    is_endless: bool = False
    """It runs until somebody stops it."""
    shows: str = ""
    """Output that the page shows directly below the command; "": none."""

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands_of(page: Path) -> Iterator[Command]:
    """Yield the commands of a page.

    Raises
    ------
    ValueError
        If a block mixes commands and something else, or a marker cannot be read.
    """
    name, text = page.relative_to(ROOT).as_posix(), page.read_text()
    for piece in _PIECE.finditer(text):
        if (inline := piece["inline"]) is not None:
            if re.match(r"(?:\.venv/bin/)?(?:gaia|gaia-validator|python3|bash) \S", inline):
                yield Command(page=name, text=inline, is_inline=True, codes=(0, 1, 2))
        elif piece["language"] not in _NOT_COMMANDS:
            commands = list(_commands_in(name, piece["block"], piece["marker"] or ""))
            if commands and (output := _OUTPUT.match(text, piece.end())):
                commands[-1] = replace(commands[-1], shows=output["block"])
            yield from commands


def _commands_in(page: str, block: str, marker: str) -> Iterator[Command]:
    lines = [_COMMENT.sub("", line).strip() for line in block.replace("\\\n", " ").splitlines()]
    lines = [_TIME_OF_CRON.sub("", " ".join(line.split())) for line in lines if line]
    are_commands = [bool(_PROGRAM.match(line)) for line in lines]
    if not any(are_commands):
        if marker:
            raise ValueError(f"{page}: a marker stands before a block without commands: {marker}")
        return
    if not all(are_commands):
        raise ValueError(f"{page}: commands and something else in one block: {lines}")
    special = _read_marker(page, marker, len(lines))
    for number, line in enumerate(lines, 1):
        clause = special.get(number)
        yield Command(
            page=page,
            text=line,
            need=(clause and clause["need"]) or "",
            codes=tuple(map(int, clause["codes"].split())) if clause and clause["codes"] else (0,),
            is_endless=bool(clause and clause["endless"]),
        )


def _read_marker(page: str, marker: str, commands: int) -> dict[int, re.Match[str]]:
    special = {}
    for clause in filter(None, marker.split(";")):
        found = _CLAUSE.fullmatch(clause.strip())
        if found is None:
            raise ValueError(f"{page}: the marker {clause!r} cannot be read")
        for number in map(int, found["numbers"].split()):
            if not 1 <= number <= commands or number in special:
                raise ValueError(f"{page}: the marker {clause!r} names a command that is not there, or twice")
            special[number] = found
    return special
