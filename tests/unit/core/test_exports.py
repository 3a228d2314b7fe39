"""The names that the plan gives to the parts of core, and what importing them loads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gaia.validator import core
from tests.support.repository import ROOT

NAMES = (
    "DatabaseStatsManager",
    "MinerCommunicator",
    "TaskOrchestrator",
    "run_comprehensive_database_setup",
)
HEAVY = {"apscheduler", "asyncpg", "httpx", "numpy", "structlog", "xarray", "bittensor", "matplotlib"}


def _loaded_by(program: str) -> set[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_core_exports_the_names_of_the_plan() -> None:
    assert sorted(core.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(core))
    assert all(callable(getattr(core, name)) for name in NAMES)


def test_name_that_core_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'GaiaValidator'"):
        _ = core.GaiaValidator


def test_core_itself_loads_none_of_its_parts() -> None:
    loaded = _loaded_by("import gaia.validator.core")

    assert not HEAVY & loaded
    assert not {name for name in loaded if name.startswith("gaia.validator.core.")}


@pytest.mark.parametrize(
    ("name", "stays_out"),
    [
        ("TaskOrchestrator", {"httpx", "asyncpg", "numpy", "bittensor", "matplotlib"}),
        ("MinerCommunicator", {"asyncpg", "apscheduler", "numpy", "bittensor", "matplotlib"}),
        ("DatabaseStatsManager", {"httpx", "asyncpg", "apscheduler", "numpy", "bittensor", "matplotlib"}),
        ("run_comprehensive_database_setup", {"httpx", "apscheduler", "numpy", "bittensor", "matplotlib"}),
    ],
)
def test_part_of_core_loads_what_it_needs_alone(name: str, stays_out: set[str]) -> None:
    loaded = _loaded_by(f"from gaia.validator.core import {name}")

    assert not stays_out & loaded
