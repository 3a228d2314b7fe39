"""What `gaia config show` prints of the settings, of a running validator's, and of what differs."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import structlog

from gaia.cli.__main__ import main
from gaia.validator.app.io_engine import IOEngine
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.rendezvous import Board, board_path, make_private, publish, run_directory
from gaia.validator.app.startup.published import publish_settings, published_settings
from gaia.validator.utils.config import Settings, load_settings

SECRETS = {
    "GAIA_DATABASE_URL": "postgresql://someone:canary1@127.0.0.1/db",
    "GAIA_DATABASE_PASSWORD": "canary2",
    "CDSAPI_KEY": "canary3",
    "GAIA_NOTIFY_URLS": "ntfy://canary4,json://user:canary5@127.0.0.1/hook",
    "GAIA_NOTIFY_ALIVE_URL": "https://127.0.0.1/canary6",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def a_running_validator(**overrides: Any) -> Settings:
    """Do as a validator does at its start."""
    settings = load_settings(**overrides)
    make_private(run_directory(settings.data_dir))
    publish(Board(processes={"io_engine": os.getpid()}), board_path(settings.data_dir))
    publish_settings(settings.data_dir, settings.describe())
    return settings


def shown(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> dict[str, dict[str, str]]:
    assert main(["config", "show", "--json", *options]) == code
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_every_setting_is_shown_with_its_origin_and_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETUID", "237")

    rows = shown(capsys)

    assert len(rows) == len(Settings.model_fields)
    netuid = rows["GAIA_NETUID"]
    assert (netuid["value"], netuid["origin"], netuid["default"]) == ("237", "environment NETUID", "57")


def test_diff_shows_what_differs_from_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_NETUID", "237")
    monkeypatch.setenv("GAIA_DRY_RUN", "false")

    assert list(shown(capsys, "--diff")) == ["GAIA_NETUID"]


def test_no_secret_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    a_running_validator()

    for options in ([], ["--json"], ["--origin"], ["--diff"], ["--running"], ["--running", "--json"]):
        assert main(["config", "show", *options]) == 0

    assert "canary" not in "".join(capsys.readouterr())


def test_published_settings_are_private_and_hold_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = a_running_validator()

    path = board_path(settings.data_dir).with_name("settings.json")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "canary" not in path.read_text()
    published = published_settings(settings.data_dir)
    assert published is not None
    assert published.pid == os.getpid()
    assert published.rows == settings.describe()


def test_running_beside_now_says_what_a_reload_changes_and_what_a_restart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_running_validator()
    monkeypatch.setenv("GAIA_NETUID", "237")
    monkeypatch.setenv("GAIA_LOG_LEVEL", "DEBUG")

    rows = shown(capsys, "--running", "--diff", code=1)

    assert {name: row["takes_effect"] for name, row in rows.items()} == {
        "GAIA_NETUID": "restart",
        "GAIA_LOG_LEVEL": "reload",
    }
    assert (rows["GAIA_NETUID"]["running"], rows["GAIA_NETUID"]["value"]) == ("57", "237")


def test_running_validator_with_the_same_settings_differs_in_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    a_running_validator()

    assert main(["config", "show", "--running", "--diff"]) == 0
    assert capsys.readouterr().out == (
        "the running validator uses the settings of the file and the environment\n"
    )


def test_data_folder_is_the_same_from_whatever_folder_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_directory.cache_clear()  # by the path "data", which is another folder in each test
    a_running_validator()
    (tmp_path / ".env").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert shown(capsys, "--running", "--diff", "--env-file", "../.env") == {}


def test_without_a_running_validator_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    settings = a_running_validator()
    board_path(settings.data_dir).unlink()

    assert main(["config", "show", "--running"]) == 1
    assert capsys.readouterr().err.startswith("no validator runs on ")


def test_settings_of_an_engine_that_is_gone_are_not_shown() -> None:
    settings = a_running_validator()
    publish(Board(processes={"io_engine": 1}), board_path(settings.data_dir))

    assert published_settings(settings.data_dir) is None


def test_engine_whose_settings_cannot_be_written_says_so_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")
    settings = load_settings(data_dir=tmp_path / "data")
    make_private(run_directory(settings.data_dir))
    board_path(settings.data_dir).with_name("settings.json").mkdir()

    with socket.socket() as pool:
        IOEngine(settings, pool, "", tmp_path)._publish()

    assert "settings_not_published" in capsys.readouterr().err
    structlog.reset_defaults()


def test_nothing_is_cut_in_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    main(["config", "show", "--origin"])

    printed = capsys.readouterr().out
    assert Settings().climatology_url in printed
    assert "…" not in printed
