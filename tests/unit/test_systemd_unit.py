"""The unit file that the docs show: systemd accepts it, and its numbers fit the validator's."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ExitCode
from tests.support.programs import program
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "how-to" / "run-under-systemd.md"
MAY_PASS = {
    ExitCode.OK,
    ExitCode.CRASH,
    ExitCode.DATABASE_UNREACHABLE,
    ExitCode.DATA_DIR_FULL,
    ExitCode.CHAIN_UNREACHABLE,
    ExitCode.CRASH_LOOP,
}
"""Ends that another start may mend although nobody acts."""


@pytest.fixture(scope="module")
def unit() -> str:
    found = re.search(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return textwrap.dedent(found[1])


def value(unit: str, name: str) -> str:
    (found,) = re.findall(rf"^{re.escape(name)}=(.*)$", unit, re.MULTILINE)
    return str(found)


@pytest.fixture
def unit_file(unit: str, tmp_path: Path) -> Path:
    path = tmp_path / "gaia-validator.service"
    path.write_text(unit.replace(value(unit, "ExecStart"), sys.executable))
    return path


def test_systemd_finds_nothing_in_it(unit_file: Path) -> None:
    said = subprocess.run(
        [str(program("systemd-analyze")), "verify", str(unit_file)], capture_output=True, text=True
    )

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_its_exposure_is_small(unit_file: Path) -> None:
    command = [
        str(program("systemd-analyze")),
        "security",
        "--offline=true",
        "--threshold=20",
        str(unit_file),
    ]

    rated = subprocess.run(command, capture_output=True, text=True)

    print(rated.stdout.splitlines()[-1] if rated.stdout else rated.stderr)
    assert rated.returncode == 0, "the exposure is above 2.0 of 10"


def test_exit_codes_are_restarted_or_prevented_by_who_must_act(unit: str) -> None:
    prevented = {int(code) for code in value(unit, "RestartPreventExitStatus").split()}

    assert prevented == set(ExitCode) - MAY_PASS


def test_supervisor_mends_a_silent_engine_before_systemd_restarts_all(unit: str) -> None:
    silence_s = float(value(unit, "Environment=GAIA_ENGINE_SILENCE_S"))

    assert silence_s + 10.0 <= float(value(unit, "WatchdogSec"))


def test_stop_has_the_time_of_a_drain(unit: str) -> None:
    assert float(value(unit, "TimeoutStopSec")) > Settings().drain_timeout_s + 10.0


def test_compute_workers_may_confine_themselves(unit: str) -> None:
    allowed = value(unit, "SystemCallFilter").split()

    assert {"seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= set(
        allowed
    )
    assert "MemoryDenyWriteExecute" not in unit, "Numba compiles at run time"
