"""Plays a local subnet to its end, with one fault of its validator after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from campaigns.state_faults.reading import Reading, read
from gaia.localnet.options import MINER_TIMEOUT_S, Options, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.validator.app.children.embedded_postgres import embedded_dsn

if TYPE_CHECKING:
    from gaia.localnet.view.watch import Progress

_LOOK_EVERY_S = 0.05
_HURTS = (b'"event": "step_postponed"', b'"event": "step_failed"')
"""Log events of failed steps: a failure of ours, or any other."""


class Stuck(Exception):
    """The subnet did not make enough progress in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Size of a campaign."""

    days: int
    miners: int = 4
    kills: int
    free_kills: int
    """Whether the clock stands still during later kills, so that work is left for further faults."""
    signer_stopped_s: float
    locked_s: float
    settings: Mapping[str, float | str] = field(default_factory=dict)
    """Settings of the validator that differ from a rehearsal's."""
    patience_s: float = 300.0
    """Seconds that a subnet may take, without its faults."""


LONG = Form(days=3, kills=40, free_kills=40, signer_stopped_s=60.0, locked_s=66.0)
SHORT = Form(
    days=1,
    kills=40,
    free_kills=8,
    signer_stopped_s=8.0,
    locked_s=6.0,
    settings={"chain_timeout_s": 3.0, "database_timeout_s": 2.0},
)


class FaultySubnet(LocalSubnet):
    """A local subnet whose validator has the settings of a campaign."""

    def __init__(self, state_dir: Path, options: Options, chosen: Mapping[str, float | str]) -> None:
        super().__init__(state_dir, options)
        self._chosen = dict(chosen)

    def start_validator(self) -> None:
        if self.settings is not None:
            # At DEBUG no repeated line is withheld, so that `Scene.waits` counts each failed step.
            self.settings = self.settings.model_copy(update={**self._chosen, "log_level": "DEBUG"})
        super().start_validator()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Data that a fault needs: the running subnet, and its random numbers."""

    subnet: FaultySubnet
    form: Form
    random: Random
    patience: float
    lost_runs: set[str] = field(default_factory=set)
    """Runs that can no longer be completed, because their time passed while the validator was away."""

    def is_over(self, progress: Progress) -> bool:
        """Return whether every run that can be completed is, and is part of the weights on chain."""
        return progress.is_complete(self.form.days - len(self.lost_runs))

    @property
    def dsn(self) -> str:
        return embedded_dsn(data_dir(self.subnet.state_dir))

    async def until(self, reached: Callable[[Progress], bool], *, at_work: bool = False) -> Progress:
        """Watch the subnet until `reached`.

        Parameters
        ----------
        at_work
            Whether it must happen before the last run is completed.

        Raises
        ------
        ChildFailed
            If a process of the subnet ends.
        Stuck
            If that takes too long or is no longer possible.
        """
        ends_at = time.monotonic() + self.form.patience_s * self.patience
        while True:
            self.subnet.check()
            progress = await self.subnet.progress()
            if reached(progress):
                return progress
            if time.monotonic() > ends_at or (at_work and len(progress.completed_ids) >= self.form.days):
                raise Stuck(f"the subnet came no further than {_said(progress)}")
            await asyncio.sleep(_LOOK_EVERY_S)

    def waits(self) -> int:
        """Return the number of steps that failed so far."""
        log = (self.subnet.state_dir / "logs" / "validator.log").read_bytes()
        return sum(map(log.count, _HURTS))


Fault = Callable[[Scene], Awaitable[dict[str, Any]]]
"""Function that injects a fault, and returns its figures when it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Result of a subnet."""

    reading: Reading
    figures: dict[str, Any]
    seconds: float


async def play(
    state_dir: Path,
    form: Form,
    faults: Mapping[str, Fault],
    seed: int,
    patience: float,
    kind: type[FaultySubnet] = FaultySubnet,
) -> Played:
    """Play one subnet of honest miners to its end, with `faults` in turn.

    Parameters
    ----------
    seed
        Decides the times and targets of faults; weather and miners are always the same.
    patience
        Factor on all time limits for a busy machine.
    kind
        The subnet, if its services are others.

    Raises
    ------
    ChildFailed
        If a process of the subnet ends unexpectedly.
    Stuck
        If a fault or the subnet does not end in time.
    """
    begun = time.monotonic()
    chosen = {"miner_timeout_s": MINER_TIMEOUT_S * patience, **form.settings}
    figures: dict[str, Any] = {}
    async with kind(state_dir, Options(miners=form.miners, days=form.days, seed=5), chosen) as subnet:
        await subnet.start()
        scene = Scene(subnet=subnet, form=form, random=Random(seed), patience=patience)
        for name, fault in faults.items():
            waits = scene.waits()
            found = await fault(scene)
            figures[name] = found | {"waits": scene.waits() - waits}
        await scene.until(scene.is_over)
        reading = await read(scene.dsn, form.patience_s * patience)
    return Played(reading=reading, figures=figures, seconds=time.monotonic() - begun)


def steps_done(progress: Progress) -> int:
    """Return the progress of the runs, as one number that only grows: answers, freezes, scored leads."""
    forecasts = progress.forecasts
    moved = sum(forecast.state != "planned" for forecast in forecasts)
    frozen = sum(forecast.frozen for forecast in forecasts)
    return moved + frozen + sum(len(each.leads) + (each.day1 is not None) for each in forecasts)


def _said(progress: Progress) -> str:
    states = [f"{forecast.run_id} {forecast.state}" for forecast in progress.forecasts]
    return f"{', '.join(states) or 'its start'}; {steps_done(progress)} steps done"
