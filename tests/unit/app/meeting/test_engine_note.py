"""The engine's note can be read by a program that only looks, holds no secret and never stops an engine."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from gaia.cli.source import open_source
from gaia.validator.app.meeting.engine_note import EngineNotes, engine_note_path, read_engine_note
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.core.clock import RealClock
from gaia.validator.utils.config import Settings
from tests.support.builders import a_metagraph


def written(folder: Path, **changes: object) -> None:
    settings = Settings.model_validate({"data_dir": folder, **changes})
    EngineNotes(folder, RealClock(), lambda: settings).write(a_metagraph())


def test_note_holds_the_metagraph_and_the_settings_that_are_not_defaults(tmp_path: Path) -> None:
    make_private(run_directory(tmp_path))
    written(tmp_path, rule_set="gaia-next", final_lead_hours=[24, 48])

    note = read_engine_note(tmp_path)

    assert note is not None
    assert note.metagraph == a_metagraph()
    assert note.settings["GAIA_RULE_SET"] == "gaia-next"
    assert "GAIA_NETUID" not in note.settings


def test_note_holds_no_secret(tmp_path: Path) -> None:
    make_private(run_directory(tmp_path))
    written(
        tmp_path, cds_key=SecretStr("canary-of-the-cds"), database_url=SecretStr("postgresql://u:canary@h/d")
    )

    assert b"canary" not in engine_note_path(tmp_path).read_bytes()


def test_folder_that_cannot_be_written_stops_no_engine(tmp_path: Path) -> None:
    written(tmp_path / "nowhere")

    assert read_engine_note(tmp_path / "nowhere") is None


def test_note_of_another_form_counts_as_none(tmp_path: Path) -> None:
    make_private(run_directory(tmp_path))
    engine_note_path(tmp_path).write_text('{"written_at": 1}')

    assert read_engine_note(tmp_path) is None


def test_rehearsal_is_read_with_the_settings_that_it_noted(tmp_path: Path) -> None:
    data_dir = tmp_path / "validator"
    (data_dir / "postgres" / "cluster").mkdir(parents=True)
    (data_dir / "postgres" / "cluster" / "PG_VERSION").write_text("16\n")
    make_private(run_directory(data_dir))
    written(data_dir, rule_set="gaia-next", final_lead_hours=[24, 48], data_dir=Path("/somewhere/else"))

    settings = open_source(tmp_path).settings

    assert (settings.rule_set, settings.final_lead_hours, settings.data_dir) == (
        "gaia-next",
        [24, 48],
        data_dir,
    )
