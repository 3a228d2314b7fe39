"""Turns scrapes in simulated time into Prometheus's storage, as if each minute had been scraped."""

from __future__ import annotations

import math
import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alerting.rule import INSTANCE, JOB

from monitored.programs import ProgramFailed, program

STEP_S: Final = 60.0
_CLOCK: Final = "gaia_clock_timestamp_seconds"
_BY_THE_REAL_CLOCK: Final = (
    "gaia_last_success_timestamp_seconds",
    "gaia_weights_last_set_timestamp_seconds",
)
"""Times that the validator takes from the machine, also where its calendar is simulated."""
_CHUNK: Final = 2880
"""Minutes in one file: two days."""
Key = tuple[str, tuple[tuple[str, str], ...]]
"""Name and sorted labels of a series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """All samples at one moment of both clocks."""

    calendar: float
    real: float
    values: dict[Key, float]


def minutes(scrapes: Sequence[Scrape]) -> list[float]:
    """Return the moments from the first to the last scrape, a minute apart."""
    first, last = scrapes[0].calendar, scrapes[-1].calendar
    return [first + STEP_S * number for number in range(int((last - first) / STEP_S) + 1)]


def value_at(key: Key, scrape: Scrape, moment: float) -> float:
    """Return the value of a series at `moment`, to which `scrape` is the last one.

    The calendar jumps over pauses in which nothing is due. A real validator would wait through
    them, while its recurring jobs go on. So values stay, but the ages of jobs stay too.
    """
    name, value = key[0], scrape.values[key]
    if name == _CLOCK:
        return moment
    if name in _BY_THE_REAL_CLOCK and value > 0:
        return moment - (scrape.real - value)
    return value


def openmetrics(scrapes: Sequence[Scrape], moments: Sequence[float], keys: Sequence[Key]) -> Iterator[str]:
    """Yield the lines of `moments` for some series, and `up` at 1."""
    calendars = [scrape.calendar for scrape in scrapes]
    last = [scrapes[bisect_right(calendars, moment) - 1] for moment in moments]
    place = (("instance", INSTANCE), ("job", JOB))
    for moment in moments:
        yield f"up{_labels(place)} 1 {moment:.0f}\n"
    for key in keys:
        head = key[0] + _labels((*key[1], *place))
        for moment, scrape in zip(moments, last, strict=True):
            if key in scrape.values:
                value = value_at(key, scrape, moment)
                yield f"{head} {'NaN' if math.isnan(value) else repr(value)} {moment:.0f}\n"


def write_blocks(scrapes: Sequence[Scrape], names: Sequence[str], folder: Path) -> int:
    """Write the series with these names to blocks in `folder`; return the number of samples.

    Raises
    ------
    ProgramFailed
        If promtool refuses the samples.
    """
    keys = sorted({key for scrape in scrapes for key in scrape.values if key[0] in names})
    moments = minutes(scrapes)
    folder.mkdir(parents=True, exist_ok=True)
    text = folder.parent / "samples.txt"
    written = 0
    for start in range(0, len(moments), _CHUNK):
        with text.open("w") as out:
            for line in openmetrics(scrapes, moments[start : start + _CHUNK], keys):
                out.write(line)
                written += 1
            out.write("# EOF\n")
        done = subprocess.run(
            [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ProgramFailed(f"promtool refuses the samples: {done.stderr[-500:]}")
    text.unlink()
    return written


def _labels(pairs: Sequence[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in pairs) + "}"
