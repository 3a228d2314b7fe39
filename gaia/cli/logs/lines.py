"""Log lines: read from JSON, chosen by level, run, miner, process, event and time, and written for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gaia.cli.logs.options import LEVELS

_LEVEL_CELLS, _EVENT_CELLS = 8, 28
_HEAD = ("timestamp", "level", "event", "exception")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a log file."""

    at: datetime
    """Its own time; of a line that is no JSON, that of the line before."""
    values: Mapping[str, Any] | None
    """Its members; None if it is no JSON."""
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Conditions that a line must meet; an empty one is always met."""

    level: str = ""
    """Lowest level."""
    run: str = ""
    """Start of the id of a run."""
    miner: str = ""
    """Uid, hotkey or start of a hotkey."""
    role: str = ""
    """Process that logged it."""
    event: str = ""
    since: datetime | None = None

    def is_met_by(self, line: Line) -> bool:
        """Return whether the line meets all conditions; one that is no JSON meets only that of time."""
        if self.since is not None and line.at < self.since:
            return False
        if line.values is None:
            return not (self.level or self.run or self.miner or self.role or self.event)
        values = line.values
        return (
            (not self.level or _rank(values.get("level")) >= LEVELS.index(self.level))
            and (not self.run or str(values.get("run_id", "")).startswith(self.run))
            and (not self.miner or _is_of(self.miner, values))
            and self.role in ("", values.get("role"))
            and self.event in ("", values.get("event"))
        )


def line_of(raw: str, before: datetime) -> Line:
    """Return a line of a log; `before` is the time of the line before."""
    try:
        values = json.loads(raw)
        at = datetime.fromisoformat(values["timestamp"])
    except (ValueError, KeyError, TypeError):
        return Line(at=before, values=None, raw=raw)
    return Line(at=at if at.tzinfo else at.replace(tzinfo=UTC), values=values, raw=raw)


def console_form(line: Line) -> str:
    """Return a line as people read it: time, level, event, then the other members; a trace stands below.

    >>> raw = '{"timestamp": "2026-01-02T03:04:05.678+00:00", "level": "info", "event": "tick", "run_id": "r"}'
    >>> console_form(line_of(raw, datetime.now(UTC)))
    '2026-01-02 03:04:05.678 info     tick                         run_id=r'
    """
    if line.values is None:
        return _printable(line.raw)
    rest = " ".join(f"{name}={value}" for name, value in line.values.items() if name not in _HEAD)
    level, event = str(line.values.get("level", "")), str(line.values.get("event", ""))
    moment = line.at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")
    text = f"{moment} {level:<{_LEVEL_CELLS}} {event:<{_EVENT_CELLS}} {rest}".rstrip()
    trace = line.values.get("exception")
    return "\n".join(map(_printable, [text, *(str(trace).splitlines() if trace else [])]))


def _printable(text: str) -> str:
    """Return a text without characters that control a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _rank(level: object) -> int:
    return LEVELS.index(level) if isinstance(level, str) and level in LEVELS else len(LEVELS)


def _is_of(miner: str, values: Mapping[str, Any]) -> bool:
    hotkey, uid = str(values.get("hotkey", "")), values.get("uid")
    return miner == str(uid) if miner.isdecimal() else hotkey.startswith(miner)
