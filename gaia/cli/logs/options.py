"""The options of `gaia logs`."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error", "critical")
"""Names of the levels, lowest first."""
_SPELL = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_USUAL_COUNT = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gaia logs`."""
    add = parser.add_argument
    add("--dir", type=Path, metavar="DIR", help="folder of log files; default: the validator's")
    add("--level", type=str.lower, choices=LEVELS, default="", help="lowest level; default: all")
    add("--run", default="", metavar="RUN", help="id of a run, or its start")
    add("--miner", default="", metavar="MINER", help="uid, hotkey or the start of a hotkey")
    add("--role", default="", metavar="ROLE", help="process, such as io_engine or chain_signer")
    add("--event", default="", metavar="NAME", help="name of the event, such as run_completed")
    add("--since", type=moment, metavar="T", help="10m, 2h, 3d, or a time such as 2026-01-31T00:00Z")
    add(
        "--last",
        type=_count,
        default=_USUAL_COUNT,
        metavar="N",
        help=f"number of lines; default: {_USUAL_COUNT}",
    )
    add("-f", "--follow", action="store_true", help="go on with the lines to come, until Ctrl-C")


def moment(text: str) -> datetime:
    """Return the time that an option names: so long ago, or an ISO 8601 time, in UTC if it says no zone."""
    if spell := _SPELL.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[spell[2]]: float(spell[1])})
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        problem = f"{text} is neither a length such as 10m nor a time such as 2026-01-31T00:00Z"
        raise argparse.ArgumentTypeError(problem) from error
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is not 0 or more")
    return value
