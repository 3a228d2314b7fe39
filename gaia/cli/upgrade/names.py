"""Compares the names on which operators build: those of this release, and those of an earlier commit.

Both come from the records that a checkout keeps: the stable names, and the page of log events. An image
without a checkout has neither.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gaia.cli.upgrade.findings import NameChange
from gaia.validator.utils.errors import GaiaError

ROOT: Final = Path(__file__).resolve().parents[3]
STABLE_NAMES: Final = "scripts/supplies/stable_names.json"
LOG_EVENTS: Final = "docs/reference/logs.md"
_EVENTS: Final = "log events"
_EVENT: Final = re.compile(
    r"^\| `([a-z][a-z0-9_]*)` \| (?:debug|info|warning|error|critical)\b", re.MULTILINE
)
_RELEASE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/-]*")
_PATIENCE_S: Final = 20.0

Names = Mapping[str, Mapping[str, str]]
"""Kind -> name -> what else about it is fixed."""


class NotCompared(GaiaError):
    """The names of an earlier release cannot be read here; the sentence says why."""


def changes_since(release: str, root: Path = ROOT) -> list[NameChange]:
    """Return the names that are gone since a release, or mean something else.

    Parameters
    ----------
    release
        Commit, tag or version; "" if it is unknown.
    root
        Checkout of this release.

    Raises
    ------
    NotCompared
        If there is no checkout, git is missing, or the checkout does not have that release.
    """
    if not release:
        raise NotCompared("the earlier release is unknown; name it with --from")
    if not (root / STABLE_NAMES).exists():
        raise NotCompared("this installation has no record of names; read CHANGELOG.md")
    commit = _commit_of(release, root)
    before = names_in(_file_at(commit, STABLE_NAMES, root), _file_at(commit, LOG_EVENTS, root))
    now = names_in(_text(root / STABLE_NAMES), _text(root / LOG_EVENTS))
    return list(changes(before, now))


def names_in(stable_names: str, log_page: str) -> Names:
    """Return the names of one release; "" for a record that it did not have yet."""
    kept: Names = json.loads(stable_names) if stable_names else {}
    return {**kept, _EVENTS: dict.fromkeys(_EVENT.findall(log_page), "")}


def changes(before: Names, now: Names) -> Iterator[NameChange]:
    """Yield what is gone or means something else; what is new breaks nothing.

    >>> [change.now for change in changes({"exit codes": {"A": "1", "B": "2"}}, {"exit codes": {"A": "3"}})]
    ['3', None]
    """
    for kind, names in before.items():
        present = now.get(kind, {})
        for name, meaning in names.items():
            if present.get(name) != meaning:
                yield NameChange(kind=kind, name=name, was=meaning, now=present.get(name))


def _commit_of(release: str, root: Path) -> str:
    """Return the commit that a version, tag or commit names."""
    if not _RELEASE.fullmatch(release):
        raise NotCompared(f"{release} names no release")
    for name in (release, f"v{release}"):
        done = _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if done.returncode == 0:
            return done.stdout.strip()
        if done.stderr:
            raise NotCompared(f"git refuses ({done.stderr.partition(chr(10))[0]}); read CHANGELOG.md")
    raise NotCompared(f"this checkout does not have the release {release}; fetch it, or read CHANGELOG.md")


def _file_at(commit: str, path: str, root: Path) -> str:
    """Return the text of a file in a commit; "" if it was not there."""
    done = _git(root, "show", f"{commit}:{path}")
    return done.stdout if done.returncode == 0 else ""


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompared(f"git does not answer ({error}); read CHANGELOG.md") from error


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
