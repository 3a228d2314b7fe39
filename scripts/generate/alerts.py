"""Writes the rules of Prometheus and their tests in monitoring/ from scripts/alerting.

.venv/bin/python scripts/generate/alerts.py --runbooks https://example.org/gaia/runbooks
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from alerting.render import RUNBOOKS, alert_rules, recording_rules, rule_tests  # noqa: E402 - said above
from alerting.rule import Pace  # noqa: E402 - likewise
from alerting.table import GROUPS, RECORDINGS  # noqa: E402 - likewise

MONITORING = ROOT / "monitoring"
_USUAL = "1m"


def main(arguments: Sequence[str]) -> None:
    """Write every file; tests of long durations get files of their own with rarer samples."""
    parser = argparse.ArgumentParser(prog="alerts.py", description=__doc__.splitlines()[0])
    parser.add_argument("--runbooks", default=RUNBOOKS, metavar="URL", help="place of the runbooks' pages")
    for path, text in rendered(parser.parse_args(arguments).runbooks).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def rendered(runbooks: str = RUNBOOKS) -> dict[Path, str]:
    """Return path -> text of each file."""
    pace = Pace()
    files = {
        MONITORING / "prometheus_alerts.yml": alert_rules(GROUPS, pace, runbooks),
        MONITORING / "prometheus_recording.yml": recording_rules(RECORDINGS, pace),
    }
    for group in GROUPS:
        for every in sorted({alert.fires.every for alert in group.alerts}):
            alerts = [alert for alert in group.alerts if alert.fires.every == every]
            name = group.name if every == _USUAL else f"{group.name}_every_{every}"
            files[MONITORING / "tests" / f"{name}.yml"] = rule_tests(alerts, every, runbooks)
    return files


if __name__ == "__main__":
    main(sys.argv[1:])
