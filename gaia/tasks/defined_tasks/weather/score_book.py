"""Records what forecasts scored, each score once, and derives the row weights are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from gaia.tasks.defined_tasks.weather.lifecycle import Event, State, moves_for
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component, RuleSet
from gaia.validator.db import inputs, queries
from gaia.validator.db.connection import Database
from gaia.validator.db.inputs import LeadInputs
from gaia.validator.db.queries import Forecast
from gaia.validator.utils.config import Settings

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A row of score_table, as far as it follows from scores of leads."""

    day1: float | None
    leads: Mapping[int, float]
    overall: float
    counted: bool


def contract_of(settings: Settings) -> dict[str, Any]:
    """Return what a run is scored at, in the form that is stored with it."""
    names = ("day1_lead_hours", "final_lead_hours", "day1_fields", "final_fields")
    return {name: getattr(settings, name) for name in names}


def score_of(
    rules: RuleSet, kind: str, components: Sequence[Component], final_fields: Sequence[str]
) -> float:
    """Return what `rules` say one lead is worth."""
    if kind == "day1":
        return rules.day1_score(components)
    return rules.lead_score(components, final_fields)


def total_of(
    rules: RuleSet, scored: Mapping[tuple[str, int], float], contract: Mapping[str, Any], state: State
) -> Total:
    """Return what `rules` say a forecast is worth whose leads (kind, hours) scored so far."""
    leads = {lead: score for (kind, lead), score in scored.items() if kind == "final"}
    first = [score for (kind, _), score in scored.items() if kind == "day1"]
    day1 = sum(first) / len(contract["day1_lead_hours"]) if first else None
    overall = rules.overall_score(day1, leads, contract["final_lead_hours"])
    return Total(
        day1=day1,
        leads=leads,
        overall=rules.worst if state is State.REJECTED else overall,
        counted=state is not State.EXCUSED,
    )


