"""Draws maps in the Equal Earth projection, with coastlines from a data file of this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patches import Polygon
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COASTLINES = Path(__file__).parents[1] / "data" / "coastlines.json"
_A = (1.340264, -0.081106, 0.000893, 0.003796)
_M = np.sqrt(3.0) / 2.0
_STEPS = 12

Values = NDArray[np.floating]


def project(longitudes: Values, latitudes: Values) -> tuple[Values, Values]:
    """Return (x, y) of points in degrees, longitudes within -180..180.

    References
    ----------
    Savric, B., Patterson, T., Jenny, B. (2019), The Equal Earth map projection,
    International Journal of Geographical Information Science 33, 454-465.
    """
    theta = np.arcsin(_M * np.sin(np.radians(latitudes)))
    return np.radians(longitudes) * np.cos(theta) / (_M * _slope(theta)), _height(theta)


def unproject(x: Values, y: Values) -> tuple[Values, Values]:
    """Return (longitudes, latitudes) in degrees of points of the map; NaN beyond its edge."""
    theta = np.asarray(y, np.float64) / 1.2
    for _ in range(_STEPS):
        theta = theta - (_height(theta) - y) / _slope(theta)
    sine = np.sin(theta) / _M
    longitudes = np.degrees(_M * x * _slope(theta) / np.cos(theta))
    beyond = (np.abs(sine) > 1.0) | (np.abs(longitudes) > 180.0)
    latitudes = np.broadcast_to(np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))), beyond.shape)
    return np.where(beyond, np.nan, longitudes), np.where(beyond, np.nan, latitudes)


def edges() -> tuple[float, float]:
    """Return the largest x and the largest y of the map."""
    x, _ = project(np.array([180.0]), np.array([0.0]))
    _, y = project(np.array([0.0]), np.array([90.0]))
    return float(x[0]), float(y[0])


def sampled(field: Values, columns: int = 1600) -> Values:
    """Return an image (row, column), north first, of a field (lat 90..-90, lon 0..360-d); NaN beyond the edge."""
    largest_x, largest_y = edges()
    rows = round(columns * largest_y / largest_x)
    x = np.linspace(-largest_x, largest_x, columns)[None, :]
    y = np.linspace(largest_y, -largest_y, rows)[:, None]
    longitudes, latitudes = unproject(x, y)
    inside = np.isfinite(longitudes)
    values = _interpolated(field, np.where(inside, longitudes, 0.0), np.where(inside, latitudes, 0.0))
    return np.where(inside, values, np.nan)


def _interpolated(field: Values, longitudes: Values, latitudes: Values) -> Values:
    """Return the field interpolated bilinearly, with longitudes going round the globe."""
    step = 360.0 / field.shape[1]
    down, east = (90.0 - latitudes) / step, (longitudes % 360.0) / step
    i = np.clip(np.floor(down).astype(int), 0, field.shape[0] - 2)
    j = np.floor(east).astype(int) % field.shape[1]
    south, right = down - i, east - np.floor(east)
    next_j = (j + 1) % field.shape[1]
    north_row = field[i, j] * (1 - right) + field[i, next_j] * right
    south_row = field[i + 1, j] * (1 - right) + field[i + 1, next_j] * right
    return np.asarray(north_row * (1 - south) + south_row * south, np.float64)


def draw_frame(axes: Axes, colour: str) -> None:
    """Draw coastlines, faint meridians and parallels, and the edge of the map."""
    largest_x, largest_y = edges()
    axes.set_xlim(-largest_x * 1.01, largest_x * 1.01)
    axes.set_ylim(-largest_y * 1.02, largest_y * 1.02)
    axes.set_aspect("equal")
    axes.set_axis_off()
    parallels, meridians = np.linspace(-90.0, 90.0, 181), np.linspace(-180.0, 180.0, 181)
    grid = [project(np.full(181, float(longitude)), parallels) for longitude in range(-120, 180, 60)]
    grid += [project(meridians, np.full(181, float(latitude))) for latitude in range(-60, 90, 30)]
    coasts = [project(*np.asarray(line, np.float64).T) for line in json.loads(COASTLINES.read_text())]
    for lines, width, alpha in ((grid, 0.3, 0.35), (coasts, 0.6, 1.0)):
        points = [np.column_stack(line) for line in lines]
        axes.add_collection(LineCollection(points, colors=colour, linewidths=width, alpha=alpha))
    east = np.column_stack(project(np.full(181, 180.0), parallels))
    west = np.column_stack(project(np.full(181, -180.0), parallels[::-1]))
    axes.add_patch(Polygon(np.vstack([east, west]), fill=False, edgecolor=colour, linewidth=0.9))


def _height(theta: Values) -> Values:
    a, b, c, d = _A
    return np.asarray(theta * (a + b * theta**2 + theta**6 * (c + d * theta**2)))


def _slope(theta: Values) -> Values:
    a, b, c, d = _A
    return np.asarray(a + 3 * b * theta**2 + theta**6 * (7 * c + 9 * d * theta**2))
