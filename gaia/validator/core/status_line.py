"""Makes the `status` line of the log, which says whether all is well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gaia.validator.core.status.troubles import Trouble, troubles_of
from gaia.validator.db import queries
from gaia.validator.db.failures import DatabaseFailure
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.chain.metagraph import Metagraph

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import MetagraphView
    from gaia.validator.core.status.facts import Facts
    from gaia.validator.db.connection import Database

_PHASES: Final = {
    ForecastState.PLANNED: "asking miners",
    ForecastState.REQUESTED: "freezing manifests",
    ForecastState.FROZEN: "awaiting GFS",
    ForecastState.SCORED_DAY1: "awaiting ERA5",
}
"""State -> what a run does whose forecasts have come no further."""


class PoolView(Protocol):
    """Read access to the compute pool."""

    @property
    def queue_depth(self) -> int: ...

    @property
    def busy(self) -> int: ...

    @property
    def healthy_seats(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the status line is made of, at one moment."""

    now: datetime
    metagraph: Metagraph | None
    """The newest metagraph; None before the first."""
    troubles: Sequence[Trouble]
    """What is wrong, the worst first."""
    states: Mapping[str, Mapping[str, int]] | None
    """Open run, oldest first -> state -> number of forecasts; None: the database could not be read."""
    next_due: datetime | None
    """When the tasks have work again, as far as known."""
    queued: int
    leased: int
    healthy_seats: int
    seats: int
    """Number of seats that should be healthy; 0: unknown, as on a cluster."""
    lines_logged: Mapping[str, int]
    """Level -> number of lines that this process has logged."""


class StatusLine(msgspec.Struct, frozen=True, kw_only=True):
    """The values of the status line, in their order."""

    health: str
    """ "ok", or what is wrong, the worst first."""
    now: datetime
    run: str | None
    """The newest open run."""
    phase: str
    """What that run does."""
    open_runs: int
    forecasts: dict[str, int]
    """State -> number of forecasts of open runs."""
    next_due: datetime | None
    block: int | None
    neurons: int | None
    weights_age_blocks: int | None
    """Number of blocks since our last weights; None if unknown or never set."""
    queued: int
    leased: int
    healthy_seats: int
    seats: int
    errors_logged: int
    """Number of errors that this process has logged."""
    warnings_logged: int


class StatusReader:
    """Reads the situation of a running IO-Engine.

    Parameters
    ----------
    facts
        Returns everything that is known about the validator.
    seats
        Returns the number of compute workers that the settings want.
    lines_logged
        Returns level -> number of lines that this process has logged.
    """

    def __init__(
        self,
        database: Database,
        metagraph: MetagraphView,
        pool: PoolView,
        facts: Callable[[], Awaitable[Facts]],
        *,
        seats: Callable[[], int],
        lines_logged: Callable[[], Mapping[str, int]],
    ) -> None:
        self._database = database
        self._metagraph = metagraph
        self._pool = pool
        self._facts = facts
        self._seats = seats
        self._lines_logged = lines_logged

    async def line(self, now: datetime, next_due: datetime | None) -> StatusLine:
        """Return the status line, also while the database fails."""
        facts = await self._facts()
        return status_line(
            Situation(
                now=now,
                metagraph=self._metagraph.latest(),
                troubles=troubles_of(facts),
                states=None if facts.work is None else await self._states(),
                next_due=next_due,
                queued=self._pool.queue_depth,
                leased=self._pool.busy,
                healthy_seats=self._pool.healthy_seats,
                seats=self._seats(),
                lines_logged=self._lines_logged(),
            )
        )

    async def _states(self) -> Mapping[str, Mapping[str, int]] | None:
        try:
            return await self._database.run(queries.states_of_open_runs)
        except DatabaseFailure:
            return None  # the facts of the next line will say why


def status_line(situation: Situation) -> StatusLine:
    """Return the status line of a situation."""
    metagraph, total = situation.metagraph, {str(state): 0 for state in _PHASES}
    open_runs = situation.states or {}
    for states in open_runs.values():
        for state, count in states.items():
            total[state] = total.get(state, 0) + count
    logged = situation.lines_logged
    return StatusLine(
        health="; ".join(trouble.problem for trouble in situation.troubles) or "ok",
        now=situation.now,
        run=next(reversed(list(open_runs)), None),
        phase=_phase(situation),
        open_runs=len(open_runs),
        forecasts=total,
        next_due=situation.next_due,
        block=metagraph.block if metagraph is not None else None,
        neurons=len(metagraph.neurons) if metagraph is not None else None,
        weights_age_blocks=_weights_age(metagraph),
        queued=situation.queued,
        leased=situation.leased,
        healthy_seats=situation.healthy_seats,
        seats=situation.seats,
        errors_logged=logged.get("error", 0),
        warnings_logged=logged.get("warning", 0),
    )


def phase_of(states: Mapping[str, int]) -> str:
    """Return what a run does that has these numbers of forecasts: what its last forecast waits for.

    >>> phase_of({"requested": 2, "scored_day1": 7})
    'freezing manifests'
    """
    return next((phase for state, phase in _PHASES.items() if states.get(state)), "completing")


def _phase(situation: Situation) -> str:
    """Return the phase of the newest open run."""
    if situation.states is None:
        return "unknown"
    newest = list(situation.states)[-1:]
    return phase_of(situation.states[newest[0]]) if newest else "no run is open"


def _weights_age(metagraph: Metagraph | None) -> int | None:
    """Return the number of blocks since our last weights; None if unknown or never set."""
    own = metagraph.own if metagraph is not None else None
    return metagraph.block - own.last_update if metagraph is not None and own and own.last_update else None
