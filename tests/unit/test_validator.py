"""The entry point: what it prints, what it refuses, and what it hands to the Supervisor."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gaia.validator import validator
from gaia.validator.app.sandbox.confine import survey
from gaia.validator.app.startup.options import supervisor_options
from gaia.validator.app.supervision import Role
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ExitCode
from tests.support.repository import ROOT


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _umask_of_the_tests() -> Iterator[None]:
    """The entry point changes the umask of its process."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def test_check_prints_every_setting_its_value_and_where_it_is_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_NETUID", "237")
    monkeypatch.setenv("DB_PASSWORD", "hunter2")

    # There is no hotkey here.
    assert validator.main(["--check", "--test", "--dry-run"]) == 2

    printed, _, rest = capsys.readouterr().out.partition("\n\n")
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert len(rows) == len(Settings.model_fields)
    assert rows["GAIA_NETUID"] == ["237", "environment", "GAIA_NETUID"]
    assert rows["GAIA_DATABASE_PASSWORD"][0] == "***"
    assert rows["GAIA_TEST_MODE"] == ["true", "command", "line"]
    assert rows["GAIA_DRY_RUN"] == ["true", "command", "line"]
    assert rows["GAIA_METRICS_PORT"] == ["9090", "default"]
    offered, _, found = rest.partition("\n\n")
    assert offered == f"This kernel's sandbox for compute workers is {survey()}."
    assert "a dry run sets no weights" in found


def test_bad_setting_ends_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_NETUID", "many")

    assert validator.main([]) == ExitCode.BAD_SETTING

    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert errors.startswith("GAIA_NETUID: ")


def test_missing_hotkey_ends_in_one_sentence_before_anything_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GAIA_WALLET_PATH", str(tmp_path / "wallets"))
    monkeypatch.setenv("GAIA_METRICS_PORT", "0")

    assert validator.main([]) == ExitCode.HOTKEY_MISSING

    assert capsys.readouterr().err.startswith("GAIA_WALLET_HOTKEY: there is no hotkey file")


def test_supervisor_gets_plain_values_and_the_settings_sealed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", compute_workers=3, drain_timeout_s=7, unit_timeout_s=9)

    options = supervisor_options(settings, lock_fd=11)

    assert (options.workers, options.drain_timeout_s, options.unit_timeout_s) == (3, 7.0, 9.0)
    assert options.data_dir == str(tmp_path / "data")
    assert options.lock_fd == 11
    assert pickle.loads(options.settings) == settings


@pytest.mark.parametrize(
    ("given", "is_embedded"),
    [({}, True), ({"database_url": "postgresql://db/x"}, False), ({"database_host": "db"}, False)],
)
def test_database_is_embedded_only_where_none_is_configured(
    given: dict[str, Any], is_embedded: bool, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, **given)

    assert supervisor_options(settings, lock_fd=-1).embedded_database is is_embedded


def test_one_worker_per_core_less_one_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)

    for cores, workers in ((8, 7), (1, 1), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert supervisor_options(settings, lock_fd=-1).workers == workers


def test_with_a_cluster_no_compute_worker_of_ours_is_started() -> None:
    settings = Settings(
        compute_backend="dask", dask_scheduler="tcp://cluster:8786", sandbox="off", compute_workers=3
    )

    assert supervisor_options(settings, lock_fd=-1).workers == 0


@pytest.mark.parametrize("chain_timeout_s", [1.0, 60.0, 600.0])
def test_no_signer_is_killed_for_a_silence_that_one_call_of_the_chain_explains(
    chain_timeout_s: float,
) -> None:
    settings = Settings(chain_timeout_s=chain_timeout_s, engine_silence_s=5.0)

    limits = supervisor_options(settings, lock_fd=-1).limits()

    assert limits.silence_s[Role.ENGINE] == 5.0
    assert limits.silence_s[Role.SIGNER] == 5.0 + chain_timeout_s


@pytest.mark.parametrize(("engine_silence_s", "database_s"), [(5.0, 30.0), (120.0, 120.0)])
def test_database_may_be_silent_as_long_as_the_engine_and_half_a_minute_at_least(
    engine_silence_s: float, database_s: float
) -> None:
    limits = supervisor_options(Settings(engine_silence_s=engine_silence_s), lock_fd=-1).limits()

    assert limits.silence_s[Role.DATABASE] == database_s


def test_spawned_worker_is_given_more_time_to_come_up_than_a_forked_one() -> None:
    within_s = {
        method: supervisor_options(Settings(worker_start_method=method), lock_fd=-1)
        .limits()
        .ready_within_s[Role.WORKER]
        for method in ("forkserver", "spawn")
    }

    assert within_s["forkserver"] <= 10.0
    assert within_s["spawn"] >= 60.0


def test_supervisor_loads_next_to_nothing() -> None:
    show = "import sys, gaia.validator.app.supervisor; print(*sys.modules)"

    loaded = set(subprocess.check_output([sys.executable, "-c", show], text=True, cwd=ROOT).split())

    assert not loaded & {
        "asyncio",
        "httpx",
        "asyncpg",
        "numpy",
        "xarray",
        "bittensor",
        "pydantic",
        "structlog",
    }


def test_check_ends_quietly_when_its_reader_has_read_enough(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gaia.validator.validator", "--check"]

    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)

    assert (ended.returncode, ended.stderr) == (2, "")


@pytest.mark.parametrize(
    "words", [["-m", "gaia.validator.validator"], [str(ROOT / "gaia" / "validator" / "validator.py")]]
)
def test_module_and_file_are_the_same_program(words: list[str], tmp_path: Path) -> None:
    """Given as a file, it finds this checkout's code without an installation and from any folder."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = {"GAIA_DATA_DIR": str(tmp_path), "GAIA_WALLET_PATH": str(tmp_path), "GAIA_METRICS_PORT": "0"}

    ended = subprocess.run(
        [sys.executable, *words, "--test"],
        cwd=ROOT if words[0] == "-m" else tmp_path,
        env=kept | where,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == ExitCode.HOTKEY_MISSING, ended.stderr
    assert ended.stderr.startswith("GAIA_WALLET_HOTKEY: there is no hotkey file")
