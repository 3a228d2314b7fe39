"""The files in monitoring/ are accepted by the programs that read them, and each alert fires where it must."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from panels.panel import RATE
from panels.table import PANELS

from tests.support.patience import patience
from tests.support.programs import program
from tests.support.repository import ROOT

MONITORING = ROOT / "monitoring"
TESTS = sorted((MONITORING / "tests").glob("*.yml"))


def run(tool: str, *words: object) -> tuple[int, str]:
    done = subprocess.run(
        [program(tool), *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=patience(300)
    )
    return done.returncode, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration_and_all_rules() -> None:
    code, said = run("promtool", "check", "config", MONITORING / "prometheus.yml")

    assert code == 0, said
    assert said.count("rules found") == 2


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_alerts_fire_and_keep_silent_where_their_tests_say_so(file: Path) -> None:
    code, said = run("promtool", "test", "rules", file)

    assert code == 0, said


def test_rule_that_no_longer_fires_fails_its_test(tmp_path: Path) -> None:
    """Otherwise the test above would say nothing."""
    (tmp_path / "tests").mkdir()
    for name in ("prometheus_alerts.yml", "prometheus_recording.yml", "tests/weights.yml"):
        text = (MONITORING / name).read_text()
        (tmp_path / name).write_text(text.replace("gaia_weights_vectors_in_doubt > 0", "vector(0) > 1"))

    code, said = run("promtool", "test", "rules", tmp_path / "tests" / "weights.yml")

    assert code == 1
    assert "ValidatorVectorInDoubt fires" in said


def test_alertmanager_accepts_its_configuration_and_routes_by_page() -> None:
    file = MONITORING / "alertmanager.yml"

    assert run("amtool", "check-config", file)[0] == 0
    routes = {
        "alertname=ValidatorWeightsStale page=true": "page",
        "alertname=ValidatorHighMemoryUsage": "ticket",
        "alertname=ValidatorDeadManSwitch": "deadman",
    }
    for labels, receiver in routes.items():
        code, said = run("amtool", "config", "routes", "test", f"--config.file={file}", *labels.split())
        # What follows on standard error is about an option that was not given.
        assert (code, said.splitlines()[0]) == (0, receiver)


def test_prometheus_parses_each_query_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [
        query.expr.replace("$instance", ".*").replace(RATE, "5m")
        for panel in PANELS
        for query in panel.queries
    ]
    rules = [
        {"record": f"panel:query:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))

    code, said = run("promtool", "check", "rules", file)

    assert code == 0, said
    assert f"{len(expressions)} rules found" in said
