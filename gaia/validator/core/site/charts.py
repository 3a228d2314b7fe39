"""Draws lines, intervals and bars as SVG; every chart stands beside a table with the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gaia.validator.core.site.look import SERIES
from gaia.validator.core.site.markup import Markup, element, joined

if TYPE_CHECKING:
    from gaia.validator.core.site.model import FinalScore, Ranked, Standing

_WIDTH: Final = 560.0
# Wide enough for the larger letters of narrow screens.
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 150.0, 14.0, 34.0
_NAMES = 130.0
"""Width of the names beside rows."""
_ROW = 26.0
_LINES_HEIGHT = 340.0
_HISTORY_HEIGHT = 240.0
_MOST_ROWS: Final = 30
_BESIDE = 4.0
"""Distance between the intervals of two lines at one run."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """A linear scale from values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + part * (self.end - self.start)


def counts(title: str, numbers: Mapping[str, int]) -> Markup:
    """Return horizontal bars, one a name."""
    across = _Scale(0, max([*numbers.values(), 1]), _NAMES, _WIDTH - 44)
    rows = []
    for place, (name, number) in enumerate(numbers.items()):
        top = _TOP + place * _ROW
        rows.append(
            joined(
                element("text", name.replace("_", " "), x=_NAMES - 10, y=top + 14, text_anchor="end"),
                element(
                    "rect", x=_NAMES, y=top + 2, width=across(number) - _NAMES, height=_ROW - 10, class_="bar"
                ),
                element("text", number, x=across(number) + 8, y=top + 14),
            )
        )
    return _picture(title, _TOP * 2 + _ROW * len(numbers), rows)


def intervals(title: str, miners: Sequence[Ranked]) -> Markup:
    """Return the means of the best miners with their 95 % intervals, the best first."""
    shown = miners[:_MOST_ROWS]
    last = [row.standings[-1] for row in shown]
    low, high = _limits(last)
    across = _Scale(low, high, _NAMES, _WIDTH - 24)
    bottom = _TOP + _ROW * len(shown)
    parts = [_marks_across(across, _TOP, bottom)]
    for place, (row, standing) in enumerate(zip(shown, last, strict=True)):
        y = _TOP + (place + 0.5) * _ROW
        parts.append(element("text", f"{row.rank}. uid {row.uid}", x=_NAMES - 10, y=y + 5, text_anchor="end"))
        width = standing.half_width
        if width is not None:
            ends = [max(low, standing.mean - width), min(high, standing.mean + width)]
            parts.append(
                element("line", x1=across(ends[0]), x2=across(ends[1]), y1=y, y2=y, class_="error s1")
            )
        parts.append(_mark(0, across(standing.mean), y, "s1"))
    return _picture(title, bottom + _BOTTOM, parts)


def lines(title: str, miners: Sequence[Ranked], open_runs: Sequence[datetime]) -> Markup:
    """Return the means over time: the best miners as lines with intervals, the others in grey.

    Parameters
    ----------
    open_runs
        Initial times of open runs, which are marked as a band without any value.
    """
    best = miners[:SERIES]
    moments = [one.init_time.timestamp() for row in miners for one in row.standings]
    first, last = min(moments), max(moments)
    ends = [moment.timestamp() for moment in open_runs if moment.timestamp() > last]
    across = _Scale(first, max([last, *ends]), _LEFT + 14, _WIDTH - _RIGHT)
    low, high = _limits([one for row in best for one in row.standings])
    up = _Scale(low, high, _LINES_HEIGHT - _BOTTOM, _TOP)
    parts = [_marks_up(up, _WIDTH - _RIGHT), _band(across, last, ends, _LINES_HEIGHT)]
    parts += [element("path", d=_path(row.standings, across, up), class_="others") for row in miners[SERIES:]]
    labels = _spread([up(row.standings[-1].mean) for row in best], 17)
    for place, (row, label) in enumerate(zip(best, labels, strict=True)):
        parts.append(_line(place, len(best), row, across, up))
        name = f"{row.rank}. uid {row.uid}"
        parts += [
            _mark(place, _WIDTH - _RIGHT + 32, label, f"s{place + 1}"),
            element("text", name, x=_WIDTH - _RIGHT + 44, y=label + 5),
        ]
    parts += _days(across, [first, last], _LINES_HEIGHT)
    return _picture(title, _LINES_HEIGHT, parts)


def history(title: str, scores: Sequence[FinalScore], open_runs: Sequence[datetime]) -> Markup:
    """Return one miner's final scores by run; open runs are a band without any value."""
    moments = [score.init_time.timestamp() for score in scores]
    first, last = min(moments), max(moments)
    ends = [moment.timestamp() for moment in open_runs if moment.timestamp() > last]
    across = _Scale(first, max([last, *ends]), _LEFT + 14, _WIDTH - 24)
    values = [score.overall for score in scores]
    low, high = min(0.0, *values), max(1.0, *values)
    up = _Scale(low, high, _HISTORY_HEIGHT - _BOTTOM, _TOP)
    counted = [score for score in scores if score.is_counted]
    route = " ".join(
        f"{'L' if place else 'M'}{across(score.init_time.timestamp()):.1f} {up(score.overall):.1f}"
        for place, score in enumerate(counted)
    )
    parts = [_marks_up(up, _WIDTH - 24), _band(across, last, ends, _HISTORY_HEIGHT)]
    if counted:
        parts.append(element("path", d=route, class_="line s1"))
    parts += [_mark(0, across(one.init_time.timestamp()), up(one.overall), "s1") for one in counted]
    parts += _days(across, [first, last], _HISTORY_HEIGHT)
    return _picture(title, _HISTORY_HEIGHT, parts)


