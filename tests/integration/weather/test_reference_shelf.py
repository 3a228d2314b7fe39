"""What is scored against stays what it was, whatever happens to its files."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, ReferenceSource, lead_keys
from gaia.tasks.defined_tasks.weather.rules.base import Measures
from gaia.validator.db import queries
from gaia.validator.utils.errors import TransientError
from tests.support.shelf_world import DAY1, ERA5, INIT, NOW, World, contents, files_of


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


DAMAGE: dict[str, Callable[[Path], None]] = {"flipped": flip, "cut": cut, "gone": Path.unlink}


async def test_a_set_is_taken_from_disk_after_it_was_fetched_once(world: World) -> None:
    first = await files_of(world.shelf, ERA5, NOW)
    again = await world.new_shelf().take(ERA5, NOW)

    assert first == again
    assert world.source.fetched == 1


async def test_takers_at_once_share_one_transfer(world: World) -> None:
    world.source.gate = asyncio.Event()
    takers = [asyncio.create_task(world.shelf.take(ERA5, NOW)) for _ in range(5)]
    while not world.source.fetched:
        await asyncio.sleep(0)
    world.source.gate.set()

    taken = await asyncio.gather(*takers)

    assert all(files == taken[0] for files in taken)
    assert world.source.fetched == 1


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damaged_files_are_fetched_anew_and_are_what_they_were(world: World, damage: str) -> None:
    before = await files_of(world.shelf, ERA5, NOW)
    good, recorded = contents(before), (await world.row(ERA5))["digest"]
    DAMAGE[damage](Path(before["z500"].path))

    with capture_logs() as logs:
        after = await files_of(world.shelf, ERA5, NOW)

    assert after == before
    assert contents(after) == good
    assert (await world.row(ERA5))["digest"] == recorded
    assert world.source.fetched == 2
    (told,) = [line for line in logs if line["event"] == "reference_damaged"]
    assert told["log_level"] == "error"
    assert told["problem"].startswith("z500 is")


@pytest.mark.parametrize("damage", DAMAGE)
async def test_values_that_a_source_revised_are_recorded_beside_the_files_of_the_former_ones(
    world: World, damage: str
) -> None:
    before = await files_of(world.shelf, ERA5, NOW)
    other = contents(before)["2t"]
    DAMAGE[damage](Path(before["z500"].path))
    world.decoder.values = "281"

    with capture_logs() as logs:
        after = await files_of(world.shelf, ERA5, NOW)

    assert contents(after) == {name: f"{name} 281 ".encode() * 1000 for name in ERA5.fields}
    assert Path(before["2t"].path).read_bytes() == other
    row = await world.row(ERA5)
    assert {name: entry["sha256"] for name, entry in row["fields"].items()} == {
        name: entry.sha256 for name, entry in after.items()
    }
    (told,) = [line for line in logs if line["event"] == "reference_revised"]
    assert (told["log_level"], told["fields"]) == ("warning", ["2t", "z500"])


@pytest.mark.parametrize("is_old", [True, False])
async def test_set_that_another_data_folder_holds_is_fetched_anew_without_an_alarm(
    world: World, tmp_path: Path, is_old: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if is_old:
        good = await record_as_of_old(world, elsewhere / "fields" / ERA5.reference_id)
    else:
        good = contents(await files_of(world.new_shelf(elsewhere), ERA5, NOW))
    here = tmp_path / "here"

    with capture_logs() as logs:
        taken = await files_of(world.new_shelf(here), ERA5, NOW)

    assert contents(taken) == good
    assert all(Path(entry.path).is_relative_to(here) for entry in taken.values())
    assert contents(await files_of(world.new_shelf(elsewhere), ERA5, NOW)) == good
    recorded = (await world.row(ERA5))["fields"].values()
    assert all(entry["path"].startswith(f"fields/{ERA5.reference_id}/") for entry in recorded)
    assert [line["event"] for line in logs if line["log_level"] in ("warning", "error")] == []


async def test_a_file_that_is_put_back_is_served_without_the_source(world: World) -> None:
    before = await files_of(world.shelf, ERA5, NOW)
    path = Path(before["z500"].path)
    copy = path.read_bytes()
    path.unlink()
    world.source.error = TransientError("503")
    assert await world.shelf.take(ERA5, NOW) is None

    path.write_bytes(copy)

    assert await world.shelf.take(ERA5, NOW) == before
    assert (await world.row(ERA5))["last_error"] is None


async def test_files_are_read_whole_once_and_again_when_they_have_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = await files_of(world.shelf, ERA5, NOW)
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


async def test_sets_that_older_releases_recorded_are_served_and_mended_where_they_are(world: World) -> None:
    folder = world.data_dir / "fields" / ERA5.reference_id
    good = await record_as_of_old(world, folder)
    assert contents(await files_of(world.shelf, ERA5, NOW)) == good
    assert world.source.fetched == 0

    flip(folder / "2t.f32")
    taken = await files_of(world.shelf, ERA5, NOW)

    assert taken["2t"].path == str(folder / "2t.f32")
    assert contents(taken) == good


@pytest.mark.parametrize("is_old", [True, False])
async def test_sets_outlive_a_move_of_the_data_folder(world: World, tmp_path: Path, is_old: bool) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    if is_old:
        good = await record_as_of_old(world, before / "fields" / ERA5.reference_id)
    else:
        good = contents(await files_of(world.new_shelf(before), ERA5, NOW))
    fetched = world.source.fetched
    shutil.move(before, after)

    taken = await files_of(world.new_shelf(after), ERA5, NOW)

    assert contents(taken) == good
    assert all(Path(entry.path).is_relative_to(after) for entry in taken.values())
    assert world.source.fetched == fetched


async def test_a_set_asked_for_with_more_fields_gets_them_and_keeps_the_others(world: World) -> None:
    first = await files_of(world.shelf, DAY1, NOW)
    more = ReferenceKey(
        source=ReferenceSource.GFS, init_time=INIT, lead_hours=12, fields=("2t", "msl"), kind=LeadKind.DAY1
    )

    taken = await files_of(world.shelf, more, NOW)

    assert set(taken) == {"2t", "msl"}
    assert taken["2t"] == first["2t"]


async def test_a_disk_that_fails_is_our_failure_and_the_set_stays(world: World) -> None:
    taken = await files_of(world.shelf, ERA5, NOW)
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


async def test_truth_is_decoded_with_the_climatology_of_its_time_where_it_is_at_hand(world: World) -> None:
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
def test_of_what_a_lead_is_held_against_the_climatology_comes_first(kind: str, measures: Measures) -> None:
    assert next(iter(lead_keys(LeadKind(kind), INIT, 24, ["2t"], measures))) == "climatology"
