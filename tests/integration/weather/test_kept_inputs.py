"""Inputs stay for as long as replay may ask for them, and go when nobody can."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gaia.validator.db.connection import Database
from gaia.validator.utils.machine.disk_space import DATA_FOLDER
from tests.support.story import INIT, Story


def folders(data_dir: Path, *parts: str) -> list[str]:
    root = data_dir.joinpath(*parts)
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


def keeping(database: Database, tmp_path: Path, days: float, last_run: datetime = INIT) -> Story:
    story = Story(database, tmp_path)
    story.settings = story.settings.model_copy(update={"keep_inputs_days": days, "last_run": last_run})
    story.task = story.new_task()
    return story


async def test_chunks_and_fields_of_a_kept_run_stay(database: Database, tmp_path: Path) -> None:
    story = keeping(database, tmp_path, 30.0)

    await story.until_idle()

    chunks = {path.name for path in (tmp_path / "spool").rglob("*") if path.is_file()}
    assert {"1.0.0", "3.0.0", "7.0.0", ".zarray"} <= chunks
    assert folders(tmp_path, "fields", "era5") == ["2026-03-26T00Z", "2026-03-27T00Z"]


async def test_chunk_is_dropped_once_scored_where_nothing_is_kept(database: Database, tmp_path: Path) -> None:
    story = keeping(database, tmp_path, 0.0)

    await story.until(INIT + timedelta(days=6, hours=7))

    names = {path.name for path in (tmp_path / "spool").rglob("*") if path.is_file()}
    assert names == {".zarray"}


async def test_older_runs_go_when_their_time_is_over_and_younger_ones_stay(
    database: Database, tmp_path: Path
) -> None:
    story = keeping(database, tmp_path, 2.5, last_run=INIT + timedelta(days=5))

    await story.until_idle()

    runs = [f"2026-03-{day}T00Z" for day in (28, 29, 30)]
    assert folders(tmp_path, "spool") == runs
    assert folders(tmp_path, "fields", "era5")[0] == "2026-03-28T00Z"
    assert all(name >= "2026-03-28" for name in folders(tmp_path, "fields", "gfs"))


async def test_fields_an_open_run_needs_are_never_removed(database: Database, tmp_path: Path) -> None:
    story = keeping(database, tmp_path, 0.0, last_run=INIT + timedelta(days=1))

    # The first run is complete, and the second still waits for its last lead.
    await story.until(INIT + timedelta(days=7, hours=7))

    assert folders(tmp_path, "spool") == ["2026-03-26T00Z"]
    assert "2026-03-26T00Z" in folders(tmp_path, "fields", "era5")


async def test_what_a_lead_was_scored_with_is_recorded_with_paths_that_can_move(
    database: Database, tmp_path: Path
) -> None:
    story = keeping(database, tmp_path, 30.0)

    await story.until_idle()

    rows = await story.rows(
        "SELECT kind, lead_hours, handler, payload, digests FROM lead_inputs ORDER BY lead_hours"
    )
    assert [(row["kind"], row["lead_hours"]) for row in rows] == [("day1", 12), ("final", 24), ("final", 48)]
    payload = rows[1]["payload"]
    name = f"2t.{rows[1]['digests']['truth']['2t'][:16]}.f32"
    assert payload["truth"]["2t"] == f"fields/era5/2026-03-26T00Z/final/{name}"
    assert not {"store_dir", "digests"} & payload.keys()
    assert set(rows[1]["digests"]) == {"truth", "climatology"}
    contracts = await story.rows("SELECT contract FROM runs")
    assert contracts[0]["contract"]["final_lead_hours"] == [24, 48]


async def test_without_room_no_chunk_is_downloaded_and_no_miner_pays(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(database, tmp_path, data_max_gib=1.0)
    monkeypatch.setattr(DATA_FOLDER, "used_bytes", 2**30 - 2**20)

    with pytest.raises(AssertionError, match="still busy"):
        await story.until_idle(ticks=40)

    assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    states = {row["state"] for row in await story.rows("SELECT state FROM forecasts")}
    assert states == {"frozen"}
    assert {row["attempts"] for row in await story.rows("SELECT attempts FROM forecasts")} == {0}
    monkeypatch.setattr(DATA_FOLDER, "used_bytes", 0)

    await story.until_idle()

    assert {row["state"] for row in await story.rows("SELECT state FROM forecasts")} == {"scored"}