def _line(place: int, many: int, row: Ranked, across: _Scale, up: _Scale) -> Markup:
    series, beside = f"s{place + 1}", _BESIDE * (place - (many - 1) / 2)
    parts = [element("path", d=_path(row.standings, across, up), class_=f"line {series}")]
    for one in row.standings:
        x = across(one.init_time.timestamp())
        if one.half_width is not None:
            top, bottom = (
                up(min(up.high, max(up.low, one.mean + sign * one.half_width))) for sign in (1, -1)
            )
            parts.append(
                element("line", x1=x + beside, x2=x + beside, y1=top, y2=bottom, class_=f"error {series}")
            )
        parts.append(_mark(place, x, up(one.mean), series))
    return joined(parts)


def _path(standings: Sequence[Standing], across: _Scale, up: _Scale) -> str:
    """Return a line that breaks where a mean lies outside the axis."""
    written, is_drawn = [], False
    for one in standings:
        is_inside = up.low <= one.mean <= up.high
        if is_inside:
            command = "L" if is_drawn else "M"
            written.append(f"{command}{across(one.init_time.timestamp()):.1f} {up(one.mean):.1f}")
        is_drawn = is_inside
    return " ".join(written)


def _limits(standings: Sequence[Standing]) -> tuple[float, float]:
    """Return the limits of an axis; an interval from two runs may be wider than the axis."""
    means = [one.mean for one in standings]
    spread = (max(means) - min(means)) or 0.1
    reach = max([one.half_width or 0.0 for one in standings])
    margin = min(spread, max(reach, 0.1 * spread))
    return min(means) - margin, max(means) + margin


def _band(across: _Scale, last: float, ends: Sequence[float], height: float) -> Markup | None:
    if not ends:
        return None
    start, end = across(last) + 8, across(max(ends)) + 4
    return joined(
        element("rect", x=start, y=_TOP, width=end - start, height=height - _BOTTOM - _TOP, class_="band"),
        element("text", "open: not final", x=end - 4, y=_TOP + 16, text_anchor="end", class_="soft"),
    )


def _marks_up(up: _Scale, right: float) -> Markup:
    return joined(
        (
            element("line", x1=_LEFT, x2=right, y1=up(value), y2=up(value), class_="grid"),
            element(
                "text", _number(value, step), x=_LEFT - 6, y=up(value) + 5, text_anchor="end", class_="soft"
            ),
        )
        for step, value in _round_values(up.low, up.high)
    )


def _marks_across(across: _Scale, top: float, bottom: float) -> Markup:
    return joined(
        (
            element("line", x1=across(value), x2=across(value), y1=top, y2=bottom, class_="grid"),
            element(
                "text",
                _number(value, step),
                x=across(value),
                y=bottom + 18,
                text_anchor="middle",
                class_="soft",
            ),
        )
        for step, value in _round_values(across.low, across.high)
    )


def _round_values(low: float, high: float) -> list[tuple[float, float]]:
    """Return (step, value) of four to ten round values between the limits."""
    rough = (high - low) / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    return [(step, place * step) for place in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(value: float, step: float) -> str:
    return f"{value:.{max(0, -math.floor(math.log10(step)))}f}".replace("-", "\u2212")


def _days(across: _Scale, moments: Sequence[float], height: float) -> list[Markup]:
    """Return the first and the last day below a chart."""
    found: dict[str, Markup] = {}
    for moment, anchor in zip(moments, ("start", "end"), strict=True):
        day = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
        found.setdefault(
            day, element("text", day, x=across(moment), y=height - 10, text_anchor=anchor, class_="soft")
        )
    return list(found.values())


def _mark(place: int, x: float, y: float, series: str) -> Markup:
    """Return the mark of a line: each has a shape of its own."""
    shapes = {
        1: f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8z",
        2: f"M{x:.1f} {y - 5:.1f}l5 9h-10z",
        3: f"M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
        4: f"M{x:.1f} {y + 5:.1f}l5 -9h-10z",
    }
    if place in shapes:
        return element("path", d=shapes[place], class_=series)
    return element("circle", cx=x, cy=y, r=4, class_=series)


def _spread(places: Sequence[float], least: float) -> list[float]:
    """Return places from the top down that are at least `least` apart, moved as little as a single pass can."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + least)
    over = max([*moved, 0.0]) - (_LINES_HEIGHT - _BOTTOM)
    return [place - over for place in moved] if over > 0 else moved


def _picture(title: str, height: float, parts: Sequence[Markup | None]) -> Markup:
    drawing = element("svg", parts, viewBox=f"0 0 {_WIDTH:g} {height:g}", role="img", aria_label=title)
    return element("div", drawing, class_="scroll", tabindex=0, role="region", aria_label=title)
