#!/usr/bin/env python3
"""Checks commit messages: one for a hook, or with --history all since the rule; standard library only."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_SUBJECT = 60
LAST_UNCHECKED = "b45dfea3c05e1b6b30db4f1ccf8e32bba011d32f"
"""The newest commit before the rule; older ones have longer subjects."""
SUBJECT = re.compile(r"\w[\w./-]*(, \w[\w./-]*)*: \S")
WRITTEN_BY_GIT = ("Merge ", 'Revert "', "Reapply ", "fixup! ", "squash! ", "amend! ")
SCISSORS = re.compile(r"^# -+ >8 -+$.*", re.MULTILINE | re.DOTALL)
"""Git ignores this line of an editor's text and all below it."""


def main(arguments: Sequence[str]) -> int:
    """Print one line for each fault; return 1 if there is any, else 0."""
    parser = argparse.ArgumentParser(prog="commit_messages.py", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "file", nargs="?", type=Path, help="message to check, as a commit-msg hook is given it"
    )
    which.add_argument("--history", action="store_true", help="check the commits that are here")
    chosen = parser.parse_args(arguments)
    if chosen.history:
        found = list(_faults_of_history())
    else:
        text = SCISSORS.sub("", chosen.file.read_text())
        found = faults("\n".join(line for line in text.split("\n") if not line.startswith("#")))
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def faults(message: str) -> list[str]:
    """Return one sentence for each rule that a message breaks.

    >>> faults("db: retry a lost connection")
    []
    >>> faults("Retry.")
    ['"Retry." does not have the form "area: what".', '"Retry." ends with a full stop.']
    """
    subject, *rest = message.strip("\n").split("\n")
    if subject.startswith(WRITTEN_BY_GIT):
        return []
    found = []
    if not SUBJECT.match(subject):
        found.append(f'"{subject}" does not have the form "area: what".')
    if len(subject) > LONGEST_SUBJECT:
        found.append(f'"{subject}" has {len(subject)} letters; {LONGEST_SUBJECT} are the most.')
    if subject.endswith("."):
        found.append(f'"{subject}" ends with a full stop.')
    if rest and rest[0].strip():
        found.append(f'"{subject}" is not followed by an empty line.')
    return found


def _faults_of_history() -> Iterator[str]:
    if _git("merge-base", "--is-ancestor", LAST_UNCHECKED, "HEAD").returncode:
        print("The history since the rule is not here, so no commit message is checked.", file=sys.stderr)
        return
    listed = _git("log", "-z", "--format=%h%n%B", f"{LAST_UNCHECKED}..HEAD")
    listed.check_returncode()
    for entry in filter(None, listed.stdout.split("\0")):
        commit, _, message = entry.partition("\n")
        yield from (f"{commit}: {fault}" for fault in faults(message))


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
