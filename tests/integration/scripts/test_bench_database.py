"""The benchmark of an idle tick runs, and an idle tick reads a small part of what it once read."""

import json
import subprocess
import sys

from benchmarks.database import MOST_QUERY_MS, MOST_READ_BYTES, violations_of
from benchmarks.database_parts.queries import Slowest

from gaia.validator.db.statements import SQL
from tests.support.patience import patience
from tests.support.repository import ROOT


def test_idle_tick_asks_the_database_for_a_hundredth_of_what_manifests_weigh() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", "database", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(120),
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    figures = found["figures"]
    assert figures["bytes_before"] > 4 * 8 * figures["manifest_bytes"]
    assert found["ratios"]["bytes_before_vs_now"] > 100
    assert 0 < figures["most_bytes_read_by_an_idle_tick"] < MOST_READ_BYTES
    assert figures["slowest_query"] in {*SQL, "BEGIN", "COMMIT"}
    assert figures["slowest_query_ms"] > 0


def test_slow_query_and_much_that_is_read_are_violations() -> None:
    assert violations_of(Slowest("due_forecasts", MOST_QUERY_MS), MOST_READ_BYTES) == []

    assert violations_of(Slowest("due_forecasts", 61.25), MOST_READ_BYTES + 1) == [
        "query due_forecasts took 61.2 ms, at most 50",
        "an idle tick read 1048577 bytes, at most 1048576",
    ]
