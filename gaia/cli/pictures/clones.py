"""Draws the correlation of the errors of each two miners, which shows copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from gaia.cli.pictures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALIKE = 0.95
"""Correlation of errors that two independent models hardly reach."""
_MOST_NUMBERED = 16

Matrix = NDArray[np.float64]


def order_of(alike: Matrix) -> list[int]:
    """Return an order of the miners that puts those with similar errors side by side.

    Groups are merged from the most alike to the least, by mean correlation of their members.
    """
    groups = [[place] for place in range(len(alike))]
    means = np.where(np.eye(len(alike), dtype=bool), -np.inf, alike)
    while len(groups) > 1:
        one, other = sorted(divmod(int(np.argmax(means)), len(groups)))
        sizes = len(groups[one]), len(groups[other])
        merged = (means[one] * sizes[0] + means[other] * sizes[1]) / sum(sizes)
        means[one], means[:, one] = merged, merged
        means[one, one] = -np.inf
        means = np.delete(np.delete(means, other, 0), other, 1)
        groups[one] += groups.pop(other)
    return groups[0] if groups else []


def groups_of(alike: Matrix, least: float = ALIKE) -> list[list[int]]:
    """Return groups of neighbours in which each correlates by `least` or more with the one before."""
    groups: list[list[int]] = []
    for place in range(len(alike)):
        if groups and alike[place, place - 1] >= least:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [group for group in groups if len(group) > 1]


def draw(alike: Matrix, names: Sequence[str], title: str, subtitle: str) -> Figure:
    """Draw the correlations (miner, miner); `names` has the same order."""
    order = order_of(alike)
    sorted_alike, labels = alike[np.ix_(order, order)], [names[place] for place in order]
    count = len(labels)
    side = min(9.0, max(3.6, 0.42 * count))
    width, height = side + 3.0, side + 2.5
    figure = style.a_figure(max(width, 7.0), height)
    width, _ = figure.get_size_inches()
    axes = figure.add_axes((1.55 / width, 1.35 / height, side / width, side / height))
    # Errors of opposite sign correlate below 0, and are no more alike than those that do not correlate.
    lowest = min(0.0, float(np.floor(10.0 * np.nanmin(sorted_alike, initial=0.0)) / 10.0))
    image = axes.imshow(sorted_alike, cmap="inferno", vmin=lowest, vmax=1.0)
    axes.set_xticks(range(count), labels, rotation=90)
    axes.set_yticks(range(count), labels)
    axes.tick_params(length=0, labelsize=min(9.0, 240 / max(count, 1)), labelcolor=style.INK)
    for edge in axes.spines.values():
        edge.set_visible(False)
    if count <= _MOST_NUMBERED:
        for (i, j), value in np.ndenumerate(sorted_alike):
            axes.text(
                j,
                i,
                f"{value + 0.0:.2f}".replace("-0.00", "0.00"),
                ha="center",
                va="center",
                size=8,
                color="white" if value < 0.6 else style.INK,
            )
    found = groups_of(sorted_alike)
    for group in found:
        corner = group[0] - 0.5
        axes.add_patch(
            Rectangle(
                (corner, corner), len(group), len(group), fill=False, edgecolor="#56B4E9", linewidth=2.2
            )
        )
    bar = figure.add_axes(((1.55 + side + 0.2) / width, 1.35 / height, 0.14 / width, side / height))
    scale = figure.colorbar(image, cax=bar)
    scale.outline.set_visible(False)
    bar.tick_params(length=0, labelsize=8.5)
    bar.set_ylabel("correlation of errors", size=9, color=style.GREY)
    style.head(figure, title, subtitle, 0.3)
    if found:
        style.foot(figure, f"framed: neighbours whose errors correlate by {ALIKE} or more", 0.3)
    return figure
