"""Reads the progress of a local subnet's validator from its database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from gaia.validator.db.statements import read_statements

# The database is not started, is being replaced, has no tables yet or those of an earlier release: look again later.
NOT_NOW = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    OSError,
    TimeoutError,
)
_TIMEOUT_S = 5.0

_SQL = read_statements(Path(__file__).parents[1] / "data" / "progress.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """One run of the validator."""

    run_id: str
    init_time: datetime
    rule_set: str
    completed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastProgress:
    """One miner's forecast in one run."""

    run_id: str
    hotkey: str
    uid: int
    state: str
    reason: str = ""
    frozen: bool = False
    day1: float | None = None
    leads: Mapping[str, float] = field(default_factory=dict)
    overall: float | None = None
    """Overall score; None: nothing is scored yet, or the forecast is excused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsProgress:
    """The newest weights that the validator has read back from the chain."""

    block: int
    block_hash: str
    extrinsic: str
    vector: tuple[tuple[int, int], ...]
    """(uid, u16) pairs as submitted."""
    weights: Mapping[str, float]
    """Hotkey -> weight before quantisation."""
    run_ids: tuple[str, ...]
    completed_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """State of the database at one moment."""

    runs: tuple[RunProgress, ...] = ()
    forecasts: tuple[ForecastProgress, ...] = ()
    weights: WeightsProgress | None = None
    references_ready: int = 0
    references_wanted: int = 0

    def of_run(self, run_id: str) -> tuple[ForecastProgress, ...]:
        return tuple(forecast for forecast in self.forecasts if forecast.run_id == run_id)

    @property
    def completed_ids(self) -> tuple[str, ...]:
        return tuple(run.run_id for run in self.runs if run.completed)

    def is_complete(self, wanted_runs: int) -> bool:
        """Return whether `wanted_runs` runs are completed and the weights on chain cover them.

        Runs older than the window no longer count.
        """
        if self.weights is None or not self.completed_ids or len(self.completed_ids) < wanted_runs:
            return False
        oldest = min(self.weights.run_ids, default="")
        newest = self.completed_ids[-1]
        counting = {newest, *(run_id for run_id in self.completed_ids if run_id >= oldest)}
        return counting <= set(self.weights.completed_ids)


class Watch:
    """Reads the validator's tables; tolerates a database that is temporarily away.

    Weights set before `first_block` belong to an earlier chain and are ignored.
    """

    def __init__(self, dsn: str) -> None:
        self.first_block = 0
        self._dsn = dsn
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._last = Progress()

    async def progress(self) -> Progress:
        """Return the present progress, or the last known one while the database is away."""
        try:
            connection = await self._connected()
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                self._last = await _read_progress(connection, self.first_block)
        except NOT_NOW:
            await self.close()
        return self._last

    async def components(self) -> list[dict[str, object]]:
        """Return every component score.

        Raises
        ------
        OSError, asyncpg.PostgresError
            If the database is away.
        """
        connection = await self._connected()
        return [dict(row) for row in await connection.fetch(_SQL["components"], timeout=_TIMEOUT_S * 6)]

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S, ssl=False
            )
        return self._connection


async def _read_progress(connection: asyncpg.Connection[asyncpg.Record], first_block: int) -> Progress:
    runs = await connection.fetch(_SQL["runs"])
    forecasts = await connection.fetch(_SQL["forecasts"])
    weights = await connection.fetchrow(_SQL["weights"], first_block)
    references = await connection.fetchrow(_SQL["references"])
    return Progress(
        runs=tuple(_run_of(dict(row)) for row in runs),
        forecasts=tuple(forecast_of(dict(row)) for row in forecasts),
        weights=None if weights is None else weights_of(dict(weights)),
        references_ready=references["ready"] if references else 0,
        references_wanted=references["wanted"] if references else 0,
    )


def _run_of(row: Mapping[str, Any]) -> RunProgress:
    return RunProgress(
        run_id=row["run_id"],
        init_time=row["init_time"],
        rule_set=row["rule_set"],
        completed=row["state"] == "completed",
    )


def forecast_of(row: Mapping[str, Any]) -> ForecastProgress:
    """Return one forecast from a row of forecasts joined with score_table."""
    counts = row["counted"] is not False and row["overall"] is not None
    return ForecastProgress(
        run_id=row["run_id"],
        hotkey=row["hotkey"],
        uid=row["uid"],
        state=row["state"],
        reason=row["reason"] or "",
        frozen=row["committed_at"] is not None,
        day1=row["day1"],
        leads=_json(row["leads"]) or {},
        overall=row["overall"] if counts else None,
    )


def weights_of(row: Mapping[str, Any]) -> WeightsProgress:
    """Return the weights of a row of weight_journal whose vector stands, or stood, on chain."""
    return WeightsProgress(
        block=row["block"],
        block_hash=row["block_hash"] or "",
        extrinsic=row["extrinsic"] or "",
        vector=pairs(_json(row["vector"]) or []),
        weights=_json(row["weights"]) or {},
        run_ids=tuple(_json(row["run_ids"]) or ()),
        completed_ids=tuple(_json(row["completed_ids"]) or ()),
    )


def pairs(vector: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    """Return [[uid, u16], ...] as pairs, in order of uid."""
    return tuple(sorted((int(uid), int(weight)) for uid, weight in vector))


def _json(value: Any) -> Any:
    """Return the value of a jsonb column, which asyncpg returns as text without a codec."""
    return json.loads(value) if isinstance(value, str) else value
