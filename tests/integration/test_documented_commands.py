"""Every command of README, tutorial and how-to does what it is written for, in the order of the pages."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.clone import make_clone
from tests.support.documented import PAGES, Command, commands_of
from tests.support.patience import patience

STARTS_A_SUBNET = "python3 scripts/run.py --once"
NEEDS = {
    "a Docker engine",
    "a cluster",
    "a database of the original",
    "a running validator",
    "cron and a web server",
    "jq",
    "minutes",
    "minutes, npm and a browser",
    "root",
    "runs with shadow scores",
    "systemd",
    "the live network",
    "the package registry",
}
"""What excuses a command from being run."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    printed: str
    """What it wrote to standard output."""
    complained: str
    """What it wrote to standard error."""

    @property
    def written(self) -> str:
        return self.printed + self.complained


class Clone(NamedTuple):
    """A folder like a fresh clone."""

    folder: Path
    environment: dict[str, str]
    run: set[str]
    """What ran already; a page that names it again in a sentence makes no difference."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the first command of the README has run a local subnet."""
    folder = tmp_path_factory.mktemp("documented") / "gaia"
    folder.mkdir()
    made = Clone(folder, make_clone(folder), set())
    first = next(commands_of(PAGES[0]))
    assert first.text == STARTS_A_SUBNET
    done = _run(made, first.text, seconds=240)
    assert done.code == 0, done.written
    assert "weight" in done.printed, "the README shows a table"
    return made


def _words(clone: Clone, text: str) -> str:
    """Return a command with the names that a reader puts in."""
    (run,) = sorted((clone.folder / ".localnet").iterdir()) or [Path("none")]
    return text.replace("<the run's folder>", shlex.quote(run.name))


def _run(clone: Clone, text: str, *, seconds: float = 60.0, stop: bool = False) -> Done:
    """Run a line as a reader's shell does. With `stop`, Ctrl-C comes after its first words."""
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail; {text}"],
        cwd=clone.folder, env=clone.environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
    ) as process:  # fmt: skip
        try:
            begun = ""
            if stop:
                assert process.stdout is not None
                begun = process.stdout.readline()
                os.killpg(process.pid, signal.SIGINT)
            written, _ = process.communicate(timeout=patience(seconds))
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        errors.seek(0)
        return Done(process.returncode, begun + written, errors.read())


def _help_of(clone: Clone, text: str) -> str:
    """Return the help of the program that a line calls, and check that the program is there."""
    words = shlex.split(text.partition(" && ")[0])
    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    done = _run(clone, shlex.join([*words[:first], "--help"]))
    assert done.code == 0, f"{text}: {done.written}"
    return done.written


def _is_ours(text: str) -> bool:
    """Whether the line calls a program of this repository."""
    return bool(
        re.match(r"(?:\.venv/bin/)?(?:gaia|gaia-validator)\b|(?:\.venv/bin/python|python3) scripts/", text)
    )


def _unrun(command: Command) -> bool:
    """Whether the command is only looked up: inline text names scripts that take minutes, and bare groups of commands."""
    return bool(command.need) or (command.is_inline and not re.match(r"(?:\.venv/bin/)?gaia ", command.text))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_the_page_run(clone: Clone, page: Path) -> None:
    wrong = []
    for command in commands_of(page):
        text = _words(clone, command.text)
        known = text.removeprefix(".venv/bin/")
        if text == STARTS_A_SUBNET or (command.is_inline and known in clone.run):
            continue
        clone.run.add(known)
        if _unrun(command):
            if _is_ours(text):
                written = _help_of(clone, text)
                wrong += [f"{command}: no option {word}" for word in _options(text) if word not in written]
            continue
        began = time.monotonic()
        done = _run(clone, text, stop=command.is_endless)
        is_named = command.is_inline and done.code == 2 and "arguments are required" in done.written
        if is_named:
            # The page names a command without its arguments.
            _help_of(clone, text)
        elif fault := _fault_of(command, done):
            wrong.append(f"{command}: {fault} after {time.monotonic() - began:.1f} s: {done.written[-600:]}")

    assert wrong == [], "\n".join(wrong)


def _fault_of(command: Command, done: Done) -> str:
    """Return how a command did something else than its page says; "": it did not."""
    if "Traceback" in done.written:
        return "a trace"
    if done.code not in command.codes:
        return f"exit code {done.code}"
    if command.shows and not done.printed.strip():
        return "no output where the page shows some"
    return ""


def test_block_directly_below_a_command_is_its_output() -> None:
    shown = {
        command.text: command.shows.split()[:2]
        for page in PAGES
        for command in commands_of(page)
        if command.shows
    }

    assert shown[".venv/bin/gaia replay last"] == ["2026-03-25T00Z", "same:"]
    assert shown[".venv/bin/gaia explain 2026-03-25 1 --lead 24"][0] == "2026-03-25T00Z,"
    assert not {text for text in shown if shown[text][0].startswith("GAIA_")}, "settings are no output"


@pytest.mark.parametrize(
    ("done", "fault"),
    [
        (Done(0, "same\n", ""), ""),
        (Done(0, "\n", "a note\n"), "no output where the page shows some"),
        (Done(1, "same\n", ""), "exit code 1"),
        (Done(0, "same\n", "Traceback (most recent call last):"), "a trace"),
    ],
)
def test_command_that_does_something_else_than_its_page_says_is_told(done: Done, fault: str) -> None:
    assert _fault_of(Command(page="it", text="gaia replay last", shows="same"), done) == fault


def _options(text: str) -> list[str]:
    return [
        word.partition("=")[0] for word in shlex.split(text.partition(" && ")[0]) if word.startswith("--")
    ]


def test_each_command_that_no_test_runs_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """The list is printed, so that a reader of the log sees it."""
    unrun = [command for page in PAGES for command in commands_of(page) if command.need]

    with capsys.disabled():
        print(f"\n{len(unrun)} documented commands are not run:")
        for command in unrun:
            print(f"  {command} needs {command.need}")
    assert {command.need for command in unrun} <= NEEDS
