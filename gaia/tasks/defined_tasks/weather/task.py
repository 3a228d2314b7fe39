"""The weather task: opens runs, polls miners, freezes manifests and scores leads."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gaia.tasks.defined_tasks.base import Archives, Clock, GaiaTask, MetagraphView, Miners, UnitRunner
from gaia.tasks.defined_tasks.verdicts import RetryPolicy
from gaia.tasks.defined_tasks.weather.copies.lost_sketches import LostSketches
from gaia.tasks.defined_tasks.weather.forecasts.freeze_window import FreezeWindow
from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import LIVING, State
from gaia.tasks.defined_tasks.weather.forecasts.own_failures import OwnFailures
from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead, ScoreBook
from gaia.tasks.defined_tasks.weather.forecasts.step_runner import StepRunner
from gaia.tasks.defined_tasks.weather.forecasts.steps import ForecastSteps, Scoring
from gaia.tasks.defined_tasks.weather.kept_inputs import KeptInputs
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.lead_references import LeadReferences
from gaia.tasks.defined_tasks.weather.references.shelf import ReferenceShelf
from gaia.tasks.defined_tasks.weather.run_ending import complete_run
from gaia.tasks.defined_tasks.weather.schedule import Cadence, due_runs, next_opening, run_id_of
from gaia.validator.db import queries
from gaia.validator.db.queries import Forecast, Run
from gaia.validator.utils.errors import ConfigurationError, OwnFailure
from gaia.validator.utils.logs.context import bound, new_trace, shared_task

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
    from gaia.tasks.defined_tasks.weather.rules import RuleSet
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.chain.metagraph import Neuron
    from gaia.validator.utils.settings.handed import WeatherSettings

log = structlog.get_logger(__name__)

Phases = Callable[[Run], Awaitable[None]]


class WeatherTask(GaiaTask):
    """Daily 10-day forecasts, scored against the GFS analysis and then ERA5.

    Each phase reads from the database which forecasts are due for its step, does what is
    possible now, and records the outcome. After a crash the next tick reads the same rows;
    there is no other recovery.

    Each tick polls miners and freezes manifests. Scoring runs beside the ticks, so that the
    download of an old lead does not delay a freeze window.
    """

    name = "weather"

    def __init__(
        self,
        settings: WeatherSettings,
        database: Database,
        *,
        miners: Miners,
        archives: Archives,
        pool: UnitRunner,
        metagraph: MetagraphView,
        clock: Clock,
        copies: CopyBook,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._metagraph = metagraph
        self._contract = contract = settings.contract
        files, limits = settings.files, settings.pool
        self._book = ScoreBook(settings.weights, contract, database)
        self._kept = KeptInputs(files, database)
        self._copies = copies
        self._shelf = ReferenceShelf(
            contract, settings.sources, files, limits, database=database, archives=archives, pool=pool
        )
        self._references = LeadReferences(contract, database=database, shelf=self._shelf)
        self._clock = clock
        window = FreezeWindow(
            length=timedelta(hours=settings.miners.freeze_window_hours),
            grain=timedelta(minutes=settings.miners.miner_poll_minutes),
        )
        self._steps = ForecastSteps(
            contract=contract,
            limits=limits,
            files=files,
            database=database,
            miners=miners,
            pool=pool,
            metagraph=metagraph,
            clock=clock,
            book=self._book,
            window=window,
            kept=self._kept,
        )
        look_again = self._shelf.look_again
        self._sketches = LostSketches(
            self._book.rules, files, database=database, steps=self._steps, look_again=look_again
        )
        self._failures = OwnFailures(monotonic)
        self._runner = StepRunner(database, self._book, clock, window, self._failures)
        self._retry = RetryPolicy([timedelta(minutes=m) for m in settings.miners.miner_query_retry_minutes])
        self._scoring_now: asyncio.Task[None] | None = None
        self._committed_since = False
        """Whether a forecast was requested or frozen since `_scoring_now` began."""
        self._closing = False

    async def advance(self, now: datetime) -> datetime | None:
        try:
            opened = await self._bind(now)
        except ConfigurationError:
            raise
        except Exception:
            await self._score_beside()
            raise
        await self._score_beside()
        busy = not opened or self._scoring_now is not None or self._committed_since
        if busy or self._failures.stirred():
            return now
        return await self.next_due(now)

    async def close(self) -> None:
        """Start no more steps, and wait for the running ones; cancel them if cancelled."""
        self._closing = True
        scoring = self._scoring_now
        if scoring is None:
            return
        try:
            await asyncio.wait([scoring])
        finally:
            scoring.cancel()
            await asyncio.gather(scoring, return_exceptions=True)

    async def _bind(self, now: datetime) -> bool:
        """Open due runs, poll miners and freeze manifests; return False if a run waits for the metagraph."""
        opened = await self.open_due_runs(now)

        async def bind(run: Run) -> None:
            await self.ask_miners(run, now)
            await self.freeze_manifests(run, now)

        async with self._database.reading() as connection:
            due = await queries.due_states(connection, [State.PLANNED, State.REQUESTED], now)
        await self._each_open_run(bind, due)
        return opened

    async def _score_beside(self) -> None:
        """Start to score what is due, unless scoring runs already; wait at most one tick.

        Raises
        ------
        Exception
            The error that ended the scoring.
        """
        if self._closing:
            return
        if self._scoring_now is None:
            self._committed_since = False
            self._scoring_now = shared_task(self._score_open_runs())  # it outlives the tick
        await asyncio.wait([self._scoring_now], timeout=self._settings.schedule.tick_interval_s)
        if self._scoring_now.done():
            scored, self._scoring_now = self._scoring_now, None
            scored.result()

    async def _score_open_runs(self) -> None:
        self._shelf.next_look = None
        settled: set[str] = set()

        async def score(run: Run) -> None:
            now = self._clock.now()
            await self.score_day1(run, now)
            await self.score_final(run, now)
            settled.add(run.run_id)
            if await self._sketches.remake(run, partial(self._final_scoring, run, now), now):
                await self._copies.store_finalised(now, only=run.run_id)
                await self.complete(run, now)

        try:
            await self._each_open_run(score, None)
        except Exception:
            await self._copies.store_finalised(self._clock.now(), but=settled)
            raise
        await self._copies.store_finalised(self._clock.now(), but=settled)

    async def _each_open_run(self, phases: Phases, only: Collection[str] | None) -> None:
        """Run `phases` for each open run (of `only`), oldest first; the failure of one stops no other.

        Raises
        ------
        Exception
            The first error of a run, after all runs had their turn.
        """
        async with self._database.reading() as connection:
            runs = await queries.open_runs(connection)
        broken: list[Exception] = []
        for run in runs:
            if self._closing:
                break
            if only is not None and run.run_id not in only:
                continue
            with bound(run_id=run.run_id, trace_id=new_trace()):
                try:
                    await phases(run)
                except ConfigurationError:
                    raise
                except Exception as error:  # noqa: BLE001 - raised below, after the other runs had their turn
                    words = f"{type(error).__name__}: {error}"
                    log.warning("run_steps_failed", error=words, once=(run.run_id, words))
                    broken.append(error)
        if broken:
            raise broken[0]

    async def open_due_runs(self, now: datetime) -> bool:
        """Open each due run, with one planned forecast per reachable miner.

        Return False if a run is due but no miner is known yet, or we are not registered.
        """
        cadence = self._cadence()
        async with self._database.reading() as connection:
            recorded = await queries.recorded_init_times(connection, cadence.earliest(now))
        for init_time in due_runs(now, recorded, cadence):
            miners = self._miners_to_ask()
            if not miners:
                log.warning("run_postponed", run_id=run_id_of(init_time), once=run_id_of(init_time))
                return False
            run = Run(
                run_id=run_id_of(init_time),
                init_time=init_time,
                rule_set=self._settings.weights.rule_set,
                opened_at=now,
            )
            rows = [(miner.hotkey, miner.uid, miner.registered_at) for miner in miners]
            await self._database.run(partial(queries.open_run, run=run, miners=rows))
            self._steps.received.begin(run.run_id)
            log.info("run_opened", run_id=run.run_id, miners=len(rows), rule_set=run.rule_set)
        return True

    async def ask_miners(self, run: Run, now: datetime) -> None:
        async def ask(forecast: Forecast) -> None:
            await self._steps.ask(run, forecast, now)

        forecasts = await self._due(run, [State.PLANNED], now)
        self._committed_since |= bool(forecasts)
        await self._runner.each(forecasts, ask, self._retry, lambda: now)

    async def freeze_manifests(self, run: Run, now: datetime) -> None:
        """Poll the miners of accepted forecasts, and freeze the manifests of those that are ready."""
        poll = timedelta(minutes=self._settings.miners.miner_poll_minutes)

        async def freeze(forecast: Forecast) -> None:
            if not await self._steps.freeze(forecast):
                await self._runner.postpone(forecast, forecast.attempts, now + poll)

        window = timedelta(hours=self._settings.miners.freeze_window_hours)
        polls = RetryPolicy([poll] * math.ceil(window / poll))
        forecasts = await self._due(run, [State.REQUESTED], now)
        self._committed_since |= bool(forecasts)
        await self._runner.each(forecasts, freeze, polls, lambda: now)

    async def score_day1(self, run: Run, now: datetime) -> None:
        forecasts = await self._due(run, [State.FROZEN], now)
        unscored = await self._book.unscored_leads(forecasts, LeadKind.DAY1)
        for lead_hours in self._contract.day1_lead_hours:
            waiting = [f for f in forecasts if lead_hours in unscored[f.hotkey]]
            failed = await self._score_lead(run, waiting, Lead(LeadKind.DAY1, lead_hours), now)
            forecasts = [f for f in forecasts if f.hotkey not in failed]

    async def score_final(self, run: Run, now: datetime) -> None:
        """Score each lead for which ERA5 is published, for every forecast with a frozen manifest.

        A first day without truth does not delay other leads.
        """
        published = [lead for lead in self._contract.final_lead_hours if now >= self._published_at(run, lead)]
        if not published:
            return
        forecasts = await self._due(run, [State.FROZEN, State.SCORED_DAY1], now)
        unscored = await self._book.unscored_leads(forecasts, LeadKind.FINAL)
        for lead_hours in published:
            waiting = [f for f in forecasts if lead_hours in unscored[f.hotkey]]
            failed = await self._score_lead(run, waiting, Lead(LeadKind.FINAL, lead_hours), now)
            # An unreachable miner is asked for this lead again before the next one.
            forecasts = [f for f in forecasts if f.hotkey not in failed]

    async def complete(self, run: Run, now: datetime) -> None:
        if await complete_run(self._database, run, self._steps.received, now):
            await self._kept.sweep(now)

    async def next_due(self, now: datetime) -> datetime | None:
        """Return the earliest moment after `now` at which a phase may have work."""
        cadence = self._cadence()
        async with self._database.reading() as connection:
            recorded = await queries.recorded_init_times(connection, cadence.earliest(now))
            runs = await queries.open_runs(connection)
            attention = await queries.next_attention(connection, LIVING, now)
        moments = [next_opening(now, recorded, cadence), attention, self._shelf.next_look]
        moments += [
            self._published_at(run, lead_hours)
            for run in runs
            for lead_hours in self._contract.final_lead_hours
        ]
        return min((moment for moment in moments if moment and moment > now), default=None)

    async def _score_lead(
        self, run: Run, forecasts: Sequence[Forecast], lead: Lead, now: datetime
    ) -> set[str]:
        """Score one lead of `forecasts`; return the hotkeys whose lead is not scored yet."""
        if not forecasts or self._closing:
            return {forecast.hotkey for forecast in forecasts}
        active = await self._scoring(run, lead, self._book.rules, now)
        if active is None:
            await self._give_up_hopeless(run, forecasts, lead, now)
            return set()
        try:
            shadow = await self._shadow_scoring(run, lead, now)
        except OwnFailure as failure:  # this lead alone waits
            words = str(failure)
            log.warning("lead_waits_for_shadow", lead_hours=lead.hours, error=words, once=(run.run_id, words))
            return set()

        async def score(forecast: Forecast) -> None:
            await self._steps.score(forecast, lead, active, shadow, now)

        async def forfeit(forecast: Forecast, reason: str) -> None:
            await self._book.forfeit(forecast, lead, reason, self._clock.now())
            self._steps.drop(forecast, lead, active.fields)

        async with AsyncExitStack() as stack:
            for scoring in filter(None, (active, shadow)):
                await stack.enter_async_context(scoring.batches)
            return await self._runner.each(forecasts, score, self._retry, self._clock.now, forfeit)

    async def _give_up_hopeless(
        self, run: Run, forecasts: Sequence[Forecast], lead: Lead, now: datetime
    ) -> None:
        """Store a lead as NaN for `forecasts` once what they are compared with cannot be had."""
        reason = await self._references.hopeless(run, lead, self._book.rules, now)
        if reason is None:
            return
        for forecast in forecasts:
            await self._book.give_up(forecast, lead, reason, now)
        log.warning("lead_given_up", lead_hours=lead.hours, forecasts=len(forecasts), reason=reason)

    async def _scoring(self, run: Run, lead: Lead, rules: RuleSet, now: datetime) -> Scoring | None:
        """Return what scores a lead under `rules`; None while a reference set is missing."""
        on_trial = rules is not self._book.rules
        references = await self._references.take(run, lead, rules, now, on_trial=on_trial)
        return None if references is None else self._steps.scoring(run, lead, rules, references)

    async def _final_scoring(self, run: Run, now: datetime, lead_hours: int) -> Scoring | None:
        return await self._scoring(run, Lead(LeadKind.FINAL, lead_hours), self._book.rules, now)

    async def _shadow_scoring(self, run: Run, lead: Lead, now: datetime) -> Scoring | None:
        """Return what scores a lead under the shadow rules; None if they do not score the run, or cannot."""
        rules = self._book.shadow_of(run.run_id)
        if rules is None:
            return None
        try:
            return await self._scoring(run, lead, rules, now)
        except Exception as error:
            if self._steps.trial.is_tried_again((run.run_id, lead), error, now):
                raise
            words = f"{type(error).__name__}: {error}"
            log.error("shadow_failed", rule_set=rules.name, error=words, once=(rules.name, words))
            return None

    async def _due(self, run: Run, states: Sequence[State], now: datetime) -> list[Forecast]:
        async with self._database.reading() as connection:
            due = await queries.due_forecasts(connection, run.run_id, states, now)
        return self._runner.ready(due)

    def _published_at(self, run: Run, lead_hours: int) -> datetime:
        sources = self._settings.sources
        delay = timedelta(days=sources.era5_delay_days, hours=sources.era5_buffer_hours)
        return run.init_time + timedelta(hours=lead_hours) + delay

    def _miners_to_ask(self) -> list[Neuron]:
        metagraph = self._metagraph.latest()
        # Miners may refuse a validator that is not registered, which is no fault of theirs.
        if metagraph is None or metagraph.own_uid is None:
            return []
        return [
            neuron
            for neuron in metagraph.neurons
            if neuron.ip
            and neuron.hotkey != metagraph.own_hotkey
            and self._settings.miners.only_uid in (None, neuron.uid)
        ]

    def _cadence(self) -> Cadence:
        metagraph = self._metagraph.latest()
        return Cadence.of(self._settings.schedule, salt=metagraph.own_hotkey if metagraph else "")
