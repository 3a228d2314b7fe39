"""What the validator serves at /metrics follows the rules of Prometheus, as its own program judges."""

from __future__ import annotations

import subprocess

from prometheus_client import generate_latest

from gaia.validator.app.observation.exposition import exposition
from gaia.validator.app.observation.family import Accounts, Family
from gaia.validator.app.observation.metrics import REGISTRY
from tests.support.patience import patience
from tests.support.programs import program

BUILD = dict.fromkeys(("version", "commit", "rule_set", "config"), "x")


def judged(page: bytes) -> tuple[int, str]:
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page, capture_output=True, timeout=patience(60)
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def test_promtool_finds_nothing_in_the_metrics_of_both_processes() -> None:
    page = generate_latest(REGISTRY) + exposition(BUILD, Family(), Accounts())

    assert judged(page) == (0, "")


def test_gauge_with_the_name_of_a_counter_is_found() -> None:
    """Otherwise the test above would say nothing."""
    page = exposition(BUILD, Family(), Accounts())
    name = b"# TYPE gaia_process_cpu_seconds_total "
    assert name + b"counter" in page

    code, said = judged(page.replace(name + b"counter", name + b"gauge"))

    assert code != 0
    assert "gaia_process_cpu_seconds_total" in said
