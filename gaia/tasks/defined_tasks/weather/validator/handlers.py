"""The handlers of the weather task, by name; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

import msgspec

from gaia.tasks.defined_tasks.weather import units
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
    units.MakeProducts.handler: f"{_HERE}.copies.overlaps:make_products",
    units.FindOverlaps.handler: f"{_HERE}.copies.overlaps:find_overlaps",
}
"""Handler -> "module:function", a function from the unit of that name to the answer it declares."""

READS = ("spool", "raw")
WRITES = ("fields", "sketches", "products")
"""Folders of the data folder that handlers read, and that they write; a worker can open no others."""


def warm_up() -> None:
    """Import every handler, and do what the first unit would find undone: it is then as fast as the second."""
    for name in HANDLERS:
        resolve(name)
    import_module(f"{_HERE}.measures").warm_up()


def resolve(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return the handler called `name` as workers call it: from a payload to a value, both plain.

    Its module is imported if need be.

    Raises
    ------
    UnknownHandler
        If there is none of that name.
    """
    handle, unit = _function(name), units.UNITS[name]

    def handle_plain(payload: Mapping[str, Any]) -> Any:
        return msgspec.to_builtins(handle(msgspec.convert(payload, unit)))

    return handle_plain


def answer_to(unit: units.UnitOf[A]) -> A:
    """Return what the handler of `unit` answers, found out here and now."""
    answer: A = _function(unit.handler)(unit)
    return answer


def _function(name: str) -> Callable[[Any], Any]:
    if name not in HANDLERS:
        raise UnknownHandler(f"no handler is called {name!r}")
    module, _, function = HANDLERS[name].partition(":")
    handle: Callable[[Any], Any] = getattr(import_module(module), function)
    return handle
