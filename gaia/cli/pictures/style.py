"""Common style of the pictures: distinguishable colours, plain axes, titles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GREY, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
# Okabe and Ito (2008), Color Universal Design: told apart with any colour vision. Yellow is too faint for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f5fc0", "#8c6d31")
_DPI = 160


def a_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` by `height` inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def head(figure: Figure, title: str, subtitle: str, left: float = 0.5) -> None:
    """Write the title and, below it, the data that the picture shows; `left` is in inches."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - 0.38 / height, title, size=14, weight="bold", color=INK, va="baseline")
    figure.text(left / width, 1 - 0.62 / height, subtitle, size=9.5, color=GREY, va="baseline")


def foot(figure: Figure, text: str, left: float = 0.5) -> None:
    """Write below the picture how to read it."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 0.16 / height, text, size=8.5, color=GREY, va="baseline")


def quiet(axes: Axes, *, grid: str = "y") -> None:
    """Remove needless parts of an axes' frame; `grid` is "x", "y" or ""."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    if grid in ("x", "y"):
        axes.grid(axis="x" if grid == "x" else "y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def field_title(field: str) -> str:
    """Return a field's name in words.

    >>> field_title("z500"), field_title("2t")
    ('geopotential at 500 hPa', '2m temperature')
    """
    variable, level = split_field(field)
    words = VARIABLES[variable].cds_name.replace("_", " ").replace(" component of", "")
    return words if level is None else f"{words} at {level} hPa"


def spread(positions: list[float], least: float) -> list[float]:
    """Return positions moved apart until no two are closer than `least`; their order stays.

    >>> spread([1.0, 1.0, 3.0], 0.5)
    [0.75, 1.25, 3.0]
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    groups: list[tuple[float, list[int]]] = []
    for place in order:
        groups.append((positions[place], [place]))
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], least):
            (one, first), (other, second) = groups[-2:]
            members = first + second
            centre = (one * len(first) + other * len(second)) / len(members)
            groups[-2:] = [(centre, members)]
    moved = list(positions)
    for centre, members in groups:
        for number, place in enumerate(members):
            moved[place] = centre + (number - (len(members) - 1) / 2) * least
    return moved


def save(figure: Figure, path: Path | BinaryIO) -> None:
    """Write a PNG to a path or a stream."""
    metadata: dict[str, object] = {"Software": "gaia"}
    figure.savefig(path, format="png", dpi=_DPI, metadata=metadata)


def _overlap(one: tuple[float, list[int]], other: tuple[float, list[int]], least: float) -> bool:
    return other[0] - one[0] < least * (len(one[1]) + len(other[1])) / 2
