"""Records what forecasts scored, each score once, and derives the row weights are made of."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from gaia.tasks.defined_tasks.weather.lifecycle import Event, State, moves_for
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component, RuleSet
from gaia.validator.db import components, inputs, queries
from gaia.validator.db.connection import Database, savepoint
from gaia.validator.db.failures import DatabaseFailure, StatementRefused
from gaia.validator.db.inputs import LeadInputs
from gaia.validator.db.queries import Forecast
from gaia.validator.utils.settings.contract import ContractSettings
from gaia.validator.utils.settings.weights import WeightsSettings

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

log = structlog.get_logger(__name__)


class Lead(NamedTuple):
    """One lead of a run."""

    kind: str
    """"day1" or "final"."""
    hours: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A row of score_table, as far as it follows from scores of leads."""

    day1: float | None
    leads: Mapping[int, float]
    overall: float
    counted: bool


def contract_of(contract: ContractSettings) -> dict[str, Any]:
    """Return what a run is scored at, in the form that is stored with it."""
    names = ("day1_lead_hours", "final_lead_hours", "day1_fields", "final_fields")
    return {name: getattr(contract, name) for name in names}


def score_of(
    rules: RuleSet, kind: str, components: Sequence[Component], final_fields: Sequence[str]
) -> float:
    """Return what `rules` say one lead is worth."""
    if kind == "day1":
        return rules.day1_score(components)
    return rules.lead_score(components, final_fields)


def total_of(
    rules: RuleSet,
    scored: Mapping[tuple[str, int], float],
    contract: Mapping[str, Any],
    state: State,
    *,
    is_whole: bool = True,
) -> Total:
    """Return what `rules` say a forecast is worth whose leads (kind, hours) scored so far.

    `is_whole`: they have scored every lead that was scored at all; else it does not count.
    """
    leads = {lead: score for (kind, lead), score in scored.items() if kind == "final"}
    first = [score for (kind, _), score in scored.items() if kind == "day1"]
    # A lead that was given up for all alike is NaN, and counts for nobody.
    present = [score for score in first if not math.isnan(score)]
    absent = len(first) - len(present)
    day1 = sum(present) / (len(contract["day1_lead_hours"]) - absent) if present else None
    overall = rules.overall_score(day1, leads, contract["final_lead_hours"])
    return Total(
        day1=day1,
        # A lead that had no score at all is NaN, for which JSON has no word.
        leads={lead: score for lead, score in leads.items() if not math.isnan(score)},
        overall=rules.worst if state is State.REJECTED else overall,
        counted=state is not State.EXCUSED and is_whole,
    )


