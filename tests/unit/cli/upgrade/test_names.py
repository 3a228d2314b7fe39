"""Names of two releases are compared by the records that a checkout keeps of both."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gaia.cli.upgrade.findings import NameChange
from gaia.cli.upgrade.names import LOG_EVENTS, STABLE_NAMES, NotCompared, changes_since, names_in
from tests.support.repository import ROOT

BEFORE = {
    "exit codes": {"PORT_BUSY": "11", "CRASH": "1"},
    "metrics": {"gaia_x": "gauge", "gaia_y": "counter"},
}
NOW = {"exit codes": {"PORT_BUSY": "12", "CRASH": "1"}, "metrics": {"gaia_y": "counter", "gaia_z": "gauge"}}
EVENTS = "| `level` | As above. |\n| `run_opened` | info | application |\n| `gone_{}` | info, warning | x |\n"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout


def write(folder: Path, names: object, events: str) -> None:
    for path, text in ((STABLE_NAMES, json.dumps(names)), (LOG_EVENTS, events)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose earlier release is the tag v3.9.0."""
    git(tmp_path, "init", "--quiet")
    write(tmp_path, BEFORE, EVENTS.format("event"))
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "earlier")
    git(tmp_path, "tag", "v3.9.0")
    write(tmp_path, NOW, EVENTS.format("other"))
    return tmp_path


def test_names_that_are_gone_or_mean_something_else_are_found(checkout: Path) -> None:
    expected = [
        NameChange(kind="exit codes", name="PORT_BUSY", was="11", now="12"),
        NameChange(kind="metrics", name="gaia_x", was="gauge", now=None),
        NameChange(kind="log events", name="gone_event", was="", now=None),
    ]

    for release in ("3.9.0", "v3.9.0", git(checkout, "rev-parse", "HEAD").strip()):
        assert changes_since(release, checkout) == expected


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("", "name it with --from"),
        ("2.0.0", "does not have the release 2.0.0"),
        ("--output=x", "names no release"),
        ("HEAD:x", "names no release"),
    ],
)
def test_release_that_cannot_be_read_is_told(checkout: Path, release: str, words: str) -> None:
    with pytest.raises(NotCompared, match=words):
        changes_since(release, checkout)


def test_installation_without_a_checkout_has_no_record(tmp_path: Path) -> None:
    with pytest.raises(NotCompared, match="no record of names"):
        changes_since("4.0.0", tmp_path)

    write(tmp_path, NOW, "")
    with pytest.raises(NotCompared, match="git refuses"):
        changes_since("4.0.0", tmp_path)


def test_records_of_this_release_hold_every_kind() -> None:
    names = names_in((ROOT / STABLE_NAMES).read_text(), (ROOT / LOG_EVENTS).read_text())

    assert {"settings", "exit codes", "metrics", "commands", "alerts", "log events"} <= names.keys()
    assert "run_opened" in names["log events"]
    assert "hotkey" not in names["log events"]
