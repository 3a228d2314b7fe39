"""What is scored against stays what it was, and no source's trouble reaches the tick."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.base import Archives
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.files import FieldFiles
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, ReferenceSource, lead_keys
from gaia.tasks.defined_tasks.weather.references.shelf import ReferenceShelf
from gaia.tasks.defined_tasks.weather.sources.refusals import Overdue, Reason, SourceRefusal
from gaia.validator.db import queries
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import (
    ConfigurationError,
    GaiaError,
    NotYetAvailable,
    OwnFailure,
    QuarantinedError,
    TransientError,
)
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit
from gaia.validator.utils.settings.contract import ContractSettings
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.pool import PoolSettings
from gaia.validator.utils.settings.sources import SourcesSettings

INIT = datetime(2026, 3, 25, tzinfo=UTC)
NOW = INIT + timedelta(days=10)
ERA5 = ReferenceKey(
    source=ReferenceSource.ERA5, init_time=INIT, lead_hours=24, fields=("2t", "z500"), kind=LeadKind.FINAL
)
DAY1 = ReferenceKey(
    source=ReferenceSource.GFS, init_time=INIT, lead_hours=12, fields=("2t",), kind=LeadKind.DAY1
)
SOURCES = ("gfs", "era5", "climatology")


class Source:
    """An archive that raises what it is told to."""

    def __init__(self) -> None:
        self.fetched = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def fetch(self, *asked: Any) -> None:
        self.fetched += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


class Decoder:
    """Stands for the pool: writes `values` for every field, as the handlers do, each under its digest."""

    def __init__(self) -> None:
        self.values = "280"
        self.error: GaiaError | None = None
        self.units: list[WorkUnit] = []

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        self.units.append(unit)
        if self.error is not None:
            return ResultUnit(job_id=unit.job_id, attempt=1, failure=Failure.of(self.error))
        fields = {}
        for name in unit.payload["fields"]:
            content = f"{name} {self.values} ".encode() * 1000
            sha256 = hashlib.sha256(content).hexdigest()
            path = Path(unit.payload["out_dir"], f"{name}.{sha256[:16]}.f32")
            path.write_bytes(content)
            fields[name] = {"path": str(path), "sha256": sha256}
        return ResultUnit(job_id=unit.job_id, attempt=1, value={"fields": fields, "digest": "unused"})


@dataclass
class World:
    database: Database
    data_dir: Path
    source: Source = field(default_factory=Source)
    decoder: Decoder = field(default_factory=Decoder)

    def __post_init__(self) -> None:
        self.shelf = self.new_shelf()

    def new_shelf(self, data_dir: Path | None = None) -> ReferenceShelf:
        archives = Archives(gfs=self.source, era5=self.source, climatology=self.source)
        return ReferenceShelf(
            ContractSettings(),
            SourcesSettings(),
            FilesSettings(data_dir=data_dir or self.data_dir),
            PoolSettings(),
            database=self.database,
            archives=archives,
            pool=self.decoder,
        )

    async def row(self, key: ReferenceKey) -> dict[str, Any]:
        async with self.database.transaction() as connection:
            found = await connection.fetchrow(
                "SELECT * FROM reference_sets WHERE reference_id = $1", key.reference_id
            )
        return dict(found)


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path.resolve())


def contents(files: FieldFiles) -> dict[str, bytes]:
    return {name: Path(entry.path).read_bytes() for name, entry in files.items()}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


DAMAGE = {"flipped": flip, "cut": cut, "gone": Path.unlink}


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
async def test_whatever_a_source_raises_is_recorded_and_waited_out(world, source, error):
    key = ReferenceKey(
        source=ReferenceSource(source), init_time=INIT, lead_hours=24, fields=("2t",), kind=LeadKind.FINAL
    )
    world.source.error = error

    assert await world.shelf.take(key, NOW) is None

    row = await world.row(key)
    assert str(error) in row["last_error"]
    assert NOW < row["retry_at"] <= NOW + timedelta(minutes=15)
    assert world.shelf.next_look == row["retry_at"]
    world.source.error = None
    assert await world.shelf.take(key, row["retry_at"] - timedelta(seconds=1)) is None
    assert await world.shelf.take(key, row["retry_at"]) is not None
    assert (await world.row(key))["last_error"] is None


@pytest.mark.parametrize(
    "error",
    [TransientError("ERA5 file lacks 2t"), QuarantinedError("killed 3 workers"), OwnFailure("disk full")],
)
async def test_a_file_that_cannot_be_read_is_recorded_and_fetched_anew(world, error):
    world.decoder.error = error
    assert await world.shelf.take(ERA5, NOW) is None
    assert str(error) in (await world.row(ERA5))["last_error"]

    world.decoder.error = None
    assert await world.shelf.take(ERA5, NOW + timedelta(hours=1)) is not None


async def test_a_set_is_taken_from_disk_after_it_was_fetched_once(world):
    first = await world.shelf.take(ERA5, NOW)
    again = await world.new_shelf().take(ERA5, NOW)

    assert first == again
    assert world.source.fetched == 1


async def test_takers_at_once_share_one_transfer(world):
    world.source.gate = asyncio.Event()
    takers = [asyncio.create_task(world.shelf.take(ERA5, NOW)) for _ in range(5)]
    while not world.source.fetched:
        await asyncio.sleep(0)
    world.source.gate.set()

    taken = await asyncio.gather(*takers)

    assert all(files == taken[0] for files in taken)
    assert world.source.fetched == 1


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damaged_files_are_fetched_anew_and_are_what_they_were(world, damage):
    before = await world.shelf.take(ERA5, NOW)
    good, recorded = contents(before), (await world.row(ERA5))["digest"]
    DAMAGE[damage](Path(before["z500"].path))

    with capture_logs() as logs:
        after = await world.shelf.take(ERA5, NOW)

    assert after == before
    assert contents(after) == good
    assert (await world.row(ERA5))["digest"] == recorded
    assert world.source.fetched == 2
    (told,) = [line for line in logs if line["event"] == "reference_damaged"]
    assert told["log_level"] == "error"
    assert told["problem"].startswith("z500 is")


@pytest.mark.parametrize("damage", DAMAGE)
async def test_values_that_a_source_revised_are_never_served_for_those_recorded(world, damage):
    before = await world.shelf.take(ERA5, NOW)
    other = contents(before)["2t"]
    recorded = await world.row(ERA5)
    DAMAGE[damage](Path(before["z500"].path))
    world.decoder.values = "281"
    now = NOW

    for attempt in range(1, 5):
        with capture_logs() as logs:
            assert await world.shelf.take(ERA5, now) is None
        row = await world.row(ERA5)
        assert "was revised by its source" in row["last_error"]
        assert (row["digest"], row["fields"]) == (recorded["digest"], recorded["fields"])
        assert Path(before["2t"].path).read_bytes() == other
        errors = [line["event"] for line in logs if line["log_level"] == "error"]
        assert errors == (["reference_damaged"] if attempt == 1 else []) + ["reference_missing"]
        assert now < row["retry_at"] <= now + timedelta(hours=4)
        now = row["retry_at"]

    # A copy of the folder brings back what was scored against.
    world.decoder.values = "280"
    assert await world.shelf.take(ERA5, now) == before


async def test_a_file_that_is_put_back_is_served_without_the_source(world):
    before = await world.shelf.take(ERA5, NOW)
    path = Path(before["z500"].path)
    copy = path.read_bytes()
    path.unlink()
    world.source.error = TransientError("503")
    assert await world.shelf.take(ERA5, NOW) is None

    path.write_bytes(copy)

    assert await world.shelf.take(ERA5, NOW) == before
    assert (await world.row(ERA5))["last_error"] is None


async def test_files_are_read_whole_once_and_again_when_they_have_changed(world, monkeypatch):
    taken = await world.shelf.take(ERA5, NOW)
    reads = []
    digest = hashlib.file_digest

    def counted(file: Any, kind: str) -> Any:
        reads.append(Path(file.name).name.split(".")[0])
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    for _ in range(3):
        await world.shelf.take(ERA5, NOW)
    os.utime(taken["2t"].path, ns=(1, 1))
    for _ in range(3):
        await world.shelf.take(ERA5, NOW)

    assert sorted(reads) == ["2t", "2t", "z500"]


async def record_as_of_old(world: World, folder: Path) -> dict[str, bytes]:
    """Leave what older releases left: absolute paths, names without a digest."""
    folder.mkdir(parents=True)
    fields, good = {}, {}
    for name in ERA5.fields:
        good[name] = f"{name} 280 ".encode() * 1000
        (folder / f"{name}.f32").write_bytes(good[name])
        sha256 = hashlib.sha256(good[name]).hexdigest()
        fields[name] = {"path": str(folder / f"{name}.f32"), "sha256": sha256}
    async with world.database.transaction() as connection:
        await queries.record_reference(connection, ERA5.reference_id, "old", fields)
    return good


async def test_sets_that_older_releases_recorded_are_served_and_mended_where_they_are(world):
    folder = world.data_dir / "fields" / ERA5.reference_id
    good = await record_as_of_old(world, folder)
    assert contents(await world.shelf.take(ERA5, NOW)) == good
    assert world.source.fetched == 0

    flip(folder / "2t.f32")
    taken = await world.shelf.take(ERA5, NOW)

    assert taken["2t"].path == str(folder / "2t.f32")
    assert contents(taken) == good


@pytest.mark.parametrize("is_old", [True, False])
async def test_sets_outlive_a_move_of_the_data_folder(world, tmp_path, is_old):
    before, after = tmp_path / "before", tmp_path / "after"
    if is_old:
        good = await record_as_of_old(world, before / "fields" / ERA5.reference_id)
    else:
        good = contents(await world.new_shelf(before).take(ERA5, NOW))
    fetched = world.source.fetched
    shutil.move(before, after)

    taken = await world.new_shelf(after).take(ERA5, NOW)

    assert contents(taken) == good
    assert all(Path(entry.path).is_relative_to(after) for entry in taken.values())
    assert world.source.fetched == fetched


async def test_a_set_asked_for_with_more_fields_gets_them_and_keeps_the_others(world):
    first = await world.shelf.take(DAY1, NOW)
    more = ReferenceKey(
        source=ReferenceSource.GFS, init_time=INIT, lead_hours=12, fields=("2t", "msl"), kind=LeadKind.DAY1
    )

    taken = await world.shelf.take(more, NOW)

    assert set(taken) == {"2t", "msl"}
    assert taken["2t"] == first["2t"]


async def looks(world: World, key: ReferenceKey, now: datetime, until: datetime) -> tuple[int, datetime]:
    """Look whenever a look is due; return how often, and when it is given up or `until` has come."""
    count = 0
    while now < until and not await world.shelf.is_given_up(key):
        assert await world.shelf.take(key, now) is None
        count += 1
        now = (await world.row(key))["retry_at"]
    return count, now


async def test_day1_truth_that_never_comes_is_given_up_for_good(world):
    deadline = DAY1.valid_time + timedelta(hours=48)
    world.source.error = Overdue("GFS is not published: url", INIT)
    assert await world.shelf.take(DAY1, DAY1.valid_time) is None
    assert await world.shelf.take(DAY1, deadline - timedelta(minutes=1)) is None
    assert not await world.shelf.is_given_up(DAY1)

    with capture_logs() as logs:
        assert await world.shelf.take(DAY1, deadline) is None

    assert await world.shelf.is_given_up(DAY1)
    assert [line["log_level"] for line in logs if line["event"] == "reference_given_up"] == ["error"]
    world.source.error, world.source.fetched = None, 0
    assert await world.new_shelf().take(DAY1, deadline + timedelta(days=1)) is None
    assert await world.new_shelf().is_given_up(DAY1)
    assert world.source.fetched == 0


async def test_after_an_outage_of_ours_day1_is_not_given_up_on_the_first_failure(world):
    world.source.error = TransientError("503")
    late = DAY1.valid_time + timedelta(days=5)
    assert await world.shelf.take(DAY1, late) is None
    assert not await world.shelf.is_given_up(DAY1)

    count, given_up_at = await looks(
        world, DAY1, (await world.row(DAY1))["retry_at"], late + timedelta(days=2)
    )

    assert count >= 10
    assert late + timedelta(hours=12) <= given_up_at <= late + timedelta(hours=14)


async def test_truth_of_era5_and_climatology_is_waited_for_without_end(world):
    world.source.error = TransientError("503")
    for source in ("era5", "climatology"):
        key = ReferenceKey(
            source=ReferenceSource(source), init_time=INIT, lead_hours=12, fields=("2t",), kind=LeadKind.DAY1
        )
        for days in (1, 2, 30):
            assert await world.shelf.take(key, NOW + timedelta(days=days)) is None
        assert not await world.shelf.is_given_up(key)


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
    world, error, first, longest, most_in_two_days
):
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


async def test_what_is_wrong_is_said_loudly_when_it_changes_and_quietly_while_it_lasts(world):
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
        ["error", "info"],
        ["info", "info"],
        ["error", "info"],
        ["warning", "warning"],
        ["info", "info"],
    ]


async def test_a_disk_that_fails_is_our_failure_and_the_set_stays(world):
    taken = await world.shelf.take(ERA5, NOW)
    path = Path(taken["2t"].path)
    good = path.read_bytes()
    path.unlink()
    path.symlink_to(path.name)

    assert await world.shelf.take(ERA5, NOW) is None

    assert (await world.row(ERA5))["ready"]
    path.unlink()
    path.write_bytes(good)
    assert await world.shelf.take(ERA5, NOW) == taken
    assert world.source.fetched == 1


async def test_truth_is_decoded_with_the_climatology_of_its_time_where_it_is_at_hand(world):
    given = []
    climatology = replace(ERA5, source=ReferenceSource.CLIMATOLOGY)
    await world.shelf.take(climatology, NOW)
    other_time = replace(ERA5, lead_hours=48)
    for key in (ERA5, other_time):
        await world.shelf.take(key, NOW)
        given.append(sorted(world.decoder.units[-1].payload.get("climatology", {})))

    assert "climatology" not in world.decoder.units[0].payload
    assert given == [["2t", "z500"], []]


@pytest.mark.parametrize("measures", ["plain", "gaia-2.9"])
@pytest.mark.parametrize("kind", ["day1", "final"])
def test_of_what_a_lead_is_held_against_the_climatology_comes_first(kind, measures):
    assert next(iter(lead_keys(LeadKind(kind), INIT, 24, ["2t"], measures))) == "climatology"
