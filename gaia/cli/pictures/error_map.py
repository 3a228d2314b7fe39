"""Draws the error of a forecast on a map of the earth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gaia.cli.pictures import earth, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_COVERED = 99.0
"""Percentile of the absolute error at which the colour scale ends."""


def draw(error: NDArray[np.floating], unit: str, title: str, subtitle: str) -> Figure:
    """Draw a field (lat 90..-90, lon 0..360-d) of forecast minus truth."""
    figure = style.a_figure(9.6, 5.9)
    axes = figure.add_axes((0.02, 0.135, 0.96, 0.735))
    limit = _round(float(np.percentile(np.abs(error), _COVERED)))
    x, y = earth.edges()
    image = axes.imshow(
        earth.sampled(error),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(-x, x, -y, y),
        interpolation="nearest",
    )
    earth.draw_frame(axes, style.INK)
    bar = figure.add_axes((0.25, 0.095, 0.5, 0.02))
    scale = figure.colorbar(image, cax=bar, orientation="horizontal", extend="both", extendfrac=0.03)
    scale.outline.set_visible(False)
    bar.tick_params(length=0, labelsize=9)
    bar.set_xlabel(f"forecast minus truth, {unit}", size=9, color=style.GREY)
    style.head(figure, title, subtitle)
    return figure


def _round(value: float) -> float:
    """Return the next of 1, 2, 5, 10 ... that is not below `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9))
