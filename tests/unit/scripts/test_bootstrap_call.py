"""What is said while a program that the first start calls is silent."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NoReturn

import bootstrap
import pytest


def test_silent_program_is_said_to_go_on_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "SPEAK_EVERY_S", 0.05)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            gate.write_text("go on")

    monkeypatch.setattr(bootstrap, "_say", say)

    done = bootstrap.call(
        ["sh", "-c", f"read -r word < '{gate}'; echo heard; exit 3"], stdout=subprocess.PIPE, text=True
    )

    assert (done.returncode, done.stdout) == (3, "heard\n")
    assert len(said) >= 2
    assert all(re.fullmatch(r"\.\.\. still at it after \d+ s", text) for text in said)


def test_program_ends_with_the_one_that_called_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SPEAK_EVERY_S", 0.05)

    def interrupt(text: str) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "_say", interrupt)

    with pytest.raises(KeyboardInterrupt):
        bootstrap.call(["sleep", "600"])
