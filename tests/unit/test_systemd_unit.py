"""The unit in deploy/systemd: systemd accepts it, and its numbers and names fit the validator's."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from generate.settings_pages import MAY_PASS

from gaia.validator.app.sandbox import seccomp
from gaia.validator.utils.config import Settings, credentials_of
from gaia.validator.utils.errors import ExitCode
from tests.support.programs import program
from tests.support.repository import ROOT

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "gaia@.service"
RIGHTS = DEPLOY / "systemd" / "gaia.tmpfiles.conf"
PAGE = ROOT / "docs" / "how-to" / "run-under-systemd.md"
HIGHEST_EXPOSURE = 15
"""Tenths of a point, of 10 points."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of root need root")


@pytest.fixture(scope="module")
def unit() -> str:
    return UNIT.read_text()


def values(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{re.escape(name)}=(.*)$", unit, re.MULTILINE)


def value(unit: str, name: str) -> str:
    (found,) = values(unit, name)
    return found


@pytest.fixture
def instance(unit: str, tmp_path: Path) -> Path:
    """The unit of one validator, with programs that are on this machine."""
    path = tmp_path / "gaia@main.service"
    path.write_text(re.sub(r"/opt/gaia/\.venv/bin/[\w-]+", sys.executable, unit))
    return path


def test_systemd_finds_nothing_in_it(instance: Path) -> None:
    said = subprocess.run([program("systemd-analyze"), "verify", instance], capture_output=True, text=True)

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_its_exposure_is_small(instance: Path) -> None:
    threshold = f"--threshold={HIGHEST_EXPOSURE}"
    command = [str(program("systemd-analyze")), "security", "--offline=true", threshold, str(instance)]

    rated = subprocess.run(command, capture_output=True, text=True)

    print(rated.stdout.splitlines()[-1] if rated.stdout else rated.stderr)
    assert rated.returncode == 0, f"the exposure is above {HIGHEST_EXPOSURE / 10} of 10"


def test_exit_codes_are_restarted_or_prevented_by_who_must_act(unit: str) -> None:
    prevented = {int(code) for code in value(unit, "RestartPreventExitStatus").split()}

    assert prevented == set(ExitCode) - MAY_PASS - {ExitCode.OK}
    assert value(unit, "Restart") == "on-failure", "an orderly end is no failure"


def test_supervisor_mends_a_silent_engine_before_systemd_restarts_all(unit: str) -> None:
    assert Settings().engine_silence_s + 10.0 <= float(value(unit, "WatchdogSec"))


def test_stop_has_the_time_of_a_drain(unit: str) -> None:
    assert float(value(unit, "TimeoutStopSec")) > Settings().drain_timeout_s + 10.0


def test_compute_workers_may_confine_themselves(unit: str) -> None:
    last = values(unit, "SystemCallFilter")[-1].split()

    assert {
        "capset",
        "seccomp",
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    } <= (set(last))
    assert "MemoryDenyWriteExecute" not in unit, "Numba compiles at run time"


def test_unit_allows_each_call_that_a_confined_worker_or_its_broker_may_make(unit: str) -> None:
    """Two filters hold at once, and the unit's must not be the narrower one."""
    groups = groups_of_calls()
    allowed: set[str] = set()
    for line in values(unit, "SystemCallFilter"):
        named = expanded(line.removeprefix("~").split(), groups)
        allowed = allowed - named if line.startswith("~") else allowed | named
    # systemd always allows these, so that it can start a program.
    allowed |= expanded(["@default"], groups)

    needed = seccomp.PLAIN | seccomp.BROKER | seccomp.worker_rules(1, (1, 1)).keys()

    assert needed - allowed == set()
    assert not {"chown", "setuid", "mount", "ptrace", "sched_setaffinity"} & allowed


def groups_of_calls() -> dict[str, list[str]]:
    """Return systemd's groups of system calls, which may name each other."""
    listed = subprocess.run(
        [program("systemd-analyze"), "syscall-filter", "--no-pager"],
        capture_output=True,
        text=True,
        check=True,
    )
    groups: dict[str, list[str]] = {}
    for line in listed.stdout.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), [])
        elif line.startswith(" ") and not line.strip().startswith("#"):
            members.append(line.strip())
    return groups


def expanded(names: list[str], groups: dict[str, list[str]]) -> set[str]:
    """Return the calls that these names and groups stand for."""
    return {
        call
        for name in names
        for call in (expanded(groups[name], groups) if name.startswith("@") else {name})
    }


def test_one_dead_worker_is_left_to_the_supervisor(unit: str) -> None:
    assert value(unit, "OOMPolicy") == "continue"


def test_each_validator_has_its_own_user_folder_settings_and_secrets(unit: str) -> None:
    """systemd removes a user's shared memory at a stop, so two databases must not share a user."""
    assert value(unit, "RemoveIPC") == "yes"
    for name in ("User", "Group", "StateDirectory", "WorkingDirectory", "LoadCredential", "ExecStart"):
        assert "%i" in value(unit, name), name


def test_folder_of_secrets_gives_credentials_their_names(unit: str) -> None:
    """systemd joins this name and that of the file with _."""
    prefix = value(unit, "LoadCredential").partition(":")[0]
    known = {credential for name in Settings.model_fields for credential in credentials_of(name)}

    listed = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))

    assert {f"{prefix}_{file}" for file in listed} == set(listed.values()) == known


def test_what_doctor_says_prevents_no_start(unit: str) -> None:
    assert value(unit, "ExecStartPre").startswith("-")
    assert " doctor " in value(unit, "ExecStartPre")


def test_page_shows_the_unit_as_it_is(unit: str) -> None:
    assert f"```ini\n{unit}```\n" in PAGE.read_text(), "copy deploy/systemd/gaia@.service into the page"


@needs_root
def test_rights_are_put_right(tmp_path: Path) -> None:
    """Files as a careless operator leaves them."""
    secrets = tmp_path / "etc" / "gaia" / "main.secrets"
    secrets.mkdir(parents=True, mode=0o755)
    settings = tmp_path / "etc" / "gaia" / "main.env"
    for file in (secrets / "hotkey", settings):
        file.touch(0o644)

    subprocess.run(
        [program("systemd-tmpfiles"), "--create", f"--root={tmp_path}", RIGHTS],
        check=True,
        capture_output=True,
    )

    found = [stat.S_IMODE(path.stat().st_mode) for path in (secrets, secrets / "hotkey", settings)]
    assert found == [0o700, 0o600, 0o640]
    assert (tmp_path / "var" / "lib" / "gaia").is_dir()