def is_shadowed(run_id: str, share: float) -> bool:
    """Say whether a run is among the `share` (0 to 1) that shadow rules score; the same on every call.

    >>> is_shadowed("2026-03-25T00Z", 1.0), is_shadowed("2026-03-25T00Z", 0.0)
    (True, False)
    """
    digest = hashlib.sha256(f"shadow:{run_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class ScoreBook:
    """Every move that changes what a miner earns, in one transaction each.

    A share of the runs is scored by a second rule set too, whose rows stand under
    its own name and never reach weights. It shares the transaction, so that a run
    has both or neither, but not its fate: what the shadow rules do wrong is undone
    and logged, and the active ones go on.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._rules = RULE_SETS[settings.rule_set]
        self._shadow = RULE_SETS.get(settings.shadow_rule_set)

    async def record(
        self,
        forecast: Forecast,
        kind: str,
        lead_hours: int,
        value: Mapping[str, Any],
        truth_digests: Mapping[str, str],
        now: datetime,
        lead_inputs: LeadInputs | None = None,
    ) -> None:
        """Store a scored lead: its components, its score and the overall score that follows.

        Parameters
        ----------
        value
            What the scoring handler returned, and ``cpu_s``, what that cost.
        lead_inputs
            What it was given, for replay.
        """

        async def enter(connection: Connection, rules: RuleSet) -> float:
            return await self._enter(
                connection, rules, forecast, kind, lead_hours, value, truth_digests, now, lead_inputs
            )

        async with self._database.transaction() as connection:
            await inputs.record_contract(connection, forecast.run_id, contract_of(self._settings))
            score = await enter(connection, self._rules)
            state = await self._move_on(connection, forecast, kind, now)
            await self._publish(connection, self._rules, forecast, state, now)

            async def follow(rules: RuleSet) -> None:
                await enter(connection, rules)
                await self._publish(connection, rules, forecast, state, now)

            await self._in_shadow(connection, forecast, follow)
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
        """Store a lead that could not be had from its miner: it scores the worst."""

        async def enter(connection: Connection, rules: RuleSet) -> None:
            await queries.record_lead(
                connection, forecast, rules.name, kind, lead_hours, rules.worst, now, reason
            )

        async with self._database.transaction() as connection:
            await enter(connection, self._rules)
            state = await self._move_on(connection, forecast, kind, now)
            await self._publish(connection, self._rules, forecast, state, now)

            async def follow(rules: RuleSet) -> None:
                await enter(connection, rules)
                await self._publish(connection, rules, forecast, state, now)

            await self._in_shadow(connection, forecast, follow)
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
        """Reject or excuse a forecast: it scores the worst there is, or is not counted."""
        async with self._database.transaction() as connection:
            state = await queries.advance_forecast(
                connection, forecast, moves_for(event), now, reason, evidence
            )
            if state is not None:
                await self._publish(connection, self._rules, forecast, State(state), now)

                async def follow(rules: RuleSet) -> None:
                    await self._publish(connection, rules, forecast, State(state), now)

                await self._in_shadow(connection, forecast, follow)
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
            scored = await queries.lead_scores(connection, forecasts[0].run_id, self._rules.name)
        expected = self._expected(kind)
        return {
            forecast.hotkey: [
                lead for lead in expected if (kind, lead) not in scored.get(forecast.hotkey, {})
            ]
            for forecast in forecasts
        }

    def _expected(self, kind: str) -> list[int]:
        return self._settings.day1_lead_hours if kind == "day1" else self._settings.final_lead_hours

    async def _enter(
        self,
        connection: Connection,
        rules: RuleSet,
        forecast: Forecast,
        kind: str,
        lead_hours: int,
        value: Mapping[str, Any],
        truth_digests: Mapping[str, str],
        now: datetime,
        lead_inputs: LeadInputs | None,
    ) -> float:
        """Write what `rules` make of a scored lead; return its score."""
        components = [Component(**row) for row in value["components"]]
        score = score_of(rules, kind, components, self._settings.final_fields)
        await queries.record_components(
            connection,
            forecast,
            rules.name,
            kind,
            value["components"],
            truth_digests,
            value["field_digests"],
            now,
        )
        await queries.record_lead(connection, forecast, rules.name, kind, lead_hours, score, now, None)
        lead = forecast.run_id, rules.name, kind, lead_hours
        if lead_inputs is not None:
            await inputs.record_inputs(connection, *lead, lead_inputs)
        await inputs.record_cost(
            connection, forecast.run_id, forecast.hotkey, *lead[1:], value.get("cpu_s", 0.0)
        )
        return score

    async def _in_shadow(
        self, connection: Connection, forecast: Forecast, follow: Callable[[RuleSet], Awaitable[None]]
    ) -> None:
        """Let the shadow rules do the same, if this is a run of theirs; their failure is undone."""
        rules = self._shadow
        if (
            rules is None
            or rules is self._rules
            or not is_shadowed(forecast.run_id, self._settings.shadow_share)
        ):
            return
        try:
            async with connection.transaction():
                await follow(rules)
        except Exception as error:  # noqa: BLE001 - rules on trial may do anything, but not to the active ones
            log.error(
                "shadow_failed",
                run_id=forecast.run_id,
                hotkey=forecast.hotkey,
                rule_set=rules.name,
                error=f"{type(error).__name__}: {error}",
            )

    async def _move_on(self, connection: Connection, forecast: Forecast, kind: str, now: datetime) -> State:
        """Advance a forecast whose leads of `kind` are all scored; return its state."""
        await queries.postpone_forecast(connection, forecast, 0, now)
        scored = await queries.lead_scores_of(connection, forecast, self._rules.name)
        if not all((kind, lead) in scored for lead in self._expected(kind)):
            return State(forecast.state)
        event = Event.DAY1_SCORED if kind == "day1" else Event.FINAL_SCORED
        moved = await queries.advance_forecast(connection, forecast, moves_for(event), now)
        return State(moved) if moved else State(forecast.state)

    async def _publish(
        self, connection: Connection, rules: RuleSet, forecast: Forecast, state: State, now: datetime
    ) -> None:
        scored = await queries.lead_scores_of(connection, forecast, rules.name)
        total = total_of(rules, scored, contract_of(self._settings), state)
        await queries.record_score(
            connection,
            forecast,
            rules.name,
            day1=total.day1,
            leads=total.leads,
            overall=total.overall,
            counted=total.counted,
            now=now,
        )
