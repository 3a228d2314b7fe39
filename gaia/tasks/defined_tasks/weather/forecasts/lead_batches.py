"""Groups the forecasts of a lead into units, so that a slow or broken one delays no other."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Self, TypeVar

import structlog

from gaia.validator.utils.errors import GaiaError, TransientError
from gaia.validator.utils.identities import Hotkey

log = structlog.get_logger(__name__)

P = TypeVar("P")
V = TypeVar("V")


class LeadBatches(Generic[P, V]):
    """Groups the forecasts of one lead as they arrive.

    A unit starts with all waiting forecasts if none runs, or when the waiting ones fill a unit.
    If a unit fails as a whole, its forecasts are scored again one by one, so that a bad
    forecast costs no other.

    Parameters
    ----------
    most
        Maximum number of forecasts in one unit.
    score_batch
        Scores several forecasts (hotkey to payload); returns hotkey to value or error.
    score_one
        Scores one forecast.
    """

    def __init__(
        self,
        most: int,
        score_batch: Callable[[Mapping[Hotkey, P]], Awaitable[Mapping[Hotkey, V | GaiaError]]],
        score_one: Callable[[Hotkey, P], Awaitable[V]],
    ) -> None:
        self._most = most
        self._score_batch = score_batch
        self._score_one = score_one
        self._waiting: dict[Hotkey, tuple[P, asyncio.Future[V]]] = {}
        self._units: set[asyncio.Task[None]] = set()
        # A unit has the forecasts of several miners, so its lines must not be those of the one that starts it.
        self._context = contextvars.copy_context()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Cancel the units that still run, because no caller is left."""
        for unit in self._units:
            unit.cancel()
        await asyncio.gather(*self._units, return_exceptions=True)

    async def score(self, hotkey: Hotkey, payload: P) -> V:
        """Return the scored lead of one forecast; raise what its scoring raised."""
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting[hotkey] = payload, future
        self._start()
        return await future

    def _start(self) -> None:
        if self._waiting and (not self._units or len(self._waiting) % self._most == 0):
            unit = asyncio.create_task(self._unit(), context=self._context.copy())
            self._units.add(unit)
            unit.add_done_callback(self._ended)

    def _ended(self, unit: asyncio.Task[None]) -> None:
        self._units.discard(unit)
        if not unit.cancelled():
            self._start()

    async def _unit(self) -> None:
        # Yield to the loop once, so that others may arrive.
        await asyncio.sleep(0)
        taken = {hotkey: self._waiting.pop(hotkey) for hotkey in list(self._waiting)[: self._most]}
        payloads = {hotkey: payload for hotkey, (payload, _) in taken.items()}
        try:
            outcomes = await self._outcomes(payloads)
        except BaseException as error:
            for _, future in taken.values():
                _settle(future, error)
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        for hotkey, (_, future) in taken.items():
            _settle(future, outcomes[hotkey])

    async def _outcomes(self, payloads: Mapping[Hotkey, P]) -> Mapping[Hotkey, V | BaseException]:
        if len(payloads) > 1:
            try:
                return await self._score_together(payloads)
            except GaiaError as error:
                log.warning("batch_failed", forecasts=len(payloads), error=f"{type(error).__name__}: {error}")
        values = await asyncio.gather(
            *(self._score_one(hotkey, payload) for hotkey, payload in payloads.items()),
            return_exceptions=True,
        )
        return dict(zip(payloads, values, strict=True))

    async def _score_together(self, payloads: Mapping[Hotkey, P]) -> Mapping[Hotkey, V | GaiaError]:
        outcomes = await self._score_batch(payloads)
        if absent := payloads.keys() - outcomes.keys():
            raise TransientError(f"the answer lacks {len(absent)} of {len(payloads)} forecasts")
        return outcomes


def _settle(future: asyncio.Future[V], outcome: V | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, asyncio.CancelledError):
        future.cancel()
    elif isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
