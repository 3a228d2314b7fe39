"""The command plot: reads stored scores and kept fields, writes one PNG file."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import fmean
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.arguments import PICTURES, NotWritten
from gaia.cli.select import NotThere, miner_named, nothing_scored, runs_named
from gaia.validator.db import history
from gaia.validator.db.states import RunState
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gaia.cli.replay.units import StoredUnit
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.history import RunSummary, StoredRun
    from gaia.validator.db.rows import ComponentRow, OverallRow

_COLOURED = 5
_FEWEST_CURVES = 3
_MOST_PANELS = 9


class Album:
    """The chosen runs under one rule set, read when a picture needs them."""

    def __init__(self, source: Source, arguments: argparse.Namespace) -> None:
        async def read(connection: Connection) -> tuple[list[RunSummary], list[OverallRow]]:
            return await history.run_summaries(connection), await history.overall_scores(connection)

        known, scores = source.read(read)
        self.source = source
        self.runs = runs_named(arguments.runs, known)
        self.rule_set: str = arguments.rule_set or self.runs[-1].rule_set
        wanted = {run.run_id for run in self.runs}
        self.scores = [
            row for row in scores if row.run_id in wanted and row.rule_set == self.rule_set and row.counted
        ]
        if not any(run.has_scores for run in self.runs):
            raise nothing_scored(self.runs)
        if not self.scores:
            raise NotThere(f"nothing is scored by {self.rule_set} in these runs yet")

    def stored(self, *, with_manifests: bool = False) -> Iterator[StoredRun]:
        """Yield the runs one by one, oldest first, with the manifests that name the stored fields."""
        for run in self.runs:

            async def read(connection: Connection, wanted: str = run.run_id) -> list[StoredRun]:
                return await history.stored_runs(connection, [wanted], with_manifests=with_manifests)

            yield from self.source.read(read)

    def components(self, hotkey: Hotkey | None = None) -> list[ComponentRow]:
        """Return the components of one miner or of all miners."""
        return [
            row
            for run in self.stored()
            for row in run.components
            if row.rule_set == self.rule_set and hotkey in (None, row.hotkey)
        ]

    def ranking(self) -> list[OverallRow]:
        """Return the newest row of every miner, best mean first; ties by hotkey.

        A miner with finished runs is ranked by these alone, because an open run has scored fewer leads.
        """
        final = _ranked(self.final_scores())
        ranked = {row.hotkey for row in final}
        return final + [row for row in _ranked(self.scores) if row.hotkey not in ranked]

    def final_scores(self) -> list[OverallRow]:
        """Return the overall scores of finished runs."""
        return [row for row in self.scores if row.run_state is not RunState.OPEN]

    def miner(self, name: str | None) -> OverallRow:
        """Return the miner called `name`, or the best one if no name is given."""
        ranking = self.ranking()
        return ranking[0] if name is None else miner_named(name, ranking)

    def labels(self, count: int) -> dict[str, str]:
        """Return the best `count` miners, hotkey to label."""
        return {row.hotkey: label(row) for row in self.ranking()[:count]}

    def description(self) -> str:
        """Return a description of the runs and rules."""
        first, last = self.runs[0].run_id, self.runs[-1].run_id
        spell = f"run {first}" if first == last else f"{len(self.runs)} runs, {first} to {last}"
        still_open = sum(run.is_open for run in self.runs)
        so_far = "" if not still_open else f", {still_open} of them open" if len(self.runs) > 1 else " (open)"
        return f"{spell}{so_far}, rules {self.rule_set}"


def plot(source: Source, arguments: argparse.Namespace) -> int:
    """Draw scorecard, skill, error-map, leaderboard or clones of some runs into a PNG."""
    from gaia.cli.pictures import style

    album = Album(source, arguments)
    figure = figure_of(album, arguments)
    try:
        style.save(figure, arguments.output)
    except OSError as error:
        raise NotWritten(f"{arguments.output} cannot be written: {error.strerror or error}") from error
    width, height = figure.get_size_inches()
    if arguments.json:
        tables.print_json(
            {"picture": arguments.picture, "file": str(arguments.output), "runs": len(album.runs)}
        )
    else:
        tables.print_lines(
            f"{arguments.output}: {arguments.picture}, {album.description()}, {width:.1f} x {height:.1f} in"
        )
    return 0


def figure_of(album: Album, arguments: argparse.Namespace) -> Figure:
    """Return the picture that the arguments of `gaia plot` ask for."""
    return _PICTURES[arguments.picture](album, arguments)


def png_of(album: Album, arguments: argparse.Namespace) -> bytes:
    """Return the same picture as the content of a PNG file."""
    from gaia.cli.pictures import style

    content = io.BytesIO()
    style.save(figure_of(album, arguments), content)
    return content.getvalue()


def _ranked(scores: Sequence[OverallRow]) -> list[OverallRow]:
    earned: dict[str, list[OverallRow]] = {}
    for row in scores:
        earned.setdefault(row.hotkey, []).append(row)
    order = sorted(earned, key=lambda hotkey: (-fmean(row.overall for row in earned[hotkey]), hotkey))
    return [earned[hotkey][-1] for hotkey in order]


def label(row: OverallRow) -> str:
    """Return a miner's name in a picture."""
    return f"uid {row.uid} {row.hotkey[:5]}"


