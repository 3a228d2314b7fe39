"""No curve of the skill picture is hidden without a word, and what looks different is different."""

from __future__ import annotations

from matplotlib.figure import Figure

from gaia.cli.pictures import skill as draw_skill
from gaia.cli.pictures.skill import Curves

FLAT = {24: [0.5], 48: [0.4]}
SHOWN = {"a": "uid 1", "b": "uid 2"}


def drawn(*panels: Curves) -> Figure:
    figure = draw_skill.draw(panels, SHOWN, "Title", "subtitle")
    figure.canvas.draw()
    return figure


def a_panel(field: str = "2t", **changes: object) -> Curves:
    values: dict[str, object] = {"miners": {"a": FLAT, "b": FLAT}, "baselines": {}}
    return Curves(field=field, **values | changes)  # type: ignore[arg-type] # a test changes any of them


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def test_miner_with_the_curve_of_another_shows_on_both_sides_of_it() -> None:
    widths = [
        line.get_linewidth() for line in drawn(a_panel()).axes[0].get_lines() if line.get_marker() == "o"
    ]

    # The wider one is drawn first, so the better miner's line lies upon it.
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1] + 1


def test_baselines_of_one_lead_have_markers_of_their_own() -> None:
    lone = {name: {24: [0.3]} for name in ("gfs", "persistence", "blend")}

    markers = [str(line.get_marker()) for line in drawn(a_panel(baselines=lone)).axes[0].get_lines()]

    assert {"D", "s", "^"} <= set(markers)


def test_miners_below_the_axis_are_counted() -> None:
    below = {"a": FLAT, "c": {24: [-3.0]}, "d": {24: [0.1], 48: [-2.0]}}

    assert "miners below the axis, and not or only partly seen: 2" in texts(drawn(a_panel(miners=below)))
    assert "below" not in texts(drawn(a_panel()))


def test_every_panel_has_its_lead_times() -> None:
    figure = drawn(*(a_panel(field) for field in ("2t", "msl", "10u", "10v", "z500")))

    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 5
    assert all(any(label.get_visible() for label in axes.get_xticklabels()) for axes in panels)
