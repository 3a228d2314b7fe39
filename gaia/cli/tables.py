"""Prints the answers of the command line: one JSON object, or tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gaia.validator.utils.identities import Hotkey

_WIDE = 160


def print_json(value: Any) -> None:
    """Print one JSON object; times are ISO 8601, and numbers keep every digit."""
    print(json.dumps(value, default=_plain, indent=2))


def print_lines(*lines: str) -> None:
    """Print the lines to standard output."""
    _console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def print_note(text: str) -> None:
    """Print a note to standard error, so that standard output holds only the answer."""
    print(text, file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """Print a table; a column whose name begins with > is aligned to the right."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(shown(value) for value in row))
    _console().print(table, markup=False)


def shown(value: Any) -> str:
    """Return the text of a cell: four decimals, and a dash for None.

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
    return str(value)


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


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")
