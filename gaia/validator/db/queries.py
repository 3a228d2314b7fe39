"""Reads and writes of the engine: runs, forecasts, reference sets and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gaia.validator.db.statements import SQL
from gaia.validator.db.states import ForecastState
from gaia.validator.db.storable import storable, storable_text
from gaia.validator.utils.identities import Hotkey, RunId

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One forecast cycle for all miners."""

    run_id: RunId
    init_time: datetime
    rule_set: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One miner's forecast in one run, with the data that its next step needs."""

    run_id: RunId
    hotkey: Hotkey
    uid: int
    registered_at: int
    state: ForecastState
    opened_at: datetime
    attempts: int
    next_at: datetime
    job_id: str | None
    manifest_sha256: str | None
    window_ends_at: datetime | None
    """End of the freeze window if our absence moved it; else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedForecast:
    """State of a forecast that a transaction has locked."""

    state: ForecastState
    has_contract: bool
    """Whether the contract of its run is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """Fields of one source at one time, or the time of the next attempt."""

    ready: bool
    attempts: int
    retry_at: datetime | None
    missed_since: datetime | None
    given_up_at: datetime | None
    fields: Mapping[str, Mapping[str, str]]
    """Files of the set, also while it is fetched again."""


async def recorded_init_times(connection: Connection, since: datetime) -> set[datetime]:
    """Return the initial times of all recorded runs from `since` on."""
    rows = await connection.fetch(SQL["recorded_init_times"], since)
    return {row["init_time"] for row in rows}


async def open_run(connection: Connection, run: Run, miners: Sequence[tuple[str, int, int]]) -> bool:
    """Open `run` with one planned forecast per miner (hotkey, uid, registered_at); return False if it existed."""
    opened = await connection.fetchval(
        SQL["open_run"], run.run_id, run.init_time, run.rule_set, run.opened_at
    )
    if opened is None:
        return False
    hotkeys, uids, blocks = (list(column) for column in zip(*miners, strict=True))
    await connection.execute(SQL["plan_forecasts"], run.run_id, hotkeys, uids, blocks, run.opened_at)
    return True


async def open_runs(connection: Connection) -> list[Run]:
    """Return the open runs, oldest first."""
    return [Run(**row) for row in await connection.fetch(SQL["open_runs"])]


async def due_forecasts(
    connection: Connection, run_id: RunId, states: Sequence[str], now: datetime
) -> list[Forecast]:
    """Return the forecasts of a run in `states` that are due at `now`."""
    rows = await connection.fetch(SQL["due_forecasts"], run_id, list(states), now)
    return [Forecast(**{**row, "state": ForecastState(row["state"])}) for row in rows]


async def forecasts_named(connection: Connection, run_id: RunId, hotkeys: Sequence[Hotkey]) -> list[Forecast]:
    """Return the forecasts of `hotkeys` in a run, whatever their state."""
    rows = await connection.fetch(SQL["forecasts_named"], run_id, list(hotkeys))
    return [Forecast(**{**row, "state": ForecastState(row["state"])}) for row in rows]


async def due_states(connection: Connection, states: Sequence[str], now: datetime) -> dict[str, set[str]]:
    """Return open run -> states among `states` with due forecasts; one cheap query per tick."""
    due: dict[str, set[str]] = {}
    for row in await connection.fetch(SQL["due_states"], list(states), now):
        due.setdefault(row["run_id"], set()).add(row["state"])
    return due


async def manifests_of(connection: Connection, forecasts: Sequence[Forecast]) -> dict[tuple[str, str], bytes]:
    """Return (run_id, hotkey) -> bytes of the frozen manifest of each forecast; "{}" if none is frozen."""
    wanted = [each.run_id for each in forecasts], [each.hotkey for each in forecasts]
    rows = await connection.fetch(SQL["manifests"], *wanted)
    return {(row["run_id"], row["hotkey"]): row["manifest"] or b"{}" for row in rows}


