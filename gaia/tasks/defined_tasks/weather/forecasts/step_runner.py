"""Runs one step for many forecasts, and judges each failure for its own forecast alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from gaia.tasks.defined_tasks.verdicts import (
    Excuse,
    Forfeit,
    Halt,
    Reject,
    Retry,
    RetryPolicy,
    Snooze,
    Wait,
    judge,
)
from gaia.tasks.defined_tasks.weather.forecasts.faults import VERIFICATION_FAILURES, reason_of
from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import Event, State
from gaia.tasks.defined_tasks.weather.forecasts.own_failures import GIVE_UP_S, Key, OwnFailures
from gaia.validator.db import queries
from gaia.validator.db.queries import Forecast
from gaia.validator.utils.errors import ConfigurationError, GaiaError, TransientError
from gaia.validator.utils.logs.context import bound, new_trace

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock
    from gaia.tasks.defined_tasks.weather.forecasts.freeze_window import FreezeWindow
    from gaia.tasks.defined_tasks.weather.forecasts.score_book import ScoreBook
    from gaia.validator.db.connection import Database

log = structlog.get_logger(__name__)

Step = Callable[[Forecast], Awaitable[None]]
StoreForfeit = Callable[[Forecast, str], Awaitable[None]]

_BEFORE_FREEZE = (State.PLANNED, State.REQUESTED)


class StepRunner:
    """Runs steps; a failure costs at most the forecast whose step failed.

    A failure of ours spends no attempt and changes no due moment: the forecast waits in
    `own_failures`. Only an error that needs the operator is raised.
    """

    def __init__(
        self, database: Database, book: ScoreBook, clock: Clock, window: FreezeWindow, failures: OwnFailures
    ) -> None:
        self._database = database
        self._book = book
        self._clock = clock
        self._window = window
        self._failures = failures

    def ready(self, forecasts: Sequence[Forecast]) -> list[Forecast]:
        """Return the forecasts that do not wait for a failure of ours."""
        return [forecast for forecast in forecasts if not self._failures.holds(_key(forecast))]

    async def each(
        self,
        forecasts: Sequence[Forecast],
        step: Step,
        policy: RetryPolicy,
        present: Callable[[], datetime],
        forfeit: StoreForfeit | None = None,
    ) -> set[str]:
        """Run `step` for all forecasts concurrently; return the hotkeys whose step is not done.

        Parameters
        ----------
        policy
            Delays after which an unreachable miner is asked again.
        present
            Returns the moment from which delays count; the forecasts of one round share it.
        forfeit
            Stores the loss of a miner that answers no attempt; None: it loses the whole forecast.

        Raises
        ------
        ConfigurationError
            If a step cannot continue without the operator.
        """
        failed: set[str] = set()

        async def attempt(one: Forecast) -> None:
            # Here alone: every line of a step, and of the tasks that it starts, tells whose step it is.
            with bound(run_id=one.run_id, hotkey=one.hotkey, uid=one.uid, trace_id=new_trace()):
                await settled(self._with_window(one))

        async def settled(forecast: Forecast) -> None:
            error = await _failure_of(step, forecast)
            if error is None:
                self._failures.forget(_key(forecast))
                return
            failed.add(forecast.hotkey)
            failure = await _failure_of(settle(error), forecast)
            if isinstance(failure, ConfigurationError):
                raise failure
            if failure is not None:
                # Without a database, no failure can be judged.
                self._wait(forecast, failure)

        def settle(error: GaiaError) -> Step:
            return lambda forecast: self._settle(forecast, error, policy, present(), forfeit)

        try:
            async with asyncio.TaskGroup() as group:
                for forecast in forecasts:
                    group.create_task(attempt(forecast))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return failed

    async def postpone(self, forecast: Forecast, attempts: int, next_at: datetime) -> None:
        """Store that the step is tried again at `next_at`."""
        await self._database.run(
            lambda connection: queries.postpone_forecast(connection, forecast, attempts, next_at)
        )

    def _with_window(self, forecast: Forecast) -> Forecast:
        """Return the forecast, with the end of its window moved if our request is late.

        Lateness counts until the request is sent, because the miner's own delay is not our absence.
        """
        if forecast.state not in _BEFORE_FREEZE:
            return forecast
        ends_at = self._window.extended(forecast, self._clock.now())
        return forecast if ends_at is None else replace(forecast, window_ends_at=ends_at)

    async def _settle(
        self,
        forecast: Forecast,
        error: GaiaError,
        policy: RetryPolicy,
        now: datetime,
        forfeit: StoreForfeit | None,
    ) -> None:
        attempt = forecast.attempts + 1
        verdict = judge(error, attempt, policy, now, may_forfeit=forfeit is not None)
        if isinstance(verdict, Wait):
            if not self._wait(forecast, error):
                return
            verdict = Excuse(
                f"our own failures stopped this forecast alone for {GIVE_UP_S / 3600:g} h: {error}"
            )
        log.info("step_failed", state=forecast.state, attempt=attempt, error=_text_of(error))
        match verdict:
            case Retry(at):
                await self.postpone(forecast, attempt, at)
            case Snooze(until):
                await self.postpone(forecast, forecast.attempts, until)
            case Forfeit(reason):
                assert forfeit is not None
                await forfeit(forecast, reason)
                VERIFICATION_FAILURES.add(reason_of(error))
            case Reject(reason):
                notes = getattr(error, "__notes__", [])
                evidence = {"diagnosis": notes} if notes else None
                await self._book.close(forecast, Event.MINER_FAILED, reason, now, evidence)
                VERIFICATION_FAILURES.add(reason_of(error))
            case Excuse(reason):
                await self._book.close(forecast, Event.VALIDATOR_FAILED, reason, now)
            case Halt():
                raise error
        self._failures.forget(_key(forecast))

    def _wait(self, forecast: Forecast, error: GaiaError) -> bool:
        """Let the forecast wait; return whether it alone has waited for too long, and must end."""
        is_hopeless = self._failures.note(_key(forecast))
        # An outage of ours stops all forecasts alike.
        words = _text_of(error)
        log.warning("step_postponed", state=forecast.state, error=words, once=(forecast.run_id, words))
        return is_hopeless


async def _failure_of(step: Step, forecast: Forecast) -> GaiaError | None:
    """Run one step; return what it raised, with a bug as a `TransientError`."""
    try:
        await step(forecast)
    except GaiaError as error:
        return error
    except Exception as error:  # the only catch-all of a step: a bug costs no other forecast
        words = type(error).__name__
        log.exception("step_crashed", state=forecast.state, once=(forecast.run_id, words))
        return TransientError(f"{type(error).__name__}: {error}"[:500])
    return None


def _key(forecast: Forecast) -> Key:
    return forecast.run_id, forecast.hotkey


def _text_of(error: GaiaError) -> str:
    return f"{type(error).__name__}: {error}"
