"""Where the command line reads from when nobody says so: a validator's data first, else the newest rehearsal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gaia.cli.source import open_source
from gaia.validator.app.meeting.rendezvous import board_path, make_private, run_directory
from gaia.validator.app.startup.published import publish_settings
from gaia.validator.utils.config import Settings

NOTE = "reading the rehearsal in .localnet/20260102-000000; choose another with --state or GAIA_DATA_DIR\n"


def a_database(data_dir: Path, made_at: float = 0.0) -> None:
    version = data_dir / "postgres" / "cluster" / "PG_VERSION"
    version.parent.mkdir(parents=True)
    version.write_text("16\n")
    os.utime(version, (made_at, made_at))


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone in which the local subnet ran three times; the last run did not come as far as a database."""
    monkeypatch.chdir(tmp_path)
    a_database(tmp_path / ".localnet" / "20260101-000000" / "validator", made_at=1.0)
    a_database(tmp_path / ".localnet" / "20260102-000000" / "validator", made_at=2.0)
    (tmp_path / ".localnet" / "20260103-000000" / "validator").mkdir(parents=True)
    return tmp_path


def test_newest_rehearsal_is_read_where_there_is_no_validator_and_that_is_said(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = open_source(None)

    assert source.data_dir == clone / ".localnet" / "20260102-000000" / "validator"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", NOTE)


def test_data_of_a_validator_goes_before_any_rehearsal(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_database(clone / "data")

    assert open_source(None).data_dir == clone / "data"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GAIA_DATA_DIR", "elsewhere"),
        ("GAIA_DATA_DIR", "data"),
        ("GAIA_DATABASE_URL", "postgresql://somebody@127.0.0.1/gaia"),
        ("GAIA_DATABASE_HOST", "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("by_file", [False, True])
def test_place_that_somebody_chose_is_kept(
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    *,
    by_file: bool,
) -> None:
    if by_file:
        (clone / ".env").write_text(f"{variable}={value}\n")
    else:
        monkeypatch.setenv(variable, value)

    source = open_source(None)

    assert ".localnet" not in str(source.data_dir)
    assert capsys.readouterr().err == ""


def test_folder_that_is_named_is_read_without_a_word(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = Path(".localnet", "20260101-000000")

    assert open_source(named).data_dir == clone / named / "validator"
    assert capsys.readouterr().err == ""


def test_where_nothing_ever_ran_the_usual_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert open_source(None).data_dir == tmp_path / "data"


def test_rehearsal_is_read_with_the_settings_that_it_published(tmp_path: Path) -> None:
    data_dir = tmp_path / "validator"
    a_database(data_dir)
    make_private(run_directory(data_dir))
    given = {"rule_set": "gaia-next", "final_lead_hours": [24, 48], "cds_key": "canary"}
    written = Settings.model_validate(given | {"data_dir": data_dir})
    publish_settings(data_dir, written.describe())
    published = board_path(data_dir).with_name("settings.json")
    published.write_text(published.read_text().replace(str(data_dir), "/where/it/was/before"))

    settings = open_source(tmp_path).settings

    assert (settings.rule_set, settings.final_lead_hours, settings.data_dir) == (
        "gaia-next",
        [24, 48],
        data_dir,
    )
    assert settings.cds_key.get_secret_value() == ""


def test_settings_that_another_release_published_count_as_none(tmp_path: Path) -> None:
    data_dir = tmp_path / "validator"
    a_database(data_dir)
    make_private(run_directory(data_dir))
    board_path(data_dir).with_name("settings.json").write_text('{"pid": 1}')

    assert open_source(tmp_path).settings == Settings(data_dir=data_dir)


def test_setting_that_needs_a_secret_costs_no_other_of_the_published_ones(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    a_database(data_dir)
    make_private(run_directory(data_dir))
    settings = Settings(
        data_dir=data_dir,
        metrics_port=9123,
        notify_urls=["ntfy://hushhush"],  # type: ignore[list-item]
        notify_life=True,
    )
    publish_settings(data_dir, [(name, value, "given") for name, value, _ in settings.describe()])

    assert open_source(data_dir).settings.metrics_port == 9123
