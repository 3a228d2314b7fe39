"""Metrics of what the database holds: runs, forecasts, truths, scores, vectors in doubt and incidents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.dues import TRUTHS, next_dues, truths_of, valid_time_of
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.validator.app.observation.registry import gauge
from gaia.validator.core.weights.setting import MECHANISM
from gaia.validator.db import facts, history, queries
from gaia.validator.db.facts import RunFacts, SourceFacts, VectorFacts
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.tallies import OTHER

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.settings.handed import WeatherSettings

PARTIES: Final = ("chain", "gates", "weights", OTHER)
"""Parties of incidents; those without a name of their own share one."""
STATISTICS: Final = ("p10", "median", "p90")
_NONE: Final = float("nan")

_CLOCK = gauge(
    "gaia_clock_timestamp_seconds",
    "The validator's calendar, which a rehearsal simulates; times of runs and truths are told by it.",
)
_RUNS_ACTIVE = gauge("gaia_weather_runs_active", "Weather runs that are not completed.")
_OLDEST_RUN = gauge(
    "gaia_weather_oldest_open_run_age_seconds",
    "Age of the oldest open run since it was opened; 0: none is open.",
)
_LAST_RUN = gauge(
    "gaia_weather_last_run_opened_timestamp_seconds", "Time at which the newest run was opened; 0: never."
)
_FORECASTS = gauge("gaia_weather_forecasts", "Forecasts of active runs, by state.", state=list(ForecastState))
_SCORES = {
    LeadKind.DAY1: gauge(
        "gaia_weather_score_day1",
        "Spread of the miners' mean scores on day 1 in the newest run that has any; NaN: none has.",
        statistic=STATISTICS,
    ),
    LeadKind.FINAL: gauge(
        "gaia_weather_score_era5_final",
        "Spread of the miners' mean scores against ERA5 in the newest run that has any; NaN: none has.",
        statistic=STATISTICS,
    ),
}
_SETS = gauge(
    "gaia_weather_truth_sets",
    "Reference sets that are ready, or awaited from their source.",
    source=list(ReferenceSource),
    state=("ready", "awaited"),
)
_TRUTH_AGE = gauge(
    "gaia_weather_truth_age_seconds",
    "Time since the moment for which the newest truth of a source holds; NaN: there is none.",
    source=TRUTHS,
)
_TRUTH_DUE = gauge(
    "gaia_weather_truth_next_due_timestamp_seconds",
    "Usual time of publication of the first truth that an open run lacks; NaN: none is lacking.",
    source=TRUTHS,
)
_IN_DOUBT = gauge("gaia_weights_vectors_in_doubt", "Journalled weight vectors of unknown outcome.")
_LAST_SET = gauge(
    "gaia_weights_last_set_timestamp_seconds",
    "Time at which weights of ours were last found on chain; 0: never.",
)
_INCIDENTS = gauge("gaia_incident_open", "1 while an incident of the party is open.", party=PARTIES)
_DB_BYTES = gauge("gaia_db_size_bytes", "Size of the database on disk.")


@dataclass(frozen=True, slots=True)
class _Often:
    """What changes within seconds."""

    runs: RunFacts
    forecasts: Mapping[str, int]
    vectors: VectorFacts
    parties: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Seldom:
    """What changes within hours."""

    sources: Mapping[str, SourceFacts]
    dues: Mapping[ReferenceSource, datetime]
    scores: Mapping[str, Mapping[str, float]]
    db_bytes: int


class StoredMetrics:
    """Shows what the database holds, in two looks of one transaction each."""

    def __init__(self, settings: WeatherSettings, netuid: int, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._netuid = netuid
        self._database = database
        self._clock = clock
        self._last_set_epoch: int | None = None
        self._has_looked = False

    async def look_often(self) -> None:
        """Show runs, forecasts, vectors and incidents.

        Raises
        ------
        DatabaseFailure
            If the database failed; the gauges then keep their last values.
        """
        async with self._database.reading() as connection:
            found = _Often(
                await facts.run_facts(connection),
                await queries.count_forecasts(connection),
                await facts.vector_facts(connection, self._netuid, MECHANISM),
                frozenset(row.party for row in await history.incidents(connection)),
            )
        now = self._clock.now()
        _CLOCK.set(now.timestamp())
        _RUNS_ACTIVE.set(found.runs.active)
        oldest, last = found.runs.oldest_opened_at, found.runs.last_opened_at
        _OLDEST_RUN.set((now - oldest).total_seconds() if oldest else 0.0)
        _LAST_RUN.set(last.timestamp() if last else 0.0)
        for state in ForecastState:
            _FORECASTS.labels(state).set(found.forecasts.get(state, 0))
        self._show_vectors(found.vectors)
        for party in PARTIES:
            _INCIDENTS.labels(party).set(party in found.parties)
        _INCIDENTS.labels(OTHER).set(bool(found.parties.difference(PARTIES)))

    async def look_seldom(self) -> None:
        """Show truths, scores and the size of the database.

        Raises
        ------
        DatabaseFailure
            If the database failed; the gauges then keep their last values.
        """
        async with self._database.reading() as connection:
            found = _Seldom(
                await facts.source_facts(connection),
                await self._dues(connection),
                await facts.score_spread(connection, self._settings.weights.rule_set),
                await facts.database_bytes(connection),
            )
        now = self._clock.now()
        for source in ReferenceSource:
            sets = found.sources.get(source)
            _SETS.labels(source, "ready").set(sets.ready if sets else 0)
            _SETS.labels(source, "awaited").set(sets.awaited if sets else 0)
        for source in TRUTHS:
            sets, due = found.sources.get(source), found.dues.get(source)
            newest = sets.newest_truth if sets else None
            age_s = (now - valid_time_of(newest)).total_seconds() if newest else _NONE
            _TRUTH_AGE.labels(source).set(age_s)
            _TRUTH_DUE.labels(source).set(due.timestamp() if due else _NONE)
        for kind, spread in _SCORES.items():
            for statistic in STATISTICS:
                spread.labels(statistic).set(found.scores.get(kind, {}).get(statistic, _NONE))
        _DB_BYTES.set(found.db_bytes)

    async def _dues(self, connection: Connection) -> dict[ReferenceSource, datetime]:
        runs = await queries.open_runs(connection)
        truths = truths_of([run.init_time for run in runs], self._settings.contract, self._settings.sources)
        names = [truth.reference_id for truth in truths]
        return next_dues(truths, await facts.settled_references(connection, names))

    def _show_vectors(self, vectors: VectorFacts) -> None:
        """Show when weights were last set: by the real clock if it happens while we look.

        The journal's moments are those of the calendar, which a rehearsal simulates, and which stands still at its end.
        """
        _IN_DOUBT.set(vectors.in_doubt)
        if not self._has_looked:
            _LAST_SET.set(vectors.last_set_at.timestamp() if vectors.last_set_at is not None else 0)
        elif vectors.last_set_epoch != self._last_set_epoch and vectors.last_set_at is not None:
            _LAST_SET.set(time.time())
        self._last_set_epoch = vectors.last_set_epoch
        self._has_looked = True
