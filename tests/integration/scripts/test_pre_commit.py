"""The hooks of the pre-commit configuration run: a message without an area is not committed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT


@pytest.mark.parametrize(("message", "is_taken"), [("Retry", False), ("db: retry", True)])
def test_commit_message_hook(message: str, is_taken: bool, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    shutil.copy(ROOT / "scripts" / "commit_messages.py", tmp_path / "scripts")
    environment = os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "home"), "SKIP": "checks"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    run("git", "init", "--quiet")
    run("git", "add", ".pre-commit-config.yaml")
    installed = run(sys.executable, "-m", "pre_commit", "install")
    assert installed.returncode == 0, installed.stdout
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")

    done = run("git", *author, "commit", "--message", message)

    assert (done.returncode == 0) is is_taken, done.stderr
    assert ('does not have the form "area: what"' in done.stderr) is not is_taken


def test_commit_hook_runs_what_ci_runs_before_the_tests() -> None:
    assert "entry: bash .ci/checks\n" in (ROOT / ".pre-commit-config.yaml").read_text()
    assert "\nbash .ci/checks\n" in (ROOT / ".ci" / "run").read_text()
