"""Draws the leaderboard: each miner's mean over its recent runs, with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import TYPE_CHECKING

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, date2num
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import ScaledTranslation

from gaia.cli.pictures import style
from gaia.validator.utils.significance import half_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gaia.validator.db.rows import OverallRow

_BESIDE = 4.0
"""Offset between coloured lines, in points of the paper."""
_MOST_MARKED = 7


@dataclass(frozen=True, slots=True)
class Standing:
    """A miner's mean over the window that ends with a given run."""

    moment: datetime
    mean: float
    half_width: float | None
    """Half width of the 95 % interval."""


def standings(rows: Sequence[OverallRow], window: timedelta) -> dict[str, list[Standing]]:
    """Return hotkey -> the miner's standing after each run that counted for it.

    Parameters
    ----------
    rows
        Overall scores of one rule set, oldest first.
    window
        Time before a run during which earlier runs count with it.
    """
    earned: dict[str, list[tuple[datetime, float]]] = {}
    for row in rows:
        if row.counted:
            earned.setdefault(row.hotkey, []).append((row.init_time, row.overall))
    found: dict[str, list[Standing]] = {}
    for hotkey, scores in earned.items():
        for moment, _ in scores:
            recent = [score for when, score in scores if moment - window < when <= moment]
            found.setdefault(hotkey, []).append(Standing(moment, fmean(recent), half_width(recent)))
    return found


def draw(
    board: Mapping[str, Sequence[Standing]], shown: Mapping[str, str], title: str, subtitle: str
) -> Figure:
    """Draw all miners; those in `shown` (hotkey to label, best first) get a colour, bars and a name."""
    figure = style.a_figure(9.6, 5.4)
    axes = figure.add_axes((0.075, 0.13, 0.74, 0.71))
    style.quiet(axes)
    for hotkey, line in board.items():
        if hotkey not in shown:
            axes.plot(_days(line), [each.mean for each in line], color="#c9c9c9", linewidth=0.9, zorder=1)
    _draw_shown(axes, board, list(shown))
    _name_lines(axes, [board[hotkey][-1].mean for hotkey in shown], list(shown.values()))
    _mark_runs(axes, sorted({each.moment for line in board.values() for each in line}))
    axes.set_ylabel("mean overall score", size=9, color=style.GREY)
    axes.set_xlabel("initial time of the run", size=9, color=style.GREY)
    style.head(figure, title, subtitle)
    return figure


def _draw_shown(axes: Axes, board: Mapping[str, Sequence[Standing]], shown: Sequence[str]) -> None:
    """Draw the coloured lines, each shifted on the paper so that no bar hides another.

    Only the drawing is shifted; the dates stay the same.
    """
    paper = axes.figure.dpi_scale_trans
    for place, (hotkey, colour) in enumerate(zip(shown, style.COLOURS, strict=False)):
        line, beside = board[hotkey], _BESIDE * (place - (len(shown) - 1) / 2)
        axes.errorbar(
            _days(line),
            [each.mean for each in line],
            yerr=[each.half_width or 0.0 for each in line],
            transform=axes.transData + ScaledTranslation(beside / 72, 0, paper),
            color=colour,
            linewidth=1.7,
            marker="o",
            markersize=3.2,
            elinewidth=0.9,
            zorder=3 + len(shown) - place,
        )
    # An interval from two runs can be many times wider than the spread of the miners: it may leave the picture.
    means = [each.mean for hotkey in shown for each in board[hotkey]]
    margin = 0.25 * ((max(means) - min(means)) or 0.1)
    axes.set_ylim(min(means) - margin, max(means) + margin)


def _mark_runs(axes: Axes, moments: Sequence[datetime]) -> None:
    """Mark each run on the axis if there are few, else let matplotlib choose the days."""
    days = [float(date2num(moment)) for moment in moments]  # type: ignore[no-untyped-call]
    # Shifted lines do not change the limits of the axis.
    margin = max(0.5, 0.03 * (days[-1] - days[0]))
    axes.set_xlim(days[0] - margin, days[-1] + margin)
    if len(moments) > _MOST_MARKED:
        locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        return
    axes.xaxis.set_major_locator(FixedLocator(days))
    axes.xaxis.set_major_formatter(DateFormatter("%b %d, %HZ", tz=UTC))  # type: ignore[no-untyped-call]


def _name_lines(axes: Axes, ends: Sequence[float], names: Sequence[str]) -> None:
    low, high = axes.get_ylim()
    places = style.spread(list(ends), (high - low) * 0.047)
    for name, place, colour in zip(names, places, style.COLOURS, strict=False):
        axes.annotate(
            name,
            (1.015, place),
            xycoords=("axes fraction", "data"),
            size=9,
            color=colour,
            va="center",
            weight="bold",
        )


def _days(line: Sequence[Standing]) -> list[float]:
    return [float(date2num(each.moment)) for each in line]  # type: ignore[no-untyped-call]
