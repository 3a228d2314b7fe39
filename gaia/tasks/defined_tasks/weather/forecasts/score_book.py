"""Records the scores of forecasts, each once, and derives the rows from which weights are computed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import Event, State, moves_for
from gaia.tasks.defined_tasks.weather.forecasts.outcomes import (
    Forfeited,
    GivenUp,
    Known,
    LeadChange,
    LeadKey,
    Outcome,
    Scored,
    Standing,
    Total,
    ending,
    expected_leads,
    outcome,
    score_of_change,
    shadow_total,
    standing_of,
)
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component, RuleSet
from gaia.validator.db import components, inputs, queries
from gaia.validator.db.access.transactions import savepoint
from gaia.validator.db.failures import DatabaseFailure, StatementRefused
from gaia.validator.db.inputs import Contract, LeadInputs
from gaia.validator.utils.identities import RunId

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.unit_client import Done
    from gaia.tasks.defined_tasks.weather.units import LeadScored
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.db.queries import Forecast
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.weights import WeightsSettings

log = structlog.get_logger(__name__)


class Lead(NamedTuple):
    """One lead of a run."""

    kind: LeadKind
    hours: int


def contract_of(settings: ContractSettings) -> Contract:
    """Return the leads and fields at which a run is scored."""
    return Contract(
        day1_lead_hours=settings.day1_lead_hours,
        final_lead_hours=settings.final_lead_hours,
        day1_fields=settings.day1_fields,
        final_fields=settings.final_fields,
    )


def is_shadowed(run_id: RunId, share: float) -> bool:
    """Return whether shadow rules score a run, as for the fraction `share` (0 to 1) of runs; repeatable.

    >>> is_shadowed("2026-03-25T00Z", 1.0), is_shadowed("2026-03-25T00Z", 0.0)
    (True, False)
    """
    digest = hashlib.sha256(f"shadow:{run_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class ScoreBook:
    """Stores every change of what a miner earns, each in one transaction that is safe to repeat.

    Each transaction loads what is known about the forecast, lets `outcomes` decide what follows, and
    stores that. It locks the forecast first, so that changes of two leads see each other.

    Shadow rules score a fraction of the runs too. Their rows have their own name and never reach
    weights. A forecast counts under them only if they have scored every lead that the active rules
    have. Their errors are undone and logged, and do not stop the active rules.
    """

    def __init__(self, weights: WeightsSettings, contract: ContractSettings, database: Database) -> None:
        self._contract = contract_of(contract)
        self._shadow_share = weights.shadow_share
        self._database = database
        self.rules = RULE_SETS[weights.rule_set]
        """The active rules."""
        self._shadow = RULE_SETS.get(weights.shadow_rule_set)

    def shadow_of(self, run_id: RunId) -> RuleSet | None:
        """Return the shadow rules that score a run; None if there are none."""
        if self._shadow is self.rules or not is_shadowed(run_id, self._shadow_share):
            return None
        return self._shadow

    async def record(
        self, forecast: Forecast, lead: Lead, scored: Done[LeadScored], given: LeadInputs, now: datetime
    ) -> None:
        """Store a scored lead: its components, its score and the resulting overall score.

        Parameters
        ----------
        scored
            Answer of the scoring handler, and its cost.
        given
            Inputs of the scoring handler.
        """
        measured = _Measured.of(scored, given)
        result = await self._settle(forecast, Scored(lead, measured.components), now, measured=measured)
        log.info(
            "lead_scored",
            job_id=scored.job_id,
            kind=lead.kind,
            lead_hours=lead.hours,
            score=round(result.score, 6),
            overall=round(result.total.overall, 6),
            cpu_s=round(scored.cpu_s, 4),
        )
        self._say_scored(result)

    async def record_shadow(
        self, forecast: Forecast, lead: Lead, scored: Done[LeadScored], given: LeadInputs, now: datetime
    ) -> None:
        """Store the shadow rules' score of a lead that the active rules have scored."""
        rules = self.shadow_of(forecast.run_id)
        assert rules is not None
        measured = _Measured.of(scored, given)
        change = Scored(lead, measured.components)

        async def write(connection: Connection) -> None:
            known = await self._load(connection, forecast)
            score = score_of_change(change, rules, self._contract)
            active = standing_of(known, self.rules, self._contract)
            total = shadow_total(known, {lead: score}, rules, self._contract, active)
            await _store_lead(connection, forecast, lead, now, rules, score, measured=measured)
            await _store_total(connection, forecast, now, rules, total)

        await self._database.run(write)

    async def forfeit(self, forecast: Forecast, lead: Lead, reason: str, now: datetime) -> None:
        """Store a lead that the miner did not deliver: it gets the worst score."""
        result = await self._settle(forecast, Forfeited(lead), now, reason=reason)
        log.info("lead_forfeited", kind=lead.kind, lead_hours=lead.hours, reason=reason)
        self._say_scored(result)

    async def give_up(self, forecast: Forecast, lead: Lead, reason: str, now: datetime) -> None:
        """Store a lead that cannot be scored for any miner: it is NaN and does not count."""
        await self._settle(forecast, GivenUp(lead), now, reason=reason)

    async def close(
        self,
        forecast: Forecast,
        event: Event,
        reason: str,
        now: datetime,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Reject or excuse a forecast: it gets the worst score, or does not count."""

        async def write(connection: Connection) -> Standing | None:
            known = await self._load(connection, forecast)
            result = ending(known, event, self.rules, self._contract)
            if result is None:
                return None
            await queries.advance_forecast(connection, forecast, moves_for(event), now, reason, evidence)
            await self._store_totals(connection, forecast, known, {}, result, now)
            return result

        result = await self._database.run(write)
        if result is not None:
            # What a miner does is normal; that we excuse one is not.
            level = logging.INFO if result.state is State.REJECTED else logging.WARNING
            log.log(
                level,
                "forecast_closed",
                state=result.state,
                reason=reason,
                leads=len(result.scored),
                overall=round(result.total.overall, 6),
            )

    @staticmethod
    def _say_scored(result: Outcome) -> None:
        """Log the end of a forecast whose last lead is scored."""
        if result.state is State.SCORED:
            log.info(
                "forecast_closed",
                state=result.state,
                reason="",
                leads=len(result.scored),
                overall=round(result.total.overall, 6),
            )

    async def unscored_leads(self, forecasts: Sequence[Forecast], kind: str) -> dict[str, list[int]]:
        """Return hotkey -> leads of `kind`, in hours, that are not scored yet."""
        if not forecasts:
            return {}
        async with self._database.reading() as connection:
            scored = await queries.lead_scores(connection, forecasts[0].run_id, self.rules.name)
        expected = expected_leads(self._contract, kind)
        return {
            forecast.hotkey: [
                lead for lead in expected if (kind, lead) not in scored.get(forecast.hotkey, {})
            ]
            for forecast in forecasts
        }

    async def _settle(
        self,
        forecast: Forecast,
        change: LeadChange,
        now: datetime,
        *,
        reason: str | None = None,
        measured: _Measured | None = None,
    ) -> Outcome:
        """Store a change of one lead and its consequences; return the outcome under the active rules.

        Shadow rules measure a scored lead in a unit of their own: see `record_shadow`.
        """
        shadow = None if measured else self.shadow_of(forecast.run_id)

        async def write(connection: Connection) -> Outcome:
            known = await self._load(connection, forecast)
            result = outcome(known, change, self.rules, self._contract)
            store = partial(
                _store_lead, connection, forecast, change.lead, now, reason=reason, measured=measured
            )
            await store(self.rules, result.score)
            theirs: dict[LeadKey, float] = {}
            if shadow is not None:
                theirs[change.lead] = score_of_change(change, shadow, self._contract)
                await store(shadow, theirs[change.lead])
            await queries.settle_forecast(connection, forecast, known.state, result.state, now)
            await self._store_totals(connection, forecast, known, theirs, result, now)
            return result

        return await self._database.run(write)

    async def _load(self, connection: Connection, forecast: Forecast) -> Known:
        """Lock a forecast until the end of the transaction; return what the database holds about it."""
        locked = await queries.lock_forecast(connection, forecast)
        names = [rules.name for rules in (self.rules, self._shadow) if rules is not None]
        scored = await queries.lead_scores_of(connection, forecast, names)
        return Known(state=State(locked.state), scored=scored, has_contract=locked.has_contract)

    async def _store_totals(
        self,
        connection: Connection,
        forecast: Forecast,
        known: Known,
        theirs: Mapping[LeadKey, float],
        active: Standing,
        now: datetime,
    ) -> None:
        """Store the forecast's row under the active rules and, if possible, under the shadow rules.

        `theirs` are lead scores of the shadow rules that are not in the database yet.
        """
        if not known.has_contract:
            await inputs.record_contract(connection, forecast.run_id, self._contract)
        await _store_total(connection, forecast, now, self.rules, active.total)
        shadow = self.shadow_of(forecast.run_id)
        if shadow is None:
            return
        try:
            async with savepoint(connection):
                total = shadow_total(known, theirs, shadow, self._contract, active)
                await _store_total(connection, forecast, now, shadow, total)
        except Exception as error:
            # Any error of shadow rules must not reach the active rules.
            if isinstance(error, DatabaseFailure) and not isinstance(error, StatementRefused):
                raise  # the whole transaction is lost, not only the shadow part
            log.error(
                "shadow_failed",
                rule_set=shadow.name,
                error=f"{type(error).__name__}: {error}",
                once=(shadow.name, type(error).__name__),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """Answer and inputs of a scoring unit."""

    components: Sequence[Component]
    field_digests: Mapping[str, str]
    cpu_s: float
    given: LeadInputs

    @classmethod
    def of(cls, scored: Done[LeadScored], given: LeadInputs) -> _Measured:
        return cls(
            components=scored.answer.components,
            field_digests=scored.answer.field_digests,
            cpu_s=scored.cpu_s,
            given=given,
        )


async def _store_lead(
    connection: Connection,
    forecast: Forecast,
    lead: LeadKey,
    now: datetime,
    rules: RuleSet,
    score: float,
    *,
    reason: str | None = None,
    measured: _Measured | None = None,
) -> None:
    """Store one lead under one rule set, with its inputs if it was measured; an existing row stays."""
    cpu_s = measured.cpu_s if measured else None
    await queries.record_lead(
        connection, forecast, rules.name, *lead, score, now=now, reason=reason, cpu_s=cpu_s
    )
    if measured is None:
        return
    await components.record_components(
        connection,
        forecast,
        rules.name,
        lead[0],
        measured.components,
        truth_digests=measured.given.digests["truth"],
        forecast_digests=measured.field_digests,
        now=now,
    )
    await inputs.record_inputs(connection, forecast.run_id, rules.name, *lead, measured.given)


async def _store_total(
    connection: Connection, forecast: Forecast, now: datetime, rules: RuleSet, total: Total
) -> None:
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
