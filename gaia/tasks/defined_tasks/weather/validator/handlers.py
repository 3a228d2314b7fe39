"""The handlers of the weather task, by name; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from gaia.validator.utils.errors import UnknownHandler

Handler = Callable[[dict[str, Any]], dict[str, Any]]

_HERE = __package__

HANDLERS: Mapping[str, str] = {
    "weather.hash.gfs_compute": f"{_HERE}.reference:gfs_compute",
    "weather.hash.verification_compute": f"{_HERE}.reference:verification_compute",
    "weather.hash.forecast_verify": f"{_HERE}.verification:forecast_verify",
    "weather.score.day1": f"{_HERE}.scoring:score_day1",
    "weather.score.era5_final": f"{_HERE}.scoring:score_era5_final",
    "weather.score.batch": f"{_HERE}.batch:score_batch",
    "weather.score.forecast_verification": f"{_HERE}.scoring:describe_forecast",
    "weather.copies.products": f"{_HERE}.copies.overlaps:make_products",
    "weather.copies.overlaps": f"{_HERE}.copies.overlaps:find_overlaps",
}
"""Handler -> "module:function", a function from a payload to a value, both plain dicts."""

READS = ("spool", "raw")
WRITES = ("fields", "sketches", "products")
"""Folders of the data folder that handlers read, and that they write; a worker can open no others."""


def warm_up() -> None:
    """Import every handler, and do what the first unit would find undone: it is then as fast as the second."""
    for name in HANDLERS:
        resolve(name)
    import_module(f"{_HERE}.measures").warm_up()


def resolve(name: str) -> Handler:
    """Return the handler called `name`, importing its module if need be.

    Raises
    ------
    UnknownHandler
        If there is none of that name.
    """
    if name not in HANDLERS:
        raise UnknownHandler(f"no handler is called {name!r}")
    module, _, function = HANDLERS[name].partition(":")
    handler: Handler = getattr(import_module(module), function)
    return handler