def is_shadowed(run_id: str, share: float) -> bool:
    """Say whether a run is among the `share` (0 to 1) that shadow rules score; the same on every call.

    >>> is_shadowed("2026-03-25T00Z", 1.0), is_shadowed("2026-03-25T00Z", 0.0)
    (True, False)
    """
    digest = hashlib.sha256(f"shadow:{run_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class ScoreBook:
    """Every move that changes what a miner earns, in one transaction each, which is safe to repeat.

    A share of the runs is scored by shadow rules too, whose rows stand under their own
    name and never reach weights. A forecast counts under them only while they have
    scored every lead that the active ones have; what they do wrong is undone and
    logged, and the active ones go on.
    """

    def __init__(self, weights: WeightsSettings, contract: ContractSettings, database: Database) -> None:
        self._contract = contract
        self._shadow_share = weights.shadow_share
        self._database = database
        self.rules = RULE_SETS[weights.rule_set]
        """The active ones."""
        self._shadow = RULE_SETS.get(weights.shadow_rule_set)

    def shadow_of(self, run_id: str) -> RuleSet | None:
        """Return the rules that score a run beside the active ones, if there are any."""
        if self._shadow is self.rules or not is_shadowed(run_id, self._shadow_share):
            return None
        return self._shadow

    async def record(
        self, forecast: Forecast, lead: Lead, value: Mapping[str, Any], given: LeadInputs, now: datetime
    ) -> None:
        """Store a scored lead: its components, its score and the overall score that follows.

        Parameters
        ----------
        value
            What the scoring handler returned, and ``cpu_s``, what that cost.
        given
            What it was given.
        """

        async def write(connection: Connection) -> float:
            await inputs.record_contract(connection, forecast.run_id, contract_of(self._contract))
            score = await self._enter(connection, self.rules, forecast, lead, value, given, now)
            state = await self._move_on(connection, forecast, now)
            await self._publish(connection, forecast, state, now)
            return score

        score = await self._database.run(write)
        log.info(
            "lead_scored",
            run_id=forecast.run_id,
            hotkey=forecast.hotkey,
            kind=lead.kind,
            lead_hours=lead.hours,
            score=round(score, 6),
        )

    async def record_shadow(
        self, forecast: Forecast, lead: Lead, value: Mapping[str, Any], given: LeadInputs, now: datetime
    ) -> None:
        """Store what the shadow rules make of a lead that the active ones have scored."""
        rules = self.shadow_of(forecast.run_id)
        assert rules is not None

        async def write(connection: Connection) -> None:
            await self._enter(connection, rules, forecast, lead, value, given, now)
            await self._publish_as(connection, rules, forecast, State(forecast.state), now)

        await self._database.run(write)

    async def forfeit(self, forecast: Forecast, lead: Lead, reason: str, now: datetime) -> None:
        """Store a lead that could not be had from its miner: it scores the worst."""
        await self._store_unscored(forecast, lead, reason, now, lambda rules: rules.worst)
        log.warning(
            "lead_forfeited",
            run_id=forecast.run_id,
            hotkey=forecast.hotkey,
            kind=lead.kind,
            lead_hours=lead.hours,
            reason=reason,
        )

    async def give_up(self, forecast: Forecast, lead: Lead, reason: str, now: datetime) -> None:
        """Store a lead that nobody can be scored at: it is NaN, as if it had not been asked for."""
        await self._store_unscored(forecast, lead, reason, now, lambda rules: math.nan)
        log.warning("lead_given_up", run_id=forecast.run_id, hotkey=forecast.hotkey, reason=reason)

    async def _store_unscored(
        self,
        forecast: Forecast,
        lead: Lead,
        reason: str,
        now: datetime,
        score_under: Callable[[RuleSet], float],
    ) -> None:
        async def write(connection: Connection) -> None:
            await inputs.record_contract(connection, forecast.run_id, contract_of(self._contract))
            for rules in filter(None, (self.rules, self.shadow_of(forecast.run_id))):
                score = score_under(rules)
                await queries.record_lead(
                    connection, forecast, rules.name, lead.kind, lead.hours, score, now, reason
                )
            state = await self._move_on(connection, forecast, now)
            await self._publish(connection, forecast, state, now)

        await self._database.run(write)

    async def close(
        self,
        forecast: Forecast,
        event: Event,
        reason: str,
        now: datetime,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Reject or excuse a forecast: it scores the worst there is, or is not counted."""

        async def write(connection: Connection) -> str | None:
            state = await queries.advance_forecast(
                connection, forecast, moves_for(event), now, reason, evidence
            )
            if state is not None:
                await inputs.record_contract(connection, forecast.run_id, contract_of(self._contract))
                await self._publish(connection, forecast, State(state), now)
            return state

        state = await self._database.run(write)
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
            scored = await queries.lead_scores(connection, forecasts[0].run_id, self.rules.name)
        expected = self._expected(kind)
        return {
            forecast.hotkey: [
                lead for lead in expected if (kind, lead) not in scored.get(forecast.hotkey, {})
            ]
            for forecast in forecasts
        }

    def _expected(self, kind: str) -> list[int]:
        return self._contract.day1_lead_hours if kind == "day1" else self._contract.final_lead_hours

    async def _enter(
        self,
        connection: Connection,
        rules: RuleSet,
        forecast: Forecast,
        lead: Lead,
        value: Mapping[str, Any],
        given: LeadInputs,
        now: datetime,
    ) -> float:
        """Write what `rules` make of a scored lead; return its score."""
        measured = [Component(**row) for row in value["components"]]
        score = score_of(rules, lead.kind, measured, self._contract.final_fields)
        await components.record_components(
            connection,
            forecast,
            rules.name,
            lead.kind,
            value["components"],
            given.digests["truth"],
            value["field_digests"],
            now,
        )
        which = rules.name, lead.kind, lead.hours
        await queries.record_lead(connection, forecast, *which, score, now, None)
        await inputs.record_inputs(connection, forecast.run_id, *which, given)
        await inputs.record_cost(connection, forecast.run_id, forecast.hotkey, *which, value["cpu_s"])
        return score

    async def _move_on(self, connection: Connection, forecast: Forecast, now: datetime) -> State:
        """Advance a forecast past each kind of leads that is scored whole; return its state.

        Both kinds are looked at: the first day may be scored after every other lead.
        """
        state = State(await queries.state_of(connection, forecast))
        await queries.postpone_forecast(connection, forecast, 0, now)
        scored = await queries.lead_scores_of(connection, forecast, self.rules.name)
        for kind, event in (("day1", Event.DAY1_SCORED), ("final", Event.FINAL_SCORED)):
            if all((kind, hours) in scored for hours in self._expected(kind)):
                moved = await queries.advance_forecast(connection, forecast, moves_for(event), now)
                state = State(moved) if moved else state
        return state

    async def _publish(self, connection: Connection, forecast: Forecast, state: State, now: datetime) -> None:
        """Derive the forecast's row anew under the active rules, and under the shadow ones if they can."""
        await self._publish_as(connection, self.rules, forecast, state, now)
        shadow = self.shadow_of(forecast.run_id)
        if shadow is None:
            return
        try:
            async with savepoint(connection):
                await self._publish_as(connection, shadow, forecast, state, now)
        except Exception as error:
            # Rules on trial may do anything, but not to the active ones.
            if isinstance(error, DatabaseFailure) and not isinstance(error, StatementRefused):
                raise  # the whole transaction is lost, not what these rules did in it
            log.error(
                "shadow_failed",
                run_id=forecast.run_id,
                hotkey=forecast.hotkey,
                rule_set=shadow.name,
                error=f"{type(error).__name__}: {error}",
            )

    async def _publish_as(
        self, connection: Connection, rules: RuleSet, forecast: Forecast, state: State, now: datetime
    ) -> None:
        scored = await queries.lead_scores_of(connection, forecast, rules.name)
        active = await queries.lead_scores_of(connection, forecast, self.rules.name)
        total = total_of(
            rules, scored, contract_of(self._contract), state, is_whole=active.keys() <= scored.keys()
        )
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
