"""A commit's first line says where and what in 60 letters; git's own messages and comments do not count."""

from __future__ import annotations

import subprocess
from pathlib import Path

import commit_messages
import pytest


@pytest.mark.parametrize(
    "message",
    [
        "db: retry a lost connection",
        "db, cli: name one query once",
        "app/pool: " + "x" * 50,
        "db: retry a lost connection\n\nThe first statement after a restart failed.\n",
        "Merge branch 'furniture' into a branch with quite a long name indeed",
        'Revert "db: retry a lost connection"',
        "fixup! db: retry a lost connection",
    ],
)
def test_good_message_has_no_fault(message: str) -> None:
    assert commit_messages.faults(message) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("Retry a lost connection", 'does not have the form "area: what"'),
        ("db:retry", 'does not have the form "area: what"'),
        ("", 'does not have the form "area: what"'),
        ("db: " + "x" * 57, "has 61 letters; 60 are the most"),
        ("db: retry a lost connection.", "ends with a full stop"),
        ("db: retry\na lost connection", "is not followed by an empty line"),
    ],
)
def test_bad_message_is_told_what_to_mend(message: str, fault: str) -> None:
    (found,) = commit_messages.faults(message)

    assert fault in found


def test_comments_of_the_editor_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text("db: retry\n# Please enter the message.\n\nWhy.\n# ---- >8 ----\ndiff --git a/x b/x\n")

    assert commit_messages.main([str(file)]) == 0


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit from before the rule."""
    monkeypatch.setattr(commit_messages, "ROOT", tmp_path)
    _git(tmp_path, "init", "--quiet")
    _commit(tmp_path, "A subject from before the rule, of any form and length whatever, is never looked at.")
    monkeypatch.setattr(commit_messages, "LAST_UNCHECKED", _git(tmp_path, "rev-parse", "HEAD").strip())
    return tmp_path


def test_only_commits_since_the_rule_are_checked(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _commit(repository, "db: retry")
    assert commit_messages.main(["--history"]) == 0

    _commit(repository, "Retry twice")
    assert commit_messages.main(["--history"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert '"Retry twice" does not have the form' in errors


def test_without_the_history_nothing_is_checked_and_that_is_said(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commit_messages, "LAST_UNCHECKED", "0" * 40)

    assert commit_messages.main(["--history"]) == 0

    assert "history since the rule is not here" in capsys.readouterr().err


def _commit(repository: Path, message: str) -> None:
    _git(repository, "commit", "--quiet", "--allow-empty", "--message", message)


def _git(repository: Path, *words: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", *author, *words], cwd=repository, text=True)
