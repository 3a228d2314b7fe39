"""Picture of the database's history; a compute worker draws it for the IO-Engine."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.validator.utils.database_history import DatabaseSample, DrawDatabaseHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MIB = 1 << 20
_DPI = 110
_WIDTH, _HEIGHT = 11.0, 9.0
Point = tuple[float, float]
"""Days since 1970, as the drawing library counts them, and a value."""
Lines = Mapping[str, Sequence[Point]]
"""Label -> points, oldest first."""


def draw_history(payload: Mapping[str, Any]) -> Mapping[str, bytes]:
    """Return the PNG that `payload`, a `DrawDatabaseHistory`, asks for."""
    unit = msgspec.convert(payload, DrawDatabaseHistory)
    # Read when the library is imported, below; a sandboxed worker may write nowhere else.
    os.environ["MPLCONFIGDIR"] = unit.cache_dir
    from gaia.cli.pictures import style

    figure = style.a_figure(_WIDTH, _HEIGHT)
    first, last = (datetime.fromtimestamp(unit.samples[index].at, UTC) for index in (0, -1))
    style.head(figure, "Database and memory", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC")
    for place, (title, lines) in enumerate(_panels(unit).items()):
        _draw(figure, place, title, lines)
    figure.subplots_adjust(left=0.07, right=0.97, top=0.88, bottom=0.06, hspace=0.45, wspace=0.18)
    output = io.BytesIO()
    figure.savefig(output, format="png", dpi=_DPI, metadata={"Software": "gaia"})
    return {"png": output.getvalue()}


def _panels(unit: DrawDatabaseHistory) -> dict[str, Lines]:
    """Return title -> lines of each panel."""
    samples = unit.samples
    return {
        "Sessions": {
            "run a statement": _line(samples, lambda one: one.active),
            "run none": _line(samples, lambda one: one.idle),
            "wait for a lock": _line(samples, lambda one: one.waiting),
        },
        "Time to answer, ms": {"": _line(samples, lambda one: one.answer_s * 1000)},
        "Transactions a second": {"": _rates(samples)},
        "Oldest open transaction, s": {"": _line(samples, lambda one: one.longest_transaction_s)},
        "Size, MiB": {"": _line(samples, lambda one: one.size_bytes / _MIB)},
        "Blocks found in memory, %": {"": _hits(samples)},
        "Private memory, MiB": {
            role: [(_days(one.at), one.private_bytes / _MIB) for one in taken]
            for role, taken in sorted(unit.memory.items())
        },
    }


def _draw(figure: Figure, place: int, title: str, lines: Lines) -> None:
    from gaia.cli.pictures import style

    # The last panel, of the memory, is as wide as two.
    axes: Axes = figure.add_subplot(4, 2, (7, 8) if place == 6 else place + 1)
    style.quiet(axes)
    axes.set_title(title, loc="left", size=10, color=style.INK)
    for (label, points), colour in zip(lines.items(), style.COLOURS, strict=False):
        axes.plot([at for at, _ in points], [value for _, value in points], color=colour, lw=1.3, label=label)
    # The legend stands above the lines.
    axes.set_ylim(0, axes.get_ylim()[1] * (1.35 if len(lines) > 1 else 1.05))
    _name_the_hours(axes)
    if len(lines) > 1:
        axes.legend(loc="upper left", ncols=len(lines), frameon=False, fontsize=8)
    if not any(lines.values()):
        axes.text(0.5, 0.5, "nothing is known yet", transform=axes.transAxes, ha="center", color=style.GREY)


def _name_the_hours(axes: Axes) -> None:
    from matplotlib import dates

    locator = dates.AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call] # its constructor has no types
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call] # likewise


def _line(samples: Sequence[DatabaseSample], value: Callable[[DatabaseSample], float]) -> list[Point]:
    return [(_days(sample.at), value(sample)) for sample in samples]


def _rates(samples: Sequence[DatabaseSample]) -> list[Point]:
    """Return transactions per second between each two samples, without those where the server began anew."""
    return [
        (_days(after.at), (after.transactions - before.transactions) / (after.at - before.at))
        for before, after in pairwise(samples)
        if after.transactions >= before.transactions and after.at > before.at
    ]


def _hits(samples: Sequence[DatabaseSample]) -> list[Point]:
    """Return the share of the blocks read between each two samples that were in memory, in per cent."""
    points = []
    for before, after in pairwise(samples):
        hit, read = after.blocks_hit - before.blocks_hit, after.blocks_read - before.blocks_read
        if hit >= 0 and read >= 0 and hit + read:
            points.append((_days(after.at), 100.0 * hit / (hit + read)))
    return points


def _days(at: float) -> float:
    return at / 86_400.0
