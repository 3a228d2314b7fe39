"""What can be said of the installer without installing; tests/soak/test_systemd_boot.py runs it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import program
from tests.support.repository import ROOT

SCRIPT = ROOT / "deploy" / "install.sh"
AT = ROOT / "deploy" / "gaia-at"
MOST_LINES = 100
"""As many as a person reads in a minute or two."""


def installer(*arguments: str) -> subprocess.CompletedProcess[str]:
    program("systemd-analyze")  # the installer refuses a host without systemd
    return subprocess.run([program("bash"), SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_a_person_reads_it_before_root_runs_it() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= MOST_LINES


def test_dry_run_says_each_step_of_a_new_validator_in_order() -> None:
    said = installer("--dry-run", "a-name-of-nobody")

    steps = [
        "bootstrap.py",
        "useradd",
        "tmpfiles.d",
        ".secrets",
        ".env, with port",
        "gaia@.service",
        "gaia-at",
    ]
    places = [said.stdout.index(step) for step in steps]
    assert (said.returncode, said.stderr) == (0, "")
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["Main", "a b", "x" * 27, "../etc", "9", ""])
def test_name_that_is_no_name_is_refused(name: str) -> None:
    said = installer("--dry-run", name)

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("NAME is ")


def test_unknown_option_is_refused() -> None:
    assert installer("--force").stderr == "usage: install.sh [--dry-run] [NAME]\n"


def test_unless_the_code_is_where_the_unit_looks_for_it_nothing_is_done(tmp_path: Path) -> None:
    copy = tmp_path / "deploy" / SCRIPT.name
    copy.parent.mkdir()
    shutil.copy(SCRIPT, copy)

    said = subprocess.run([program("bash"), copy], capture_output=True, text=True, check=False)

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr in ("The code must lie in /opt/gaia.\n", "Run it as root, or with --dry-run.\n")


def test_command_of_one_validator_says_how_it_is_called() -> None:
    said = subprocess.run([AT, "main"], capture_output=True, text=True, check=False)

    assert said.returncode == 2
    assert said.stderr.startswith("usage: gaia-at NAME COMMAND")
