"""Images and compose files keep their bars on a real engine; scripts/docker_ci.py says how they are measured."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.support.repository import ROOT

OPTIONS = shlex.split(os.environ.get("DOCKER_CI_OPTIONS", ""))
"""For engines that can pull nothing: --host-network --local-bases --python PATH."""


@pytest.fixture(scope="module")
def trial() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docker_ci.py", "--json", *OPTIONS],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_no_bar_is_broken(trial: dict[str, Any]) -> None:
    assert trial["violations"] == []


def test_no_row_is_lost(trial: dict[str, Any]) -> None:
    marks = trial["marks"]

    assert marks["written"] == marks["after_kill"] == marks["after_down"] > 0


def test_the_demo_ends_in_weights(trial: dict[str, Any]) -> None:
    assert "read back from the chain" in trial["demo"]
