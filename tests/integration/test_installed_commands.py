"""The commands are beside the interpreter after either script of the README, and run this folder's code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.repository import ROOT

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

pytestmark = pytest.mark.skipif(
    Path(sys.prefix).resolve() != ROOT / ".venv",
    reason="this environment is another folder's, and its commands run the code of that folder",
)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_is_installed_and_answers(command: str, tmp_path: Path) -> None:
    """Run in a folder that has no `gaia`, so that only the installation can find it."""
    program = Path(sys.executable).with_name(command)

    done = subprocess.run([program, "--help"], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {command} ")


def test_installation_is_this_folder(tmp_path: Path) -> None:
    where = "import gaia; print(gaia.__file__)"

    found = subprocess.check_output([sys.executable, "-c", where], cwd=tmp_path, text=True)

    assert Path(found.strip()) == ROOT / "gaia" / "__init__.py"
