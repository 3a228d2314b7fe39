"""Each unit of work has one handler, and its payload keeps the shape that the wire and the journal have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_type_hints

import msgspec
import pytest

from gaia.tasks.defined_tasks.weather import units
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import Component
from gaia.tasks.defined_tasks.weather.units import UNITS, LeadUnit, Spooled, Unit
from gaia.tasks.defined_tasks.weather.validator.handlers import HANDLERS
from gaia.validator.utils.identities import Hotkey
from tests.support.repository import ROOT

SHAPE = {"grid": "1.0", "steps": 40, "step_hours": 6}
LEAD = {"lead_hours": 24, "fields": ["2t"], "truth": {"2t": "/t"}, "climatology": {"2t": "/c"}}
SPOOLED = {"store_dir": "/spool", "digests": {"2t/.zarray": "ab"}}
DECODED = {"grid": "1.0", "fields": ["2t"], "out_dir": "/fields"}

PAYLOADS: dict[str, dict[str, Any]] = {
    "weather.hash.gfs_compute": DECODED
    | {"source_path": "/raw", "init_time": "2026-03-25T00:00:00+00:00", "lead_hours": 12}
    | {"climatology": {"2t": "/c"}},
    "weather.hash.verification_compute": DECODED
    | {"kind": "climatology", "valid_time": "2026-03-25T00:00:00+00:00", "store_dir": "/raw"},
    "weather.hash.forecast_verify": SHAPE | SPOOLED,
    "weather.score.forecast_verification": SHAPE | SPOOLED | {"lead_hours": 24, "fields": ["2t"]},
    "weather.score.day1": SHAPE | LEAD | SPOOLED | {"measures": "gaia-2.9", "baseline": {"2t": "/b"}},
    "weather.score.era5_final": SHAPE
    | LEAD
    | SPOOLED
    | {"measures": "plain", "persistence": {"2t": "/p"}, "sketch": "/sketch"},
    "weather.score.batch": SHAPE
    | LEAD
    | {
        "measures": "gaia-2.9",
        "kind": "final",
        "forecasts": {"5A": SPOOLED, "5B": SPOOLED | {"sketch": "/s"}},
    },
    "weather.copies.products": {"folder": "/s", "hotkeys": ["5A"], "fields": 3, "out_dir": "/products"},
    "weather.copies.overlaps": {
        "hotkeys": ["5A", "5B"],
        "products": [{"path": "/p", "sha256": "ab", "size": 2, "places": [1, None]}],
    },
}
"""What each handler was given by the first release that had it; stored runs hold such payloads."""


def kinds_of_unit(base: type[Unit] = Unit) -> Iterator[type[Unit]]:
    for kind in base.__subclasses__():
        if "handler" in vars(kind):
            yield kind
        yield from kinds_of_unit(kind)


def test_each_unit_has_a_handler_and_each_handler_a_unit() -> None:
    assert set(UNITS) == set(HANDLERS) == set(PAYLOADS)
    assert {kind.handler: kind for kind in kinds_of_unit()} == dict(UNITS)


@pytest.mark.parametrize("name", UNITS)
def test_a_handler_takes_the_unit_of_its_name_and_answers_as_that_declares(name: str) -> None:
    module, _, function = HANDLERS[name].partition(":")

    taken, answered = get_type_hints(getattr(import_module(module), function)).values()

    assert taken is UNITS[name]
    assert answered == UNITS[name].answer


@pytest.mark.parametrize("name", UNITS)
def test_a_payload_is_on_the_wire_as_it_ever_was(name: str) -> None:
    unit = msgspec.convert(PAYLOADS[name], UNITS[name])

    assert msgspec.to_builtins(unit) == PAYLOADS[name]


def test_names_of_handlers_are_written_in_one_file_of_the_package() -> None:
    named = re.compile(r"""["']weather\.(?:hash|score|copies)\.""")
    paths = (ROOT / "gaia").rglob("*.py")

    naming = {path.name for path in paths if named.search(path.read_text())}

    assert naming == {"units.py"}


@pytest.mark.parametrize("name", sorted(set(UNITS) - {kind.handler for kind in kinds_of_unit(LeadUnit)}))
def test_a_field_that_a_unit_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert(PAYLOADS[name] | {"colour": "red"}, UNITS[name])


def test_a_journal_that_holds_more_is_still_read() -> None:
    journalled = PAYLOADS["weather.score.day1"] | {"colour": "red"}

    assert msgspec.convert(journalled, units.ScoreDay1).measures == "gaia-2.9"


@pytest.mark.parametrize("kind", LeadKind)
def test_a_forecast_is_scored_alone_with_what_its_batch_is_given(kind: LeadKind) -> None:
    lead = msgspec.convert(SHAPE | LEAD, LeadUnit)
    spooled = Spooled(store_dir="/spool", digests={}, sketch="/s")

    alone = msgspec.to_builtins(units.score_one(kind, lead, spooled))
    batch = msgspec.to_builtins(units.score_batch(kind, lead, {Hotkey("5A"): spooled}))

    assert alone == SHAPE | LEAD | {
        "measures": "gaia-2.9",
        "store_dir": "/spool",
        "digests": {},
        "sketch": "/s",
    }
    assert batch.pop("forecasts") == {"5A": {"store_dir": "/spool", "digests": {}, "sketch": "/s"}}
    assert batch.pop("kind") == str(kind)
    assert {**alone, **batch} == alone


def test_a_member_of_a_batch_holds_measures_or_a_failure_alone() -> None:
    component = Component(
        field="2t", lead_hours=24, rmse=1.0, mse=1.0, mae=0.5, bias=-0.0, acc=None, skill_climatology=None
    )
    failed = units.BatchMember(failure=units.LeadFailure(error_type="MinerFault", message="late"))
    scored = units.BatchMember(components=[component], field_digests={"2t": "ab"})

    assert msgspec.to_builtins(failed) == {"failure": {"error_type": "MinerFault", "message": "late"}}
    assert msgspec.to_builtins(scored).keys() == {"components", "field_digests"}
