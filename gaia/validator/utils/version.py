"""Version and commit of this program, found by reading files; options that several programs share."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

DISTRIBUTION = "gaia-validator"
_ROOT = Path(__file__).resolve().parents[3]
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHOWN = 12


@cache
def version(root: Path = _ROOT) -> str:
    """Return the version, such as "4.0.0": the checkout's, else the installed package's; "" if unknown."""
    declared = re.search(r'^version = "([^"]+)"', _text(root / "pyproject.toml"), re.MULTILINE)
    if declared:
        return declared[1]
    # Loaded only where there is no checkout, because it takes longer than all else here.
    metadata = import_module("importlib.metadata")
    try:
        return str(metadata.version(DISTRIBUTION))
    except metadata.PackageNotFoundError:
        return ""


@cache
def commit(root: Path = _ROOT) -> str:
    """Return the full commit: the checkout's, else the one that the package was installed from; "" if unknown.

    Changes that are not committed do not show.
    """
    return _commit_of_checkout(root / ".git") or _commit_of_package(root)


def described() -> str:
    """Return version and commit for people, such as "4.0.0 (commit 0123456789ab)"."""
    number, from_commit = version() or "of unknown version", commit()[:_SHOWN]
    return f"{number} (commit {from_commit})" if from_commit else number


def add_version_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``, which prints the program's name, version and commit."""
    parser.add_argument("--version", action="version", version=f"%(prog)s {described()}")


def add_env_file_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--env-file``, which names the file of settings."""
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="file of settings; relative paths count from its folder; default: .env",
    )


def _commit_of_checkout(git: Path) -> str:
    if git.is_file():
        # A worktree: its .git names its folder in the repository.
        git = git.parent / _text(git).removeprefix("gitdir:").strip()
    head = _text(git / "HEAD").strip()
    if not head.startswith("ref:"):
        return _checked(head)
    branch = head.removeprefix("ref:").strip()
    shared = git / (_text(git / "commondir").strip() or ".")
    for folder in (git, shared):
        if loose := _checked(_text(folder / branch)):
            return loose
    packed = (line.split(" ", 1) for line in _text(shared / "packed-refs").splitlines() if " " in line)
    return next((_checked(found) for found, name in packed if name == branch), "")


def _commit_of_package(root: Path) -> str:
    """Return the commit in the note that an installer leaves beside a package from a repository."""
    for note in root.glob(f"{DISTRIBUTION.replace('-', '_')}-*.dist-info/direct_url.json"):
        try:
            origin = json.loads(_text(note)).get("vcs_info", {})
            return _checked(str(origin.get("commit_id", "")))
        except (ValueError, AttributeError):
            return ""
    return ""


def _checked(text: str) -> str:
    return text.strip() if _COMMIT.fullmatch(text.strip()) else ""


def _text(path: Path) -> str:
    """Return the text of a file; "" if there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
