"""Prints the answers of the command line: one JSON object, or tables for people."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from gaia.validator.utils.identities import Hotkey

_GAP = "  "
_LONGEST_WORDS = 200
_NARROWEST_TEXT = 16
"""Cells that a column of text needs; with fewer, a row is printed as lines."""


def print_json(value: Any) -> None:
    """Print one JSON object; times are ISO 8601, and numbers keep every digit."""
    print(json.dumps(value, default=plain, indent=2))


def print_json_line(value: Any) -> None:
    """Print one JSON object on one line, at once."""
    print(json.dumps(value, default=plain), flush=True)


def print_lines(*lines: str) -> None:
    """Print the lines to standard output."""
    Console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def print_note(text: str) -> None:
    """Print a note to standard error, so that standard output holds only the answer."""
    print(text, file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table that fits the terminal, or one of any width to a pipe or file; see `table_lines`."""
    print_lines(*table_lines(columns, list(rows), output_width()))


def output_width() -> int | None:
    """Return the number of cells in a line of the terminal; None for a pipe or a file."""
    console = Console()
    return console.width if console.is_terminal else None


@dataclass(frozen=True, slots=True)
class _Column:
    """One column as its heading describes it."""

    title: str
    is_right: bool
    is_text: bool
    rank: int
    """0: always shown; the columns with the highest rank are left out first."""

    @classmethod
    def of(cls, heading: str) -> _Column:
        title = heading.strip(">~?")
        return cls(title, heading.startswith(">"), heading.startswith("~"), heading.count("?"))


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None) -> list[str]:
    """Return the lines of a table of at most `width` cells; no number and no id is cut.

    Columns that may be left out go first, and a last line names them. If the others are too wide
    too, each row becomes lines of the form "title: value".

    Parameters
    ----------
    columns
        Headings. One that begins with ">" is aligned to the right. One that begins with "~" holds
        text, which may take several lines. One that ends with "?" may be left out, with "??" before those.
    width
        Number of cells in a line; None: any number.
    """
    known = [_Column.of(heading) for heading in columns]
    cells = [[shown(value) for value in row] for row in rows]
    kept = _fitting(known, cells, width)
    if kept is None:
        return _as_blocks(known, cells)
    left_out = [column.title for place, column in enumerate(known) if place not in kept]
    lines = _as_table(
        [known[place] for place in kept], [[row[place] for place in kept] for row in cells], width
    )
    if left_out:
        lines += _folded(f"Not shown for lack of room: {', '.join(left_out)}.", width)
    return lines


def _fitting(
    columns: Sequence[_Column], cells: Sequence[Sequence[str]], width: int | None
) -> list[int] | None:
    """Return the places of the columns that fit; None if not even those that must be shown do."""
    needed = [
        min(_widest(column, place, cells), _NARROWEST_TEXT)
        if column.is_text
        else _widest(column, place, cells)
        for place, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    while width is not None and sum(needed[place] for place in kept) + len(_GAP) * (len(kept) - 1) > width:
        # Of two equal ranks the right one goes.
        worst = max(kept, key=lambda place: (columns[place].rank, place))
        if columns[worst].rank == 0:
            return None
        kept.remove(worst)
    return kept


def _as_table(columns: Sequence[_Column], cells: Sequence[Sequence[str]], width: int | None) -> list[str]:
    widths = [_widest(column, place, cells) for place, column in enumerate(columns)]
    if width is not None:
        for place, column in enumerate(columns):
            others = sum(widths) - widths[place] + len(_GAP) * (len(columns) - 1)
            if column.is_text:
                widths[place] = min(widths[place], max(width - others, _NARROWEST_TEXT))
    lines = [_line(columns, [column.title for column in columns], widths)]
    lines.append("─" * (sum(widths) + len(_GAP) * (len(columns) - 1)))
    for row in cells:
        parts = [
            _folded(cell, widths[place]) if column.is_text else [cell]
            for place, (column, cell) in enumerate(zip(columns, row, strict=True))
        ]
        lines += [_line(columns, line, widths) for line in zip_longest(*parts, fillvalue="")]
    return lines


def _as_blocks(columns: Sequence[_Column], cells: Sequence[Sequence[str]]) -> list[str]:
    lines: list[str] = []
    for row in cells:
        lines += [""] if lines else []
        lines += [f"{column.title}: {cell}" for column, cell in zip(columns, row, strict=True)]
    return lines


def _widest(column: _Column, place: int, cells: Sequence[Sequence[str]]) -> int:
    return max([cell_len(column.title), *(cell_len(row[place]) for row in cells)])


def _line(columns: Sequence[_Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        " " * (room - cell_len(cell)) + cell if column.is_right else cell + " " * (room - cell_len(cell))
        for column, cell, room in zip(columns, cells, widths, strict=True)
    ]
    return _GAP.join(padded).rstrip()


def _folded(text: str, width: int | None) -> list[str]:
    """Return the lines of a text; a word that is longer than a line is not cut."""
    if width is None:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def shown(value: Any) -> str:
    """Return the text of a cell: four decimals, a dash for None, and nothing that controls a terminal.

    >>> shown(0.123456), shown(None), shown(True), shown(1234.5)
    ('0.1235', '-', 'yes', '1234.5')
    """
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%MZ}"
    return printable(str(value))


def printable(text: str) -> str:
    """Return a text without characters that control a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def one_line(words: str) -> str:
    r"""Return a stranger's text in one line of at most 200 letters, without characters that control a terminal.

    >>> one_line("not\x1b[2J\nfound")
    'not [2J found'
    """
    plain = printable(words)
    return plain if len(plain) <= _LONGEST_WORDS else f"{plain[:_LONGEST_WORDS]}..."


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right form.

    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def short(hotkey: Hotkey) -> str:
    """Return a hotkey as it is shown beside its uid.

    >>> short("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")
    '5Grwva..utQY'
    """
    return hotkey if len(hotkey) <= 14 else f"{hotkey[:6]}..{hotkey[-4:]}"


def plain(value: Any) -> Any:
    """Return a time or a dataclass in a form that JSON has; for `json.dumps`."""
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")