def _scorecard(album: Album, arguments: argparse.Namespace) -> Figure:
    from gaia.cli.pictures import scorecard as draw_scorecard

    miner = album.miner(arguments.miner)
    components = album.components(miner.hotkey)
    if not components:
        raise NotThere(f"no lead of {label(miner)} was scored in these runs")
    reference: Sequence[ComponentRow] | str = arguments.against
    against = {"gfs": "GFS"}.get(arguments.against, arguments.against)
    if arguments.against not in draw_scorecard.BASELINES:
        other = album.miner(arguments.against)
        reference, against = album.components(other.hotkey), label(other)
    fields = _fields(album, arguments)
    components = [row for row in components if row.field in fields]
    if not components:
        raise NotThere(f"{' and '.join(fields)} of {label(miner)} was not scored in these runs")
    card = draw_scorecard.scorecard(components, reference, fields)
    if not card.columns:
        raise NotThere(f"the errors of {against} are not stored with these scores")
    title = f"RMSE of {label(miner)} against {against}"
    return draw_scorecard.draw(card, title, f"{album.description()}; smaller error in %")


def _skill(album: Album, arguments: argparse.Namespace) -> Figure:
    from gaia.cli.pictures import skill as draw_skill

    components = album.components()
    panels = [draw_skill.curves_of(components, field) for field in _fields(album, arguments)]
    panels = [panel for panel in panels if panel.miners][:_MOST_PANELS]
    if not panels:
        raise NotThere("no lead is scored against ERA5 there yet")
    shown = album.labels(_FEWEST_CURVES)
    if arguments.miner:
        chosen = album.miner(arguments.miner)
        shown = {chosen.hotkey: label(chosen)}
    return draw_skill.draw(panels, shown, "MSE skill against climatology", album.description())


def _error_map(album: Album, arguments: argparse.Namespace) -> Figure:
    import numpy as np

    from gaia.cli.pictures import error_map as draw_map
    from gaia.cli.pictures.style import field_title
    from gaia.cli.replay.kept_fields import mean_error
    from gaia.cli.replay.units import pool
    from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field

    miner = album.miner(arguments.miner)
    fields = _fields(album, arguments)
    of_runs = [
        (run.summary.init_time, stored)
        for run in album.stored(with_manifests=True)
        for stored in _units_of(run, album, {miner.hotkey})
    ]
    units = [stored for _, stored in of_runs]
    scored = {name for stored in units for name in stored.unit.fields}
    field = next((name for name in fields if name in scored), None)
    if field is None:
        raise NotThere(f"{' and '.join(fields)} of {label(miner)} was not scored in these runs")
    leads = sorted({stored.unit.lead_hours for stored in units if field in stored.unit.fields})
    lead = arguments.lead or leads[-1]
    valid = [
        (init_time + timedelta(hours=lead), stored)
        for init_time, stored in of_runs
        if stored.unit.lead_hours == lead and field in stored.unit.fields
    ]
    if not valid:
        raise NotThere(f"{field} was not scored at +{lead} h; scored are {', '.join(map(str, leads))}")
    with pool(1, album.source.data_dir) as executor:
        error = mean_error(executor, [stored for _, stored in valid], field)
    weights = np.broadcast_to(np.cos(np.radians(np.linspace(90, -90, error.shape[0])))[:, None], error.shape)
    unit_name = VARIABLES[split_field(field)[0]].unit
    rmse = float(np.sqrt(np.average(error.astype(np.float64) ** 2, weights=weights)))
    bias = float(np.average(error.astype(np.float64), weights=weights))
    word = "Error" if len(valid) == 1 else f"Mean error over {len(valid)} runs"
    title = f"{word} of {label(miner)}: {field_title(field)}, +{lead} h"
    times = f"valid {_spell([moment for moment, _ in valid])}"
    return draw_map.draw(
        error,
        unit_name,
        title,
        f"{album.description()}; {times}; root mean square {rmse:.3g} {unit_name}, mean {bias:+.2g} {unit_name}",
    )


