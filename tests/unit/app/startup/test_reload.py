"""Settings that are read again while the validator runs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gaia.validator.app.startup.reload import RELOADABLE, merge
from gaia.validator.app.supervisor_options import Reloaded
from gaia.validator.utils.config import Settings, load_settings, variable_of
from tests.support.repository import ROOT


def test_only_settings_that_may_change_do(monkeypatch: pytest.MonkeyPatch) -> None:
    running = load_settings(None)
    monkeypatch.setenv("GAIA_WORKER_MAX_JOBS", "7")
    monkeypatch.setenv("GAIA_NETUID", "8")

    merged, changed, refused = merge(running, lambda: load_settings(None))

    assert (merged.worker_max_jobs, merged.netuid) == (7, running.netuid)
    assert changed == {"worker_max_jobs": "7"}
    assert refused == ["netuid"]


def test_what_the_command_line_gave_stays() -> None:
    running = load_settings(None, log_level="DEBUG")

    merged, changed, refused = merge(running, lambda: load_settings(None))

    assert (merged.log_level, changed, refused) == ("DEBUG", {}, [])


def test_settings_that_may_change_exist_and_are_named_in_the_manual() -> None:
    manual = (ROOT / "docs" / "how-to" / "run-for-real.md").read_text()

    assert set(Settings.model_fields) >= RELOADABLE
    assert [name for name in sorted(RELOADABLE) if variable_of(name) not in manual] == []


def test_program_reads_the_settings_for_a_supervisor_that_may_not_load_them(tmp_path: Path) -> None:
    running = load_settings(None, data_dir=tmp_path)
    (tmp_path / ".env").write_text("GAIA_COMPUTE_WORKERS=3\nGAIA_LOG_LEVEL=WARNING\n")
    program = [sys.executable, "-m", "gaia.validator.app.startup.reload"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        program, input=pickle.dumps(running), capture_output=True, cwd=tmp_path, env=environment
    )

    assert done.returncode == 0, done.stderr
    reloaded = msgspec.msgpack.decode(done.stdout, type=Reloaded)
    assert (reloaded.options.workers, reloaded.options.log_level) == (3, "WARNING")
    assert reloaded.changed == {"compute_workers": "3", "log_level": "WARNING"}
    assert pickle.loads(reloaded.options.settings).compute_workers == 3


def test_mistake_in_the_new_settings_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GAIA_COMPUTE_WORKERS=many\n")
    program = [sys.executable, "-m", "gaia.validator.app.startup.reload"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        program,
        input=pickle.dumps(Settings()),
        capture_output=True,
        cwd=tmp_path,
        env=environment,
        text=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(b'GAIA_COMPUTE_WORKERS: "many" is not allowed')
