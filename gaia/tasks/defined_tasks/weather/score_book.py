"""Records what forecasts scored, each score once, and derives the row weights are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from gaia.tasks.defined_tasks.weather.lifecycle import Event, State, moves_for
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.validator.db import queries
from gaia.validator.db.connection import Database
from gaia.validator.db.queries import Forecast
from gaia.validator.utils.config import Settings

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

log = structlog.get_logger(__name__)


class ScoreBook:
    """Every move that changes what a miner earns, in one transaction each."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._rule_set = settings.rule_set
        self._rules = RULE_SETS[settings.rule_set]

    async def record(
        self,
        forecast: Forecast,
        kind: str,
        lead_hours: int,
        value: Mapping[str, Any],
        truth_digests: Mapping[str, str],
        now: datetime,
    ) -> None:
        """Store a scored lead: its components, its score and the overall score that follows."""
        components = [Component(**row) for row in value["components"]]
        if kind == "day1":
            score = self._rules.day1_score(components)
        else:
            score = self._rules.lead_score(components, self._settings.final_fields)
        async with self._database.transaction() as connection:
            await queries.record_components(
                connection,
                forecast,
                self._rule_set,
                kind,
                value["components"],
                truth_digests,
                value["field_digests"],
                now,
            )
            await self._record_lead(connection, forecast, kind, lead_hours, score, now, None)
        log.info(
            "lead_scored",
            run_id=forecast.run_id,
            hotkey=forecast.hotkey,
            kind=kind,
            lead_hours=lead_hours,
            score=round(score, 6),
        )

    async def forfeit(
        self, forecast: Forecast, kind: str, lead_hours: int, reason: str, now: datetime
    ) -> None:
        """Store a lead that could not be had from its miner: it scores zero."""
        async with self._database.transaction() as connection:
            await self._record_lead(connection, forecast, kind, lead_hours, 0.0, now, reason)
        log.warning(
            "lead_forfeited",
            run_id=forecast.run_id,
            hotkey=forecast.hotkey,
            kind=kind,
            lead_hours=lead_hours,
            reason=reason,
        )

    async def close(
        self,
        forecast: Forecast,
        event: Event,
        reason: str,
        now: datetime,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Reject or excuse a forecast: it scores zero, or is not counted."""
        async with self._database.transaction() as connection:
            state = await queries.advance_forecast(
                connection, forecast, moves_for(event), now, reason, evidence
            )
            if state is not None:
                await self._publish(connection, forecast, State(state), now)
        if state is not None:
            log.warning(
                "forecast_closed",
                run_id=forecast.run_id,
                hotkey=forecast.hotkey,
                state=state,
                reason=reason,
            )

    async def unscored_leads(self, forecasts: Sequence[Forecast], kind: str) -> dict[str, list[int]]:
        """Leads of `kind` that are not scored yet, hotkey to lead hours, for one run's forecasts."""
        if not forecasts:
            return {}
        async with self._database.transaction() as connection:
            scored = await queries.lead_scores(connection, forecasts[0].run_id, self._rule_set)
        expected = self._expected(kind)
        return {
            forecast.hotkey: [
                lead for lead in expected if (kind, lead) not in scored.get(forecast.hotkey, {})
            ]
            for forecast in forecasts
        }

    def _expected(self, kind: str) -> list[int]:
        return self._settings.day1_lead_hours if kind == "day1" else self._settings.final_lead_hours

    async def _record_lead(
        self,
        connection: Connection,
        forecast: Forecast,
        kind: str,
        lead_hours: int,
        score: float,
        now: datetime,
        reason: str | None,
    ) -> None:
        await queries.record_lead(connection, forecast, self._rule_set, kind, lead_hours, score, now, reason)
        await queries.postpone_forecast(connection, forecast, 0, now)
        scored = await queries.lead_scores_of(connection, forecast, self._rule_set)
        state = State(forecast.state)
        if all((kind, lead) in scored for lead in self._expected(kind)):
            event = Event.DAY1_SCORED if kind == "day1" else Event.FINAL_SCORED
            moved = await queries.advance_forecast(connection, forecast, moves_for(event), now)
            state = State(moved) if moved else state
        await self._publish(connection, forecast, state, now)

    async def _publish(self, connection: Connection, forecast: Forecast, state: State, now: datetime) -> None:
        scored = await queries.lead_scores_of(connection, forecast, self._rule_set)
        leads = {lead: score for (kind, lead), score in scored.items() if kind == "final"}
        first = [score for (kind, _), score in scored.items() if kind == "day1"]
        day1 = sum(first) / len(self._settings.day1_lead_hours) if first else None
        overall = self._rules.overall_score(day1, leads, self._settings.final_lead_hours)
        await queries.record_score(
            connection,
            forecast,
            self._rule_set,
            day1=day1,
            leads=leads,
            overall=0.0 if state is State.REJECTED else overall,
            counted=state is not State.EXCUSED,
            now=now,
        )