def _spell(moments: Sequence[datetime]) -> str:
    """Return the first and the last moment in words; one if they are the same."""
    first, last = (f"{moment:%Y-%m-%d %HZ}" for moment in (min(moments), max(moments)))
    return first if first == last else f"{first} to {last}"


def _leaderboard(album: Album, _arguments: argparse.Namespace) -> Figure:
    from gaia.cli.pictures import leaderboard as draw_leaderboard

    final = album.final_scores()
    if not final:
        raise NotThere("none of these runs is finished, and the leaderboard shows finished runs only")
    days = album.source.settings.weights.weights_window_days
    board = draw_leaderboard.standings(final, timedelta(days=days))
    left_out = ", which are left out" if any(run.is_open for run in album.runs) else ""
    subtitle = f"{album.description()}{left_out}; mean over {days:g} days, bars: 95 % intervals"
    shown: dict[str, str] = {row.hotkey: label(row) for row in _ranked(final)[:_COLOURED]}
    return draw_leaderboard.draw(board, shown, "Leaderboard", subtitle)


def _clones(album: Album, arguments: argparse.Namespace) -> Figure:
    from gaia.cli.pictures import clones as draw_clones
    from gaia.cli.replay.kept_fields import mean_correlation
    from gaia.cli.replay.units import pool

    miners = sorted(album.ranking(), key=lambda row: row.uid)
    hotkeys = [row.hotkey for row in miners]
    groups: dict[tuple[str, str, int], dict[str, StoredUnit]] = {}
    for run in album.stored(with_manifests=True):
        for unit in _units_of(run, album, set(hotkeys)):
            hotkey, _, kind, lead = unit.keys[0]
            if arguments.lead in (None, lead):
                groups.setdefault((run.summary.run_id, kind, lead), {})[hotkey] = unit
    # If no lead was scored for all of them, only the miners that missed no lead are compared.
    whole = [group for group in groups.values() if group.keys() >= set(hotkeys)]
    if groups and not whole:
        hotkeys = [hotkey for hotkey in hotkeys if all(hotkey in group for group in groups.values())]
        whole = list(groups.values())
    if len(hotkeys) < 2:
        raise NotThere(
            f"miners with a score at every lead of these runs: {len(hotkeys)}; two are needed to compare"
        )
    with pool(arguments.workers or 2, album.source.data_dir) as executor:
        alike = mean_correlation(executor, [[group[hotkey] for hotkey in hotkeys] for group in whole])
    names = {row.hotkey: label(row) for row in miners}
    subtitle = f"{album.description()}; {tables.counted(len(whole), 'lead')}"
    return draw_clones.draw(
        alike, [names[hotkey] for hotkey in hotkeys], "Miners whose errors are alike", subtitle
    )


_PICTURES = {
    "scorecard": _scorecard,
    "skill": _skill,
    "error-map": _error_map,
    "leaderboard": _leaderboard,
    "clones": _clones,
}
assert tuple(_PICTURES) == PICTURES


def _units_of(run: StoredRun, album: Album, hotkeys: set[str]) -> list[StoredUnit]:
    from gaia.cli.replay.units import InputMissing, units_of

    try:
        return units_of(run, album.source.data_dir, hotkeys, album.rule_set)
    except InputMissing as error:
        raise NotThere(str(error)) from error


def _fields(album: Album, arguments: argparse.Namespace) -> list[str]:
    """Return the requested fields, else all scored fields of these runs, the newest run's first."""
    if arguments.field:
        return list(arguments.field)
    contracts = [run.contract for run in reversed(album.runs) if run.contract is not None]
    fields = list(dict.fromkeys(field for contract in contracts for field in contract.fields))
    if not fields:
        raise NotThere("what these runs were scored in was not recorded; name it with --field")
    return fields