async def advance_forecast(
    connection: Connection,
    forecast: Forecast,
    moves: Mapping[str, str],
    now: datetime,
    reason: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> str | None:
    """Change a forecast's state by `moves` (source -> target); return the new state, or None if unchanged.

    `reason` and `evidence` may quote a miner: characters that cannot be stored are replaced, and long texts cut.
    """
    state: str | None = await connection.fetchval(
        SQL["advance_forecast"],
        forecast.run_id,
        forecast.hotkey,
        list(moves),
        list(moves.values()),
        None if reason is None else storable_text(reason),
        None if evidence is None else storable(evidence),
        now,
    )
    return state


async def lock_forecast(connection: Connection, forecast: Forecast) -> LockedForecast:
    """Lock a forecast until the end of the transaction; return its state."""
    row = await connection.fetchrow(SQL["lock_forecast"], forecast.run_id, forecast.hotkey)
    assert row is not None
    return LockedForecast(state=ForecastState(row["state"]), has_contract=row["has_contract"])


async def settle_forecast(
    connection: Connection, forecast: Forecast, source: str, target: str, now: datetime
) -> None:
    """Change the state of a locked forecast from `source` to `target`, which may be the same."""
    await connection.execute(SQL["settle_forecast"], forecast.run_id, forecast.hotkey, source, target, now)


async def record_job(connection: Connection, forecast: Forecast, job_id: str) -> None:
    """Store the job that a miner accepted while it was planned, and the end of its freeze window if that was moved."""
    await connection.execute(
        SQL["record_job"], forecast.run_id, forecast.hotkey, job_id, forecast.window_ends_at
    )


async def record_manifest(
    connection: Connection,
    forecast: Forecast,
    content: bytes,
    signature: bytes,
    sha256: str,
    *,
    now: datetime,
    asked_at: datetime,
    signed_by: str | None = None,
) -> None:
    """Freeze a manifest at `now`; `asked_at` is the start of its polling round.

    `signed_by` is the hotkey that signed it if the miner was asked under another one.
    """
    await connection.execute(
        SQL["record_manifest"],
        forecast.run_id,
        forecast.hotkey,
        content,
        signature,
        sha256,
        now,
        asked_at,
        signed_by,
    )


async def postpone_forecast(
    connection: Connection, forecast: Forecast, attempts: int, next_at: datetime
) -> None:
    """Store the next attempt at `next_at`, and the end of the freeze window if it was moved.

    A forecast that has left the state of `forecast` meanwhile stays as it is.
    """
    await connection.execute(
        SQL["postpone_forecast"],
        forecast.run_id,
        forecast.hotkey,
        attempts,
        next_at,
        forecast.window_ends_at,
        forecast.state,
    )


async def next_attention(connection: Connection, states: Sequence[str], now: datetime) -> datetime | None:
    """Return the next due moment after `now` of a postponed forecast; None if there is none."""
    moment: datetime | None = await connection.fetchval(SQL["next_attention"], list(states), now)
    return moment


async def count_forecasts(connection: Connection) -> dict[str, int]:
    """Return state -> number of forecasts in open runs."""
    rows = await connection.fetch(SQL["count_forecasts"])
    return {row["state"]: row["count"] for row in rows}


async def states_of_open_runs(connection: Connection) -> dict[str, dict[str, int]]:
    """Return open run, oldest first -> state -> number of its forecasts."""
    runs: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(SQL["states_of_open_runs"]):
        states = runs.setdefault(row["run_id"], {})
        if row["state"] is not None:
            states[row["state"]] = row["count"]
    return runs


async def complete_run(connection: Connection, run_id: RunId, living: Sequence[str], now: datetime) -> bool:
    """Complete a run without forecasts in the `living` states; return whether it was completed."""
    done = await connection.fetchval(SQL["complete_run"], run_id, now, list(living))
    return done is not None


async def read_reference(connection: Connection, reference_id: str) -> ReferenceSet | None:
    """Return a reference set; None if it is unknown."""
    row = await connection.fetchrow(SQL["read_reference"], reference_id)
    if row is None:
        return None
    return ReferenceSet(
        ready=row["ready"],
        attempts=row["attempts"],
        retry_at=row["retry_at"],
        missed_since=row["missed_since"],
        given_up_at=row["given_up_at"],
        fields=row["fields"] or {},
    )


async def record_reference(
    connection: Connection, reference_id: str, digest: str, fields: Mapping[str, Any]
) -> None:
    """Store a prepared reference set."""
    await connection.execute(SQL["record_reference"], reference_id, digest, fields)


async def withdraw_reference(connection: Connection, reference_id: str, error: str) -> None:
    """Mark a reference set as missing, because of `error`."""
    await connection.execute(SQL["withdraw_reference"], reference_id, storable_text(error))


async def postpone_reference(
    connection: Connection,
    reference_id: str,
    *,
    attempts: int,
    retry_at: datetime,
    error: str,
    missed_since: datetime,
    given_up_at: datetime | None,
) -> None:
    """Store a failed attempt at a reference set, and the time of the next one."""
    await connection.execute(
        SQL["postpone_reference"],
        reference_id,
        attempts,
        retry_at,
        storable_text(error),
        missed_since,
        given_up_at,
    )


async def record_lead(
    connection: Connection,
    forecast: Forecast,
    rule_set: str,
    kind: str,
    lead_hours: int,
    score: float,
    *,
    now: datetime,
    reason: str | None = None,
    cpu_s: float | None = None,
) -> None:
    """Store the score of one lead; `cpu_s` is its cost, `reason` why nothing was scored."""
    await connection.execute(
        SQL["record_lead"],
        forecast.run_id,
        forecast.hotkey,
        rule_set,
        kind,
        lead_hours,
        score,
        None if reason is None else storable_text(reason),
        cpu_s,
        now,
    )


async def lead_scores(
    connection: Connection, run_id: RunId, rule_set: str
) -> dict[str, dict[tuple[str, int], float]]:
    """Return all lead scores of a run: hotkey -> (kind, lead_hours) -> score."""
    scores: dict[str, dict[tuple[str, int], float]] = {}
    for row in await connection.fetch(SQL["lead_scores"], run_id, rule_set):
        scores.setdefault(row["hotkey"], {})[row["kind"], row["lead_hours"]] = row["score"]
    return scores


async def lead_scores_of(
    connection: Connection, forecast: Forecast, rule_sets: Sequence[str]
) -> dict[str, dict[tuple[str, int], float]]:
    """Return the lead scores of one forecast: rule set -> (kind, lead_hours) -> score."""
    scores: dict[str, dict[tuple[str, int], float]] = {}
    rows = await connection.fetch(SQL["lead_scores_of"], forecast.run_id, forecast.hotkey, list(rule_sets))
    for row in rows:
        scores.setdefault(row["rule_set"], {})[row["kind"], row["lead_hours"]] = row["score"]
    return scores


async def record_score(
    connection: Connection,
    forecast: Forecast,
    rule_set: str,
    *,
    day1: float | None,
    leads: Mapping[int, float],
    overall: float,
    counted: bool,
    now: datetime,
) -> None:
    """Store the overall score of a forecast under one rule set, in place of an earlier one."""
    await connection.execute(
        SQL["record_score"],
        forecast.run_id,
        forecast.hotkey,
        rule_set,
        day1,
        {str(lead): score for lead, score in sorted(leads.items())},
        overall,
        counted,
        now,
    )
