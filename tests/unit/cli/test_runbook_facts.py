"""What a runbook takes for a fact while the validator runs, and after it has ended."""

from __future__ import annotations

import os
from pathlib import Path

from gaia.cli.runbooks.facts import gather
from gaia.cli.source import Source
from gaia.validator.app.meeting.rendezvous import Board, board_path, publish
from gaia.validator.app.startup.published import publish_settings
from gaia.validator.utils.config import Settings


def test_allowed_silence_is_that_of_the_running_validator(tmp_path: Path) -> None:
    """The file was edited since, without a restart."""
    board_path(tmp_path).parent.mkdir()
    publish_settings(tmp_path, [("GAIA_ENGINE_SILENCE_S", "77.0", ".env")])
    edited = Source(Settings(data_dir=tmp_path, engine_silence_s=20.0))

    stopped = gather(edited, "", knows_secrets=False, database_error="away")
    publish(Board(processes={"io_engine": os.getpid()}), board_path(tmp_path))
    running = gather(edited, "", knows_secrets=False, database_error="away")

    assert (stopped.silence_s, running.silence_s) == (20.0, 77.0)
