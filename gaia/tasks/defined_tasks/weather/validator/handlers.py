"""The handlers of the weather task, by name; each is imported on its first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

import msgspec

from gaia.tasks.defined_tasks.weather import units
from gaia.validator.utils import database_history
from gaia.validator.utils.entry_points import DATABASE_PICTURE
from gaia.validator.utils.errors import UnknownHandler

A = TypeVar("A")

_HERE = __package__

HANDLERS: Mapping[str, str] = {
    units.DecodeGfs.handler: f"{_HERE}.reference:gfs_compute",
    units.DecodeVerification.handler: f"{_HERE}.reference:verification_compute",
    units.VerifyForecast.handler: f"{_HERE}.verification:forecast_verify",
    units.ScoreDay1.handler: f"{_HERE}.scoring:score_day1",
    units.ScoreFinal.handler: f"{_HERE}.scoring:score_era5_final",
    units.ScoreBatch.handler: f"{_HERE}.batch:score_batch",
    units.DescribeForecast.handler: f"{_HERE}.scoring:describe_forecast",
    units.ComputeGramMatrix.handler: f"{_HERE}.copies.overlaps:compute_gram_matrix",
    units.FindOverlaps.handler: f"{_HERE}.copies.overlaps:pairwise_overlaps",
}
"""Name of a handler -> "module:function"; the function maps the unit of that name to its answer."""

RARE_HANDLERS: Mapping[str, str] = {database_history.HANDLER: DATABASE_PICTURE}
"""Further handlers, of the validator itself, that take and return plain values. No worker imports them before it
needs them, because their libraries would cost every worker memory."""

READS = ("spool", "raw")
WRITES = ("fields", "sketches", "products", database_history.CACHE)
"""Folders of the data folder that handlers write; a worker can open no others but those in `READS`."""


def warm_up() -> None:
    """Import every handler and prepare caches, so that the first unit is as fast as the second."""
    for name in HANDLERS:
        resolve(name)
    import_module(f"{_HERE}.measures").warm_up()


def resolve(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return the handler called `name` as a function from a plain payload to a plain value.

    Its module is imported if necessary.

    Raises
    ------
    UnknownHandler
        If no handler has this name.
    """
    if name in RARE_HANDLERS:
        rare: Callable[[Mapping[str, Any]], Any] = _imported(RARE_HANDLERS[name])
        return rare
    handle, unit = _function(name), units.UNITS[name]

    def handle_plain(payload: Mapping[str, Any]) -> Any:
        return msgspec.to_builtins(handle(msgspec.convert(payload, unit)))

    return handle_plain


def answer_to(unit: units.UnitOf[A]) -> A:
    """Run the handler of `unit` in this process; return its answer."""
    answer: A = _function(unit.handler)(unit)
    return answer


def _function(name: str) -> Callable[[Any], Any]:
    if name not in HANDLERS:
        raise UnknownHandler(f"no handler is called {name!r}")
    return _imported(HANDLERS[name])


def _imported(target: str) -> Callable[[Any], Any]:
    module, _, function = target.partition(":")
    handle: Callable[[Any], Any] = getattr(import_module(module), function)
    return handle
