"""Patience of the tests follows the load of the machine, and every wait of the tests asks it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import patience
from tests.support.patience import MOST, Deadline, pace, slowness_of
from tests.support.repository import ROOT
from tests.support.roles import until

TESTS = ROOT / "tests"
_LONG_S = 1.0
"""Shorter limits are the matter of their test: something is to miss them."""
_WAITS = {"timeout", "wait_for", "settimeout", "join", "wait", "wait_procs"}


@pytest.mark.parametrize(
    ("wanting", "cores", "expected"), [(0, 2, 1.0), (2, 2, 1.0), (7, 2, 6.0), (8, 8, 1.0), (300, 2, MOST)]
)
def test_each_process_that_wants_a_core_costs_patience_once_all_cores_are_taken(
    wanting: float, cores: int, expected: float
) -> None:
    assert slowness_of(wanting, cores) == expected


def test_busy_processes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_MEASURED", [float("-inf"), 1.0])
    monkeypatch.setattr(patience, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(patience, "os", SimpleNamespace(cpu_count=lambda: 1))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        until(lambda: patience.slowness() >= 3.0, "the load to be seen")
    finally:
        for each in busy:
            each.kill()
            each.wait()


def test_deadline_moves_away_when_the_machine_gets_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slowness = [100.0], [1.0]
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(patience, "slowness", lambda: slowness[0])
    deadline = Deadline(10.0)

    slowness[0] = 3.0
    assert not deadline.has_passed
    now[0], slowness[0] = 129.0, 1.0
    assert not deadline.has_passed
    now[0] = 131.0
    assert deadline.has_passed


def test_every_wait_of_a_test_is_patient() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in sorted(TESTS.rglob("*.py")) for line in _fixed(path)
    ]

    assert found == [], "say patience(seconds) there, of tests/support/patience.py"


def _fixed(path: Path) -> Iterator[int]:
    """Yield the lines that wait for seconds that no load changes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.BinOp) and _is_clock(node.left) and _is_long(node.right):
            yield node.lineno
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        limits = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
        if name in _WAITS:
            limits += node.args
        if any(map(_is_long, limits)):
            yield node.lineno


def _is_clock(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.monotonic", "time.perf_counter")


def _is_long(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id.endswith("PATIENCE_S")
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value >= _LONG_S


@pytest.mark.parametrize(("load", "expected"), [(0.1, 2.0), (3.0, 2.0), (6.0, 5.0), (40.0, 10.0)])
def test_blocks_of_a_campaign_follow_the_load_of_the_last_minute_within_bounds(
    load: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 30.0, 30.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    assert pace() == expected
