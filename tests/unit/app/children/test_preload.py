"""The fork server logs what goes wrong while it loads, also to its files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import msgspec
import pytest
import structlog

from gaia.validator.app.children import preload, spawning
from gaia.validator.utils.logs.files import LogFiles


def test_fork_server_writes_the_files_that_the_supervisor_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spawning, "_ensure_fork_server", lambda: None)
    for variable in (preload.LOGS_VARIABLE, preload.PARENT_VARIABLE, preload.SIGN_VARIABLE, "PYTHONPATH"):
        monkeypatch.setenv(variable, "")
    for variable in preload.SINGLE_THREADED:
        monkeypatch.setenv(variable, "")
    files = LogFiles(folder=str(tmp_path / "logs"), file_mib=3, kept=2)

    spawning.prepare(tmp_path, is_forking=True, log_files=files)
    preload.begin_logging()
    logging.getLogger("application").info("unimportant")
    logging.getLogger("application").warning("compiled_code_unusable")

    (line,) = (tmp_path / "logs" / "fork_server-application.log").read_text().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["role"]) == ("compiled_code_unusable", "fork_server")
    assert len(capsys.readouterr().err.splitlines()) == 1
    structlog.reset_defaults()


def test_fork_server_without_files_logs_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(preload.LOGS_VARIABLE, "")

    preload.begin_logging()
    logging.getLogger("application").warning("compiled_code_unusable")

    assert msgspec.json.decode(capsys.readouterr().err)["role"] == "fork_server"
    structlog.reset_defaults()
