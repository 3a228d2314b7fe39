"""Makes the `status` line of the log, which says whether all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from gaia.validator.db import history, queries
from gaia.validator.db.failures import DatabaseFailure
from gaia.validator.db.rows import IncidentRow, VectorInDoubt
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.ipc_types import Metagraph

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import MetagraphView
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.settings.chain import ChainSettings
    from gaia.validator.utils.settings.weights import WeightsSettings

LATE_INTERVALS: Final = 3
"""Weights are late if this number of intervals has passed without any."""
DOUBT_AFTER: Final = timedelta(hours=1)
"""A vector in doubt is no trouble before; it may be under way."""

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
    interval_blocks: int
    """Number of blocks between two settings of weights."""
    signs_weights: bool
    """False in a dry run, which never sets weights."""
    states: Mapping[str, Mapping[str, int]]
    """Open run, oldest first -> state -> number of forecasts."""
    incidents: Sequence[IncidentRow]
    doubts: Sequence[VectorInDoubt]
    next_due: datetime | None
    """When the tasks have work again, as far as known."""
    queued: int
    leased: int
    healthy_seats: int
    seats: int
    """Number of seats that should be healthy; 0: unknown, as on a cluster."""
    lines_logged: Mapping[str, int]
    """Level -> number of lines that this process has logged."""
    overdue: Sequence[str] = ()
    """Periodic jobs whose last success is too long ago."""
    database_failure: str = ""
    """Why the database could not be read; runs, incidents and doubts are then unknown."""


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
        chain: ChainSettings,
        weights: WeightsSettings,
        *,
        seats: Callable[[], int],
        lines_logged: Callable[[], Mapping[str, int]],
    ) -> None:
        self._database = database
        self._metagraph = metagraph
        self._pool = pool
        self._signs_weights = not chain.dry_run
        self._interval_blocks = weights.weights_interval_blocks
        self._seats = seats
        self._lines_logged = lines_logged

    async def line(self, now: datetime, next_due: datetime | None, overdue: Sequence[str] = ()) -> StatusLine:
        """Return the status line, also while the database fails."""
        metagraph = self._metagraph.latest()
        stored, failure = _Stored({}, [], []), ""
        try:
            stored = await self._database.run(_read)
        except DatabaseFailure as error:
            failure = str(error)
        return status_line(
            Situation(
                now=now,
                metagraph=metagraph,
                interval_blocks=max(self._interval_blocks, metagraph.weights_rate_limit if metagraph else 0),
                signs_weights=self._signs_weights,
                next_due=next_due,
                overdue=overdue,
                queued=self._pool.queue_depth,
                leased=self._pool.busy,
                healthy_seats=self._pool.healthy_seats,
                seats=self._seats(),
                lines_logged=self._lines_logged(),
                states=stored.states,
                incidents=stored.incidents,
                doubts=stored.doubts,
                database_failure=failure,
            )
        )


def status_line(situation: Situation) -> StatusLine:
    """Return the status line of a situation."""
    metagraph, total = situation.metagraph, {str(state): 0 for state in _PHASES}
    for states in situation.states.values():
        for state, count in states.items():
            total[state] = total.get(state, 0) + count
    logged = situation.lines_logged
    return StatusLine(
        health="; ".join(troubles(situation)) or "ok",
        now=situation.now,
        run=next(reversed(list(situation.states)), None),
        phase=_phase(situation),
        open_runs=len(situation.states),
        forecasts=total,
        next_due=situation.next_due,
        block=metagraph.block if metagraph is not None else None,
        neurons=len(metagraph.neurons) if metagraph is not None else None,
        weights_age_blocks=_weights_age(metagraph),
        queued=situation.queued,
        leased=situation.leased,
        healthy_seats=situation.healthy_seats,
        seats=situation.seats,
        errors_logged=logged.get("error", 0) + logged.get("critical", 0),
        warnings_logged=logged.get("warning", 0),
    )


def troubles(situation: Situation) -> list[str]:
    """Return what is wrong, the worst first; an empty list if all is well."""
    found = [situation.database_failure] if situation.database_failure else []
    metagraph, age = situation.metagraph, _weights_age(situation.metagraph)
    if metagraph is None:
        found.append("the chain was not read yet")
    elif not any(each.uid == metagraph.own_uid and each.validator_permit for each in metagraph.neurons):
        found.append("our hotkey has no validator permit")
    found += [f"{one.party} fails since {one.began_at:%Y-%m-%d %H:%MZ}" for one in situation.incidents]
    found += [f"{job} is overdue" for job in situation.overdue]
    if situation.signs_weights and age is not None and age > LATE_INTERVALS * situation.interval_blocks:
        found.append(f"weights are {age} blocks old")
    if situation.healthy_seats < situation.seats:
        found.append(f"{situation.healthy_seats} of {situation.seats} compute seats are healthy")
    lasting = [one for one in situation.doubts if situation.now - one.intended_at > DOUBT_AFTER]
    if lasting:
        found.append(f"{len(lasting)} weight vectors are in doubt")
    return found


def phase_of(states: Mapping[str, int]) -> str:
    """Return what a run does that has these numbers of forecasts: what its last forecast waits for.

    >>> phase_of({"requested": 2, "scored_day1": 7})
    'freezing manifests'
    """
    return next((phase for state, phase in _PHASES.items() if states.get(state)), "completing")


def _phase(situation: Situation) -> str:
    """Return the phase of the newest open run."""
    if situation.database_failure:
        return "unknown"
    newest = list(situation.states)[-1:]
    return phase_of(situation.states[newest[0]]) if newest else "no run is open"


def _weights_age(metagraph: Metagraph | None) -> int | None:
    """Return the number of blocks since our last weights; None if unknown or never set."""
    if metagraph is None:
        return None
    own = next((each for each in metagraph.neurons if each.uid == metagraph.own_uid), None)
    return metagraph.block - own.last_update if own is not None and own.last_update else None


class _Stored(NamedTuple):
    states: Mapping[str, Mapping[str, int]]
    incidents: Sequence[IncidentRow]
    doubts: Sequence[VectorInDoubt]


async def _read(connection: Connection) -> _Stored:
    return _Stored(
        await queries.states_of_open_runs(connection),
        await history.incidents(connection),
        await history.vectors_in_doubt(connection),
    )
