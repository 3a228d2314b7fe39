"""The leaderboard over time: each miner's mean over its recent runs, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from gaia.cli import style
from gaia.cli.significance import half_width
from gaia.validator.db.history import Row


@dataclass(frozen=True, slots=True)
class Standing:
    """A miner's mean over the window that ends with one run."""

    moment: datetime
    mean: float
    half_width: float | None
    """Of the 95 % interval."""


def standings(rows: Sequence[Row], window: timedelta) -> dict[str, list[Standing]]:
    """Return each miner's standing after every run that counted for it, by hotkey.

    Parameters
    ----------
    rows
        Overall scores of one rule set, oldest first.
    window
        Runs so long before a run count with it.
    """
    earned: dict[str, list[tuple[datetime, float]]] = {}
    for row in rows:
        if row["counted"]:
            earned.setdefault(row["hotkey"], []).append((row["init_time"], row["overall"]))
    found: dict[str, list[Standing]] = {}
    for hotkey, scores in earned.items():
        for moment, _ in scores:
            recent = [score for when, score in scores if moment - window < when <= moment]
            found.setdefault(hotkey, []).append(Standing(moment, fmean(recent), half_width(recent)))
    return found


def draw(
    board: Mapping[str, Sequence[Standing]], shown: Mapping[str, str], title: str, subtitle: str
) -> Figure:
    """Draw all miners; those in `shown`, hotkey to label, best first, get a colour, bars and a name."""
    figure = style.a_figure(9.6, 5.4)
    axes = figure.add_axes((0.075, 0.13, 0.74, 0.71))
    style.quiet(axes)
    for hotkey, line in board.items():
        if hotkey not in shown:
            axes.plot(_days(line), [each.mean for each in line], color="#c9c9c9", linewidth=0.9, zorder=1)
    _draw_shown(axes, board, list(shown))
    _name_lines(axes, [board[hotkey][-1].mean for hotkey in shown], list(shown.values()))
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_ylabel("mean overall score", size=9, color=style.GREY)
    axes.set_xlabel("initial time of the run", size=9, color=style.GREY)
    style.head(figure, title, subtitle)
    return figure


def _draw_shown(axes: Axes, board: Mapping[str, Sequence[Standing]], shown: Sequence[str]) -> None:
    """Draw the coloured lines, each a little beside the others, so that no bar hides another."""
    days = sorted({day for hotkey in shown for day in _days(board[hotkey])})
    step = min((later - earlier for earlier, later in pairwise(days)), default=1.0)
    for place, (hotkey, colour) in enumerate(zip(shown, style.COLOURS, strict=False)):
        line, shift = board[hotkey], 0.4 * step * ((place + 0.5) / len(shown) - 0.5)
        axes.errorbar(
            [day + shift for day in _days(line)],
            [each.mean for each in line],
            yerr=[each.half_width or 0.0 for each in line],
            color=colour,
            linewidth=1.7,
            marker="o",
            markersize=3.2,
            elinewidth=0.9,
            zorder=3 + len(shown) - place,
        )
    # An interval from two runs can be many times the spread of the miners: it may leave the picture.
    means = [each.mean for hotkey in shown for each in board[hotkey]]
    margin = 0.25 * ((max(means) - min(means)) or 0.1)
    axes.set_ylim(min(means) - margin, max(means) + margin)


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
