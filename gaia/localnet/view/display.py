"""Shows a local subnet to people: stages, miners and scores while it runs, then the ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gaia.localnet.population import Behaviour, MinerSpec
from gaia.localnet.view.stages import TITLES, Stage
from gaia.localnet.view.watch import ForecastProgress, Progress

_STATE_STYLES = {"scored": "green", "rejected": "red", "excused": "yellow"}
_DASH = "-"
_MOST_ROWS = 30
_WIDE = 110
"""Cells that the whole ranking needs."""
_COLUMNS = ("rank", "uid", "hotkey", "miner", "day 1", "leads", "overall", "weight", "verdict")
_WORDS = {"hotkey", "miner", "verdict"}
_DISPENSABLE = frozenset({"rank", "hotkey", "leads"})
"""Columns that a narrow ranking does without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All data that is shown at one moment."""

    stage: Stage
    seconds: Mapping[Stage, float]
    total_s: float
    simulated: datetime | None
    progress: Progress
    specs: Mapping[str, MinerSpec]
    """Hotkey -> miner; empty until the miners serve."""
    wanted_runs: int


class Display(Protocol):
    """Interface of a display: a context manager that shows views."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, view: View) -> None: ...


class LiveDisplay:
    """Redraws the view in place, on a terminal; the last view stays if the run did not come to its end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.transient = kind is None
        self._live.stop()

    def show(self, view: View) -> None:
        self._live.update(picture_of(view), refresh=True)


class PlainDisplay:
    """Prints a line for each change, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing, because a plain display leaves nothing to restore."""

    def show(self, view: View) -> None:
        line = line_of(view)
        if line != self._last:
            self._last = line
            self._console.print(
                f"{view.total_s:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True
            )


def line_of(view: View) -> str:
    """Return one line about a view, without values that change every second."""
    parts = [str(view.stage)]
    if view.progress.runs:
        run = _current_run(view.progress)
        forecasts = view.progress.of_run(run)
        parts.append(f"run {run}")
        parts.append(_count(forecasts))
        scored = sum(len(forecast.leads) for forecast in forecasts)
        parts.append(f"{scored} lead{'' if scored == 1 else 's'} scored")
    if view.stage is Stage.DONE and view.progress.weights is not None:
        parts.append(f"weights in block {view.progress.weights.block}")
    return "; ".join(parts)


def picture_of(view: View) -> RenderableType:
    """Return the drawing of a view: calendar, stages, miners."""
    moment = f"{view.simulated:%Y-%m-%d %H:%M} UTC" if view.simulated else "not started"
    heading = Text.assemble(
        ("Gaia local subnet", "bold"),
        f"   simulated time {moment}   real time {view.total_s:.1f} s   ",
        f"runs completed {len(view.progress.completed_ids)} of {view.wanted_runs}",
    )
    parts: list[RenderableType] = [heading, _stages_table(view)]
    if view.progress.runs:
        parts.append(_miners_table(view, _current_run(view.progress)))
    return Group(*parts)


def final_table(report: Mapping[str, Any], width: int = _WIDE) -> RenderableType:
    """Return the ranking of a report, with the block in which the weights were set.

    Parameters
    ----------
    width
        Cells in a line. With few, what a narrow table can do without is left out. No number is
        cut, and a verdict takes several lines.
    """
    chain = report["chain"]
    run = report["run_ids"][-1] if report["run_ids"] else _DASH
    table = Table(title=f"Run {run}: weights on chain", title_justify="left", title_style="bold")
    left_out = _DISPENSABLE if width < _WIDE else frozenset()
    for name in (column for column in _COLUMNS if column not in left_out):
        table.add_column(
            name, justify="left" if name in _WORDS else "right", no_wrap=name != "verdict", overflow="fold"
        )
    for rank, row in enumerate(report["miners"], start=1):
        cells: dict[str, str | Text] = {
            "rank": str(rank),
            "uid": str(row["uid"]),
            "hotkey": _short(row["hotkey"]),
            "miner": _label(row["behaviour"], row["skill"]),
            "day 1": _number(row["day1"]),
            "leads": str(len(row["leads"])),
            "overall": _number(row["overall"]),
            "weight": f"{row['weight']:.4f}",
            "verdict": _verdict(row["verdict"], row["reason"], is_whole=True),
        }
        table.add_row(*(cell for name, cell in cells.items() if name not in left_out))
    burnt = max(0.0, 1.0 - sum(row["weight"] for row in report["miners"]))
    ending = (
        f"Set in block {chain['block']} (extrinsic {chain['extrinsic']}) and read back from the chain; "
        f"{burnt:.2%} of the weight is burnt."
        if chain["block"] is not None
        else "No weights were set."
    )
    return Group(table, Text(ending))


def _current_run(progress: Progress) -> str:
    """Return the id of the newest unfinished run, else of the newest run."""
    living = [run.run_id for run in progress.runs if not run.completed]
    return living[-1] if living else progress.runs[-1].run_id


def _stages_table(view: View) -> Table:
    table = Table.grid(padding=(0, 2))
    reached = list(Stage).index(view.stage)
    for place, (stage, title) in enumerate(TITLES.items()):
        spent = view.seconds.get(stage)
        mark, style = ("done", "green") if place < reached else ("", "dim")
        if place == reached:
            mark, style = "now", "bold"
        table.add_row(
            Text(mark, style), Text(title, style), Text("" if spent is None else f"{spent:.1f} s", style)
        )
    return table


def _miners_table(view: View, run_id: str) -> Table:
    table = Table(title=f"Run {run_id}", title_justify="left")
    table.add_column("uid", justify="right")
    table.add_column("miner")
    table.add_column("state")
    for name in ("day 1", "leads", "overall"):
        table.add_column(name, justify="right")
    forecasts = view.progress.of_run(run_id)
    ranked = sorted(forecasts, key=lambda forecast: (-(forecast.overall or 0.0), forecast.uid))
    for forecast in ranked[:_MOST_ROWS]:
        spec = view.specs.get(forecast.hotkey)
        table.add_row(
            str(forecast.uid),
            _label(spec.behaviour, spec.skill) if spec else _short(forecast.hotkey),
            _verdict(forecast.state, forecast.reason),
            _number(forecast.day1),
            str(len(forecast.leads)),
            _number(forecast.overall),
        )
    if len(ranked) > _MOST_ROWS:
        table.caption = f"and {len(ranked) - _MOST_ROWS} more"
    return table


def _count(forecasts: Iterable[ForecastProgress]) -> str:
    counts: dict[str, int] = {}
    for forecast in forecasts:
        counts[forecast.state] = counts.get(forecast.state, 0) + 1
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "no miners"


def _label(behaviour: str, skill: float) -> str:
    return f"{behaviour} {skill:.2f}" if behaviour == Behaviour.HONEST else str(behaviour)


def _verdict(state: str, reason: str, *, is_whole: bool = False) -> Text:
    """Return a verdict with its reason, cut to one line unless `is_whole`."""
    text = Text(state, _STATE_STYLES.get(state, ""))
    if not is_whole:
        text.no_wrap, text.overflow = True, "ellipsis"
    return text.append(f": {reason}", "dim") if reason else text


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.4f}"


def _short(hotkey: str) -> str:
    return f"{hotkey[:8]}..{hotkey[-4:]}"
