"""Draws the scorecard: variable by lead, hatched where a difference is not significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, sqrt
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import cm, colormaps, colors
from matplotlib.patches import Rectangle

from gaia.cli.pictures import style
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.utils.significance import is_significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gaia.validator.db.rows import ComponentRow

BASELINES = ("climatology", "gfs", "persistence", "blend")
_MOST_NUMBERED = 30
_STRONGEST = 100.0
_BRIGHTNESS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue."""
_DARK, _PALE = 0.52, 0.8

Cell = tuple[str, str, int]
"""(field, kind, lead in hours)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """Error of a miner relative to that of a reference, run by run."""

    values: Mapping[Cell, Sequence[float]]
    """Cell -> one value per run, oldest first: ``100 (1 - rmse / rmse of the reference)``."""
    fields: Sequence[str]
    columns: Sequence[tuple[str, int]]
    """(kind, lead in hours), in order."""


def scorecard(
    components: Sequence[ComponentRow], reference: Sequence[ComponentRow] | str, fields: Sequence[str]
) -> Scorecard:
    """Return the scorecard of one miner.

    Parameters
    ----------
    components
        Components of the miner in all runs, oldest first.
    reference
        Components of another miner, or the name of a baseline.
    fields
        Names of the rows, from the top.
    """
    others = {} if isinstance(reference, str) else {_key(row): row.rmse for row in reference}
    values: dict[Cell, list[float]] = {}
    for row in components:
        mse = baseline_mse(row, reference) if isinstance(reference, str) else None
        rmse = sqrt(mse) if mse else others.get(_key(row))
        if rmse and isfinite(rmse):
            cell = row.field, row.kind, row.lead_hours
            values.setdefault(cell, []).append(100.0 * (1.0 - row.rmse / rmse))
    columns = sorted({cell[1:] for cell in values})
    return Scorecard(
        values=values, fields=[f for f in fields if any(f == c[0] for c in values)], columns=columns
    )


def baseline_mse(row: ComponentRow, baseline: str) -> float | None:
    """Return a baseline's mean squared error, as stored or as implied by the stored skill.

    A skill of gaia-2.9 is that of the forecast minus its mean error. It implies the
    reference's error through ``mse - bias^2``.
    """
    stored: float | None = row.measures.get(f"mse_{baseline}")
    if stored is not None:
        return stored
    skill: float | None = row.measures.get(f"skill_{baseline}")
    if skill is None or skill >= 1.0:
        return None
    return max(0.0, row.mse - row.bias**2) / (1.0 - skill)


def draw(card: Scorecard, title: str, subtitle: str) -> Figure:
    """Draw a scorecard; blue is better than the reference, red worse."""
    rows, columns = len(card.fields), len(card.columns)
    left, right, top, bottom = 1.0, 1.35, 1.15, 0.55
    cell_width, cell_height = 0.72, 0.36 if rows <= _MOST_NUMBERED else 0.2
    width, height = left + columns * cell_width + right, top + rows * cell_height + bottom
    figure = style.a_figure(max(width, 7.2), height)
    width, _ = figure.get_size_inches()
    axes = figure.add_axes(
        (left / width, bottom / height, columns * cell_width / width, rows * cell_height / height)
    )
    means = np.full((rows, columns), np.nan)
    for place, (name, column) in _places(card):
        means[place] = fmean(card.values[(name, *column)])
    limit = _limit(means)
    norm, colour = colors.Normalize(-limit, limit), cm.ScalarMappable(cmap="RdBu")
    colour.set_norm(norm)
    for (i, j), (name, column) in _places(card):
        _draw_cell(axes, i, j, card.values[(name, *column)], norm, numbered=rows <= _MOST_NUMBERED)
    _label(axes, card)
    bar = figure.add_axes(
        (
            (left + columns * cell_width + 0.3) / width,
            bottom / height,
            0.13 / width,
            rows * cell_height / height,
        )
    )
    scale = figure.colorbar(colour, cax=bar)
    scale.outline.set_visible(False)
    bar.tick_params(length=0, labelsize=8.5)
    bar.set_ylabel("smaller error, %", size=9, color=style.GREY)
    style.head(figure, title, subtitle, 0.3)
    style.foot(figure, "blue: smaller error than the reference; hatched: not significant at 95 %", 0.3)
    return figure


def _places(card: Scorecard) -> list[tuple[tuple[int, int], tuple[str, tuple[str, int]]]]:
    return [
        ((i, j), (name, column))
        for i, name in enumerate(card.fields)
        for j, column in enumerate(card.columns)
        if (name, *column) in card.values
    ]


def _draw_cell(
    axes: Axes, i: int, j: int, values: Sequence[float], norm: colors.Normalize, *, numbered: bool
) -> None:
    mean = fmean(values)
    shade = colormaps["RdBu"](norm(mean))
    patch = Rectangle((j, i), 1, 1, facecolor=shade, edgecolor="white", linewidth=1.5)
    axes.add_patch(patch)
    light = sum(share * part for share, part in zip(_BRIGHTNESS, shade[:3], strict=True))
    if not is_significant(values):
        lines = "#ffffff" if light < _PALE else "#a6a6a6"
        hatch = Rectangle((j, i), 1, 1, fill=False, hatch="////", edgecolor=lines, linewidth=0)
        hatch.set_hatch_linewidth(0.7)
        axes.add_patch(hatch)
    if numbered:
        halo = {"boxstyle": "round,pad=0.12", "facecolor": shade, "edgecolor": "none"}
        axes.text(
            j + 0.5, i + 0.5, f"{mean:+.0f}".replace("-", "\u2212"), ha="center", va="center", size=8.5,
            color="white" if light < _DARK else style.INK, bbox=halo,
        )  # fmt: skip


def _label(axes: Axes, card: Scorecard) -> None:
    rows, columns = len(card.fields), len(card.columns)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_yticks(np.arange(rows) + 0.5, card.fields)
    axes.set_xticks(np.arange(columns) + 0.5, [f"{lead} h" for _, lead in card.columns])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9.5 if rows <= _MOST_NUMBERED else 7, labelcolor=style.INK)
    first = sum(kind == LeadKind.DAY1 for kind, _ in card.columns)
    if 0 < first < columns:
        axes.axvline(first, color=style.INK, linewidth=1)
    for start, end, text in ((0, first, "GFS analysis"), (first, columns, "ERA5")):
        if end > start:
            axes.text(
                (start + end) / 2, -0.3 * 72 / 26, text, ha="center", va="bottom", size=8.5, color=style.GREY
            )


def _limit(means: np.ndarray) -> float:
    strongest = float(np.nanmax(np.abs(means))) if np.isfinite(means).any() else 1.0
    return min(_STRONGEST, max(5.0, 5.0 * ceil(strongest / 5.0)))


def _key(row: ComponentRow) -> tuple[str, str, str, int]:
    return row.run_id, row.field, row.kind, row.lead_hours
