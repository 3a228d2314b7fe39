"""Draws skill by lead time, one panel per field, with the public forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from statistics import fmean
from typing import TYPE_CHECKING

from gaia.cli.pictures import style
from gaia.cli.pictures.scorecard import baseline_mse
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.utils.significance import half_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gaia.validator.db.rows import ComponentRow

_PUBLIC = {
    "gfs": ("GFS", (0, (5, 2)), "D"),
    "persistence": ("persistence", (0, (1, 1.5)), "s"),
    "blend": ("blend", (0, (5, 2, 1, 2)), "^"),
}
"""Baseline -> label, dashes, and the marker of a curve of one lead."""
_COLUMNS = 3
_LOWEST = -0.25
_WIDER = 1.8
"""Points by which a line is wider than that of the next better miner."""

Curve = Mapping[int, Sequence[float]]
"""Lead in hours -> the skill in each run, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Skills against climatology of one field."""

    field: str
    miners: Mapping[str, Curve]
    """Hotkey -> curve."""
    baselines: Mapping[str, Curve]


def curves_of(components: Sequence[ComponentRow], field: str) -> Curves:
    """Return the plain MSE skill against climatology of all miners and baselines at final leads.

    A baseline is included where a row holds its error. Day-1 leads are used only if there are
    no others, because their truth differs.
    """
    miners: dict[str, dict[int, list[float]]] = {}
    baselines: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for row in components:
        usual = baseline_mse(row, "climatology")
        if row.field != field or not usual:
            continue
        lead, skill = row.lead_hours, 1.0 - row.mse / usual
        if isfinite(skill) and row.kind == LeadKind.FINAL:
            miners.setdefault(row.hotkey, {}).setdefault(lead, []).append(skill)
        for name in _PUBLIC:
            public = baseline_mse(row, name)
            if public is not None:
                # Every miner's row holds the same value for a baseline: it counts once per run.
                baselines.setdefault((name, row.kind), {}).setdefault(lead, {})[row.run_id] = (
                    1.0 - public / usual
                )
    return Curves(
        field=field,
        miners=miners,
        baselines={
            name: {lead: list(of.values()) for lead, of in curve.items()}
            for name in _PUBLIC
            if (curve := baselines.get((name, LeadKind.FINAL)) or baselines.get((name, LeadKind.DAY1)))
        },
    )


def draw(panels: Sequence[Curves], shown: Mapping[str, str], title: str, subtitle: str) -> Figure:
    """Draw all panels; the miners in `shown` (hotkey to label, best first) get a colour."""
    columns = 2 if len(panels) == 4 else min(_COLUMNS, len(panels))
    rows = ceil(len(panels) / columns)
    width, height = 0.75 + columns * 3.5 + 0.35, 1.25 + rows * 2.7 + 0.55
    figure = style.a_figure(width, height)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.35 / width,
        top=1 - 1.3 / height,
        bottom=0.75 / height,
        wspace=0.12,
        hspace=0.42,
    )
    flat = [each for row in axes for each in row]
    for place, panel in enumerate(panels):
        _draw_panel(flat[place], panel, list(shown))
    flat[0].set_ylim(_least(panels, list(shown)), 1.03)
    for spare in flat[len(panels) :]:
        spare.set_visible(False)
    for each in axes[:, 0]:
        each.set_ylabel("skill", size=9, color=style.GREY)
    for place, each in enumerate(flat[: len(panels)]):
        each.tick_params(labelbottom=True)
        if place >= len(panels) - columns:
            each.set_xlabel("lead time, days", size=9, color=style.GREY)
    _key(figure, panels, shown)
    style.head(figure, title, subtitle)
    below = hidden_below(panels, flat[0].get_ylim()[0])
    words = f"; miners below the axis, and not or only partly seen: {below}" if below else ""
    style.foot(figure, f"1: perfect, 0: climatology; bars: 95 % intervals over runs{words}")
    return figure


def hidden_below(panels: Sequence[Curves], lowest: float) -> int:
    """Return how many miners have a mean below the lower end of the axis at some lead of some field."""
    return len(
        {
            hotkey
            for panel in panels
            for hotkey, curve in panel.miners.items()
            if min(_points(curve)[1], default=lowest) < lowest
        }
    )


def _draw_panel(axes: Axes, panel: Curves, shown: Sequence[str]) -> None:
    style.quiet(axes)
    axes.set_title(style.field_title(panel.field), loc="left", size=10.5, weight="bold", color=style.INK)
    axes.axhline(0.0, color=style.INK, linewidth=0.9)
    for hotkey, curve in panel.miners.items():
        if hotkey not in shown:
            axes.plot(*_points(curve), color="#bdbdbd", linewidth=0.9, zorder=1)
    for name, curve in panel.baselines.items():
        days, means = _points(curve)
        _, dashes, lone = _PUBLIC[name]
        marker = lone if len(days) == 1 else ""
        axes.plot(
            days,
            means,
            color=style.INK,
            linewidth=1.3,
            linestyle=dashes,
            marker=marker,
            markersize=4,
            zorder=3,
        )
    # The best comes last and is the thinnest, so that a copy with the same curve shows on both sides of it.
    for place, (hotkey, colour) in reversed(list(enumerate(zip(shown, style.COLOURS, strict=False)))):
        curve = panel.miners.get(hotkey, {})
        if curve:
            days, means = _points(curve)
            widths = [half_width(curve[lead]) or 0.0 for lead in sorted(curve)]
            axes.errorbar(
                days,
                means,
                yerr=widths,
                color=colour,
                linewidth=1.6 + _WIDER * place,
                marker="o",
                markersize=3.2 + _WIDER * place,
                elinewidth=0.9 + _WIDER / 2 * place,
                zorder=4,
            )


def _least(panels: Sequence[Curves], shown: Sequence[str]) -> float:
    """Return the lower end of the axis, which ignores the worst of the other miners."""
    curves = [panel.miners[hotkey] for panel in panels for hotkey in shown if hotkey in panel.miners]
    curves += [curve for panel in panels for curve in panel.baselines.values()]
    lowest = min([mean for curve in curves for mean in _points(curve)[1]], default=0.0)
    return max(_LOWEST, min(lowest, 0.0) - 0.08)


def _points(curve: Curve) -> tuple[list[float], list[float]]:
    leads = sorted(curve)
    return [lead / 24 for lead in leads], [fmean(curve[lead]) for lead in leads]


def _key(figure: Figure, panels: Sequence[Curves], shown: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=colour, linewidth=1.8, marker="o", markersize=3.5, label=label)
        for label, colour in zip(shown.values(), style.COLOURS, strict=False)
    ]
    if any(len(panel.miners) > len(shown) for panel in panels):
        lines.append(Line2D([], [], color="#bdbdbd", linewidth=1.2, label="other miners"))
    public = [name for name in _PUBLIC if any(name in panel.baselines for panel in panels)]
    for name in public:
        label, dashes, marker = _PUBLIC[name]
        lone = all(len(panel.baselines.get(name, {})) <= 1 for panel in panels)
        lines.append(
            Line2D(
                [],
                [],
                color=style.INK,
                linewidth=1.3,
                linestyle=dashes,
                marker=marker if lone else "",
                markersize=4,
                label=label,
            )
        )
    _, height = figure.get_size_inches()
    figure.legend(
        handles=lines, loc="upper left", bbox_to_anchor=(0.5 / figure.get_size_inches()[0] - 0.005, 1 - 0.7 / height),
        ncols=len(lines), frameon=False, fontsize=8.5, handlelength=2.2, columnspacing=1.4,
    )  # fmt: skip
