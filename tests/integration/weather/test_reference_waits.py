"""No source's trouble reaches the tick: it is recorded, waited out, and in the end given up."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.refusals import Overdue, Reason, SourceRefusal
from gaia.validator.utils.errors import (
    ConfigurationError,
    GaiaError,
    NotYetAvailable,
    OwnFailure,
    QuarantinedError,
    TransientError,
)
from tests.support.shelf_world import DAY1, ERA5, INIT, NOW, World

SOURCES = ("gfs", "era5", "climatology")


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("GAIA_CDS_KEY", "it is refused", "mend it"),
        SourceRefusal("the store blocks us", Reason.BLOCKED),
        TransientError("503"),
        OwnFailure("the disk is full"),
        RuntimeError("nobody foresaw this"),
        KeyError("jobID"),
        OSError(5, "input/output error"),
        RecursionError(),
        QuarantinedError("killed 3 workers"),
        NotYetAvailable("not published", NOW - timedelta(days=1)),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("source", SOURCES)
async def test_whatever_a_source_raises_is_recorded_and_waited_out(
    world: World, source: str, error: Exception
) -> None:
    key = ReferenceKey(
        source=ReferenceSource(source), init_time=INIT, lead_hours=24, fields=("2t",), kind=LeadKind.FINAL
    )
    world.source.error = error

    assert await world.shelf.take(key, NOW) is None

    row = await world.row(key)
    assert str(error) in row["last_error"]
    is_ours = isinstance(error, OwnFailure)
    assert world.shelf.failed_by_us(key) is is_ours
    look_at = world.shelf.next_look
    assert look_at is not None
    assert NOW < look_at <= NOW + timedelta(minutes=15)
    # A new process does not know whose fault it was, so it does not wait for ours.
    assert row["retry_at"] == (NOW if is_ours else look_at)
    world.source.error = None
    assert await world.shelf.take(key, look_at - timedelta(seconds=1)) is None
    assert await world.shelf.take(key, look_at) is not None
    assert (await world.row(key))["last_error"] is None


@pytest.mark.parametrize(
    "error",
    [TransientError("ERA5 file lacks 2t"), QuarantinedError("killed 3 workers"), OwnFailure("disk full")],
)
async def test_a_file_that_cannot_be_read_is_recorded_and_fetched_anew(
    world: World, error: GaiaError
) -> None:
    world.decoder.error = error
    assert await world.shelf.take(ERA5, NOW) is None
    assert str(error) in (await world.row(ERA5))["last_error"]

    world.decoder.error = None
    assert await world.shelf.take(ERA5, NOW + timedelta(hours=1)) is not None


async def looks(world: World, key: ReferenceKey, now: datetime, until: datetime) -> tuple[int, datetime]:
    """Look whenever a look is due; return how often, and when it is given up or `until` has come."""
    count = 0
    while now < until and not await world.shelf.is_given_up(key):
        assert await world.shelf.take(key, now) is None
        count += 1
        now = (await world.row(key))["retry_at"]
    return count, now


async def test_day1_truth_that_never_comes_is_given_up_for_good(world: World) -> None:
    deadline = DAY1.valid_time + timedelta(hours=48)
    world.source.error = Overdue("GFS is not published: url", INIT)
    assert await world.shelf.take(DAY1, DAY1.valid_time) is None
    assert await world.shelf.take(DAY1, deadline - timedelta(minutes=1)) is None
    assert not await world.shelf.is_given_up(DAY1)

    with capture_logs() as logs:
        assert await world.shelf.take(DAY1, deadline) is None

    assert await world.shelf.is_given_up(DAY1)
    assert [line["log_level"] for line in logs if line["event"] == "reference_given_up"] == ["warning"]
    world.source.error, world.source.fetched = None, 0
    assert await world.new_shelf().take(DAY1, deadline + timedelta(days=1)) is None
    assert await world.new_shelf().is_given_up(DAY1)
    assert world.source.fetched == 0


async def test_fault_of_ours_gives_nothing_up_before_all_sets_end(world: World) -> None:
    world.source.error = OwnFailure("the disk is full")
    for days in (1, 5, 29):
        assert await world.shelf.take(DAY1, DAY1.valid_time + timedelta(days=days)) is None
    assert not await world.shelf.is_given_up(DAY1)

    assert await world.shelf.take(DAY1, DAY1.valid_time + timedelta(days=31)) is None
    assert await world.shelf.is_given_up(DAY1)
    assert not world.shelf.failed_by_us(DAY1)


async def test_after_a_fault_of_ours_the_source_is_asked_for_some_time(world: World) -> None:
    world.source.error = OwnFailure("the disk is full")
    for hours in (6, 60):
        assert await world.shelf.take(DAY1, DAY1.valid_time + timedelta(hours=hours)) is None

    world.source.error = TransientError("503")
    assert await world.shelf.take(DAY1, DAY1.valid_time + timedelta(hours=61)) is None
    assert not await world.shelf.is_given_up(DAY1)
    assert not world.shelf.failed_by_us(DAY1)

    world.source.error = None
    assert await world.shelf.take(DAY1, DAY1.valid_time + timedelta(hours=63)) is not None


async def test_process_that_starts_late_gives_nothing_up_at_once(world: World) -> None:
    world.source.error = TransientError("503")
    assert await world.shelf.take(DAY1, DAY1.valid_time) is None

    shelf = world.new_shelf()
    assert await shelf.take(DAY1, DAY1.valid_time + timedelta(days=3)) is None
    assert not await shelf.is_given_up(DAY1)
    assert await shelf.take(DAY1, DAY1.valid_time + timedelta(days=3, hours=13)) is None
    assert await shelf.is_given_up(DAY1)


async def test_after_an_outage_of_ours_day1_is_not_given_up_on_the_first_failure(world: World) -> None:
    world.source.error = TransientError("503")
    late = DAY1.valid_time + timedelta(days=5)
    assert await world.shelf.take(DAY1, late) is None
    assert not await world.shelf.is_given_up(DAY1)

    count, given_up_at = await looks(
        world, DAY1, (await world.row(DAY1))["retry_at"], late + timedelta(days=2)
    )

    assert count >= 10
    assert late + timedelta(hours=12) <= given_up_at <= late + timedelta(hours=14)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("era5", LeadKind.FINAL),
        ("gfs", LeadKind.FINAL),
        ("climatology", LeadKind.FINAL),
        ("climatology", LeadKind.DAY1),
    ],
)
async def test_all_else_is_given_up_a_month_after_its_valid_time(
    world: World, source: str, kind: LeadKind
) -> None:
    world.source.error = TransientError("503")
    key = ReferenceKey(
        source=ReferenceSource(source), init_time=INIT, lead_hours=12, fields=("2t",), kind=kind
    )
    deadline = key.valid_time + timedelta(days=30)
    for moment in (key.valid_time + timedelta(days=5), deadline - timedelta(minutes=1)):
        assert await world.shelf.take(key, moment) is None
        assert not await world.shelf.is_given_up(key)

    assert await world.shelf.take(key, deadline + timedelta(hours=1)) is None

    assert await world.shelf.is_given_up(key)


@pytest.mark.parametrize(
    ("error", "first", "longest", "most_in_two_days"),
    [
        (TransientError("503"), timedelta(minutes=15), timedelta(hours=1), 60),
        (SourceRefusal("licence", Reason.LICENCE), timedelta(minutes=15), timedelta(hours=4), 20),
        (SourceRefusal("daily", Reason.DAILY), timedelta(minutes=15), timedelta(hours=4), 20),
        (
            SourceRefusal("wait", Reason.BUSY, timedelta(seconds=17)),
            timedelta(seconds=17),
            timedelta(hours=1),
            60,
        ),
        (SourceRefusal("wait", Reason.BUSY, timedelta(hours=6)), timedelta(hours=6), timedelta(hours=6), 10),
    ],
)
async def test_waits_grow_to_hours_and_are_as_long_as_the_source_asks(
    world: World, error: Exception, first: timedelta, longest: timedelta, most_in_two_days: int
) -> None:
    world.source.error = error
    now, waits = NOW, []

    while now < NOW + timedelta(days=2):
        assert await world.shelf.take(ERA5, now) is None
        retry_at = (await world.row(ERA5))["retry_at"]
        waits.append(retry_at - now)
        now = retry_at

    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (first, longest)
    assert len(waits) <= most_in_two_days


async def test_what_is_wrong_is_said_loudly_when_it_changes_and_quietly_while_it_lasts(world: World) -> None:
    keys = [
        ReferenceKey(
            source=ReferenceSource.ERA5, init_time=INIT, lead_hours=lead, fields=("2t",), kind=LeadKind.FINAL
        )
        for lead in (24, 48)
    ]
    steps: list[Exception | None] = [
        SourceRefusal("licence of job 1", Reason.LICENCE),
        SourceRefusal("licence of job 2", Reason.LICENCE),
        SourceRefusal("blocked", Reason.BLOCKED),
        Overdue("late", NOW),
        Overdue("late", NOW),
    ]
    levels = []
    now = NOW

    for error in steps:
        world.source.error = error
        now += timedelta(days=1)
        with capture_logs() as logs:
            for key in keys:
                assert await world.shelf.take(key, now) is None
        levels.append([line["log_level"] for line in logs if line["event"] == "reference_missing"])

    assert levels == [
        ["error", "debug"],
        ["debug", "debug"],
        ["error", "debug"],
        ["warning", "warning"],
        ["debug", "debug"],
    ]
