"""Settings that a release refuses, ignores, names otherwise or gives another default are all told at once."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gaia.cli.upgrade.backups import newest_backup
from gaia.cli.upgrade.given import notes, opened
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.app.startup.accepted import accepted_settings, agreeing
from gaia.validator.app.startup.published import PublishedSettings, last_settings, publish_settings
from gaia.validator.utils.config import Settings
from tests.support.backups import put_backup

SECRET = "canary-of-a-secret"


def words(env_file: Path | None = None, state: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(env_file=env_file, state=state)


def published(*rows: tuple[str, str, str]) -> PublishedSettings:
    return PublishedSettings(pid=1, at=0.0, rows=list(rows))


def test_every_refusal_is_told_and_the_rest_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_NETUIT", SECRET)
    env_file = tmp_path / "main.env"
    env_file.write_text(
        f"GAIA_DATA_DIR=there\nGAIA_FREEZE_WINDOW_HOURS=-1\nGAIA_GONE={SECRET}\nGAIA_FINAL_FIELDS=2tt\n"
    )

    found = accepted_settings(env_file)

    told = {error.setting: str(error) for error in found.refused}
    assert told.keys() == {"GAIA_NETUIT", "GAIA_GONE", "GAIA_FREEZE_WINDOW_HOURS", "GAIA_FINAL_FIELDS"}
    assert "did you mean GAIA_NETUID?" in told["GAIA_NETUIT"]
    assert SECRET not in " ".join(told.values())
    assert found.settings.data_dir == Path("there")
    assert found.settings.freeze_window_hours == Settings().freeze_window_hours


def test_file_that_cannot_be_read_is_a_refusal_too(tmp_path: Path) -> None:
    env_file = tmp_path / "main.env"
    env_file.write_text("GAIA_NETUID\nnot a line\n")

    (error,) = accepted_settings(env_file).refused

    assert error.setting == str(env_file)


def test_settings_that_agree_are_kept_whatever_their_order() -> None:
    settings, refused = agreeing({"netuid": 237, "final_lead_hours": [300], "forecast_steps": 60})
    assert (settings.netuid, settings.final_lead_hours, refused) == (237, [300], [])

    settings, (error,) = agreeing({"final_lead_hours": [300], "netuid": 237})
    assert (settings.netuid, error.setting) == (237, "GAIA_FINAL_LEAD_HOURS")


def test_file_without_a_refusal_names_the_validator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env_file = tmp_path / "main.env"
    env_file.write_text(f"GAIA_DATA_DIR={tmp_path}/there\n")

    source, refused, given = opened(words(env_file))

    assert (source.data_dir, refused) == (tmp_path / "there", [])
    assert given[str(env_file)] == {"GAIA_DATA_DIR": f"{tmp_path}/there"}


def test_folder_tells_what_the_last_start_used(tmp_path: Path) -> None:
    version = tmp_path / "postgres" / "cluster" / "PG_VERSION"
    version.parent.mkdir(parents=True)
    version.write_text("16\n")
    make_private(run_directory(tmp_path))
    publish_settings(
        tmp_path,
        [("GAIA_NETUID", "237", "environment GAIA_NETUID"), ("GAIA_GONE", "1", "environment GAIA_GONE")],
    )

    source, (error,), _ = opened(words(state=tmp_path))

    assert (source.settings.netuid, error.setting) == (237, "GAIA_GONE")


def test_release_of_the_last_start_is_known(tmp_path: Path) -> None:
    make_private(run_directory(tmp_path))
    publish_settings(tmp_path, [])

    last = last_settings(tmp_path)

    assert last is not None
    assert last.version.count(".") == 2


def test_what_needs_nobody_is_noted() -> None:
    given = {"the environment": {"GAIA_ASYNC_THRESHOLD": "5", "NETUID": "57", "HOME": "h", "GAIA_TEMPO": ""}}
    last = published(
        ("GAIA_NETUID", "57", "default"),
        ("GAIA_FREEZE_WINDOW_HOURS", "3.5", "default"),
        ("GAIA_POOL_QUEUE_LIMIT", "9", "environment GAIA_POOL_QUEUE_LIMIT"),
        ("GAIA_GONE", "1", "environment GAIA_GONE"),
        ("GAIA_REFUSED", "1", "environment GAIA_REFUSED"),
        ("GAIA_UNUSED", "1", "default"),
    )

    found = {note.name: note.note for note in notes(given, last, {"GAIA_REFUSED"})}

    assert found == {
        "GAIA_ASYNC_THRESHOLD": "has no meaning any more, and is ignored",
        "NETUID": "works; GAIA_NETUID is its name here",
        "GAIA_GONE": "was in force at the last start, and is no setting any more",
        "GAIA_FREEZE_WINDOW_HOURS": "has the default 2.0; it was 3.5",
    }


def test_newest_backup_is_told_with_its_age(tmp_path: Path) -> None:
    assert newest_backup(tmp_path) is None
    now = datetime.now(UTC)
    put_backup(tmp_path, now - timedelta(hours=50))
    newest = put_backup(tmp_path, now - timedelta(hours=30))
    (tmp_path / "unfinished").mkdir()

    found = newest_backup(tmp_path)

    assert found is not None
    assert (found.folder, found.age_hours, found.is_fresh) == (str(tmp_path / newest), 30.0, False)
