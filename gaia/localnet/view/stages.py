"""Stages of a local subnet, and the time spent in each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaia.localnet.view.watch import Progress


class Stage(StrEnum):
    """Stages of a local subnet, in order."""

    START = "start"
    ASK = "ask"
    DAY1 = "day1"
    ERA5 = "era5"
    WEIGHTS = "weights"
    DONE = "done"


TITLES: Mapping[Stage, str] = {
    Stage.START: "Start chain, archives, miners and validator",
    Stage.ASK: "Ask miners and freeze what they sign",
    Stage.DAY1: "Score day 1 against the GFS analysis",
    Stage.ERA5: "Score each lead as ERA5 is published",
    Stage.WEIGHTS: "Set weights and read them back",
}


def stage_of(progress: Progress, wanted_runs: int) -> Stage:
    """Return the stage of the open runs: first-day scores, then manifests, then ERA5.

    `wanted_runs` is the number of runs that must be completed before the last weights.
    """
    if progress.is_complete(wanted_runs):
        return Stage.DONE
    if not progress.runs:
        return Stage.START
    if len(progress.completed_ids) >= wanted_runs:
        return Stage.WEIGHTS
    completed = set(progress.completed_ids)
    states = {forecast.state for forecast in progress.forecasts if forecast.run_id not in completed}
    if "frozen" in states:
        return Stage.DAY1
    return Stage.ASK if states & {"planned", "requested"} else Stage.ERA5


class Stopwatch:
    """Adds up the real seconds spent in each stage; a stage may recur.

    `now` is in monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.stage = Stage.START
        self._started = now
        self._since = now
        self._spent: dict[Stage, float] = {}

    def enter(self, stage: Stage, now: float) -> None:
        """Note that `stage` begins at `now`."""
        self._spent = self.seconds(now)
        self.stage, self._since = stage, now

    def seconds(self, now: float) -> dict[Stage, float]:
        """Return the seconds spent in each stage so far, including the present one."""
        spent = dict(self._spent)
        if self.stage is not Stage.DONE:
            spent[self.stage] = spent.get(self.stage, 0.0) + now - self._since
        return spent

    def total(self, now: float) -> float:
        return now - self._started
