"""What the engine reads and writes: runs, forecasts, reference fields and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gaia.validator.db.statements import SQL
from gaia.validator.db.states import ForecastState
from gaia.validator.db.storable import storable, storable_text

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One forecast cycle for all miners."""

    run_id: str
    init_time: datetime
    rule_set: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One miner's part in one run, as the next step needs it."""

    run_id: str
    hotkey: str
    uid: int
    registered_at: int
    state: ForecastState
    opened_at: datetime
    attempts: int
    next_at: datetime
    job_id: str | None
    manifest_sha256: str | None
    window_ends_at: datetime | None
    """When our absence moved the end of the freeze window; None: it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedForecast:
    """Where a forecast stands while a transaction keeps it there."""

    state: ForecastState
    has_contract: bool
    """Whether it is stored what its run is scored at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """One source's fields at one time, or when to try for them again."""

    ready: bool
    attempts: int
    retry_at: datetime | None
    missed_since: datetime | None
    given_up_at: datetime | None
    fields: Mapping[str, Mapping[str, str]]
    """What the set holds, or held before it had to be fetched anew."""


async def recorded_init_times(connection: Connection, since: datetime) -> set[datetime]:
    rows = await connection.fetch(SQL["recorded_init_times"], since)
    return {row["init_time"] for row in rows}


async def open_run(connection: Connection, run: Run, miners: Sequence[tuple[str, int, int]]) -> bool:
    """Open `run` with one planned forecast a miner (hotkey, uid, registered_at); False if it was open."""
    opened = await connection.fetchval(
        SQL["open_run"], run.run_id, run.init_time, run.rule_set, run.opened_at
    )
    if opened is None:
        return False
    hotkeys, uids, blocks = (list(column) for column in zip(*miners, strict=True))
    await connection.execute(SQL["plan_forecasts"], run.run_id, hotkeys, uids, blocks, run.opened_at)
    return True


async def open_runs(connection: Connection) -> list[Run]:
    return [Run(**row) for row in await connection.fetch(SQL["open_runs"])]


async def due_forecasts(
    connection: Connection, run_id: str, states: Sequence[str], now: datetime
) -> list[Forecast]:
    rows = await connection.fetch(SQL["due_forecasts"], run_id, list(states), now)
    return [Forecast(**{**row, "state": ForecastState(row["state"])}) for row in rows]


async def due_states(connection: Connection, states: Sequence[str], now: datetime) -> dict[str, set[str]]:
    """Open run -> those of `states` in which a forecast of it wants attention; one cheap look for a whole tick."""
    due: dict[str, set[str]] = {}
    for row in await connection.fetch(SQL["due_states"], list(states), now):
        due.setdefault(row["run_id"], set()).add(row["state"])
    return due


async def manifests_of(connection: Connection, forecasts: Sequence[Forecast]) -> dict[tuple[str, str], bytes]:
    """What the miners of `forecasts` signed, to the byte: (run_id, hotkey) -> manifest; nothing frozen: "{}"."""
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
    """Move a forecast by `moves` (state to state); return its new state, or None if it did not move.

    `reason` and `evidence` may quote a miner: what cannot be stored in them is replaced, what is too long cut.
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
    """Return where a forecast stands now, and keep it there until the transaction ends."""
    row = await connection.fetchrow(SQL["lock_forecast"], forecast.run_id, forecast.hotkey)
    assert row is not None
    return LockedForecast(state=ForecastState(row["state"]), has_contract=row["has_contract"])


async def settle_forecast(
    connection: Connection, forecast: Forecast, source: str, target: str, now: datetime
) -> None:
    """Move a forecast that this transaction has locked in state `source` to `target`, which may be the same."""
    await connection.execute(SQL["settle_forecast"], forecast.run_id, forecast.hotkey, source, target, now)


async def record_job(connection: Connection, forecast: Forecast, job_id: str) -> None:
    """Keep the job a miner accepted, and the end of its freeze window where that was moved."""
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
) -> None:
    """Freeze a manifest at `now`; `asked_at` is when its polling round began."""
    await connection.execute(
        SQL["record_manifest"], forecast.run_id, forecast.hotkey, content, signature, sha256, now, asked_at
    )


async def postpone_forecast(
    connection: Connection, forecast: Forecast, attempts: int, next_at: datetime
) -> None:
    """Try again at `next_at`; keep the end of the freeze window where that was moved."""
    await connection.execute(
        SQL["postpone_forecast"],
        forecast.run_id,
        forecast.hotkey,
        attempts,
        next_at,
        forecast.window_ends_at,
    )


async def next_attention(connection: Connection, states: Sequence[str], now: datetime) -> datetime | None:
    """When the next forecast that was put off after `now` is to be looked at."""
    moment: datetime | None = await connection.fetchval(SQL["next_attention"], list(states), now)
    return moment


async def count_forecasts(connection: Connection) -> dict[str, int]:
    rows = await connection.fetch(SQL["count_forecasts"])
    return {row["state"]: row["count"] for row in rows}


async def complete_run(connection: Connection, run_id: str, living: Sequence[str], now: datetime) -> bool:
    done = await connection.fetchval(SQL["complete_run"], run_id, now, list(living))
    return done is not None


async def read_reference(connection: Connection, reference_id: str) -> ReferenceSet | None:
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
    await connection.execute(SQL["record_reference"], reference_id, digest, fields)


async def withdraw_reference(connection: Connection, reference_id: str, error: str) -> None:
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
    """Store the score of one lead; `cpu_s` is what it cost, `reason` why there was nothing to score."""
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
    connection: Connection, run_id: str, rule_set: str
) -> dict[str, dict[tuple[str, int], float]]:
    """All lead scores of a run: hotkey to {(kind, lead_hours): score}."""
    scores: dict[str, dict[tuple[str, int], float]] = {}
    for row in await connection.fetch(SQL["lead_scores"], run_id, rule_set):
        scores.setdefault(row["hotkey"], {})[row["kind"], row["lead_hours"]] = row["score"]
    return scores


async def lead_scores_of(
    connection: Connection, forecast: Forecast, rule_sets: Sequence[str]
) -> dict[str, dict[tuple[str, int], float]]:
    """Lead scores of one forecast: each of `rule_sets` that scored one to {(kind, lead_hours): score}."""
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
