"""The engine's note can be read by a program that only looks, and never stops an engine."""

from __future__ import annotations

from pathlib import Path

from gaia.validator.app.meeting.engine_note import EngineNotes, engine_note_path, read_engine_note
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.core.clock import RealClock
from tests.support.builders import a_metagraph


def test_note_holds_the_metagraph(tmp_path: Path) -> None:
    make_private(run_directory(tmp_path))
    EngineNotes(tmp_path, RealClock()).write(a_metagraph())

    note = read_engine_note(tmp_path)

    assert note is not None
    assert note.metagraph == a_metagraph()


def test_folder_that_cannot_be_written_stops_no_engine(tmp_path: Path) -> None:
    EngineNotes(tmp_path / "nowhere", RealClock()).write(a_metagraph())

    assert read_engine_note(tmp_path / "nowhere") is None


def test_note_of_another_form_counts_as_none(tmp_path: Path) -> None:
    make_private(run_directory(tmp_path))
    engine_note_path(tmp_path).write_text('{"written_at": 1}')

    assert read_engine_note(tmp_path) is None
