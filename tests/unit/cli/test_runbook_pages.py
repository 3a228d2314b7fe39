"""There is one runbook for each alert, and its page says what the command does."""

from __future__ import annotations

import re
from pathlib import Path

from alerting.table import ALERTS
from generate import runbooks as generator

from gaia.cli.parsers import parser
from gaia.cli.runbook import AFTER
from gaia.cli.runbooks.disk_use import used_by_folder
from gaia.cli.runbooks.table import RUNBOOKS, named
from tests.support.repository import ROOT


def test_each_alert_has_a_runbook_and_no_runbook_lacks_its_alert() -> None:
    assert sorted(RUNBOOKS) == sorted(alert.name for alert in ALERTS)


def test_runbook_is_found_with_and_without_the_prefix() -> None:
    assert named("ValidatorWeightsStale") is named("weightsstale") is RUNBOOKS["WeightsStale"]
    assert named("Weights") is None


def test_no_runbook_names_a_cause_twice() -> None:
    for runbook in RUNBOOKS.values():
        sentences = [branch.sentence for branch in runbook.branches]
        assert len(set(sentences)) == len(sentences)


def test_commands_that_remedies_name_exist() -> None:
    remedies = [AFTER, *(branch.remedy for each in RUNBOOKS.values() for branch in each.branches)]
    commands = {found for remedy in remedies for found in re.findall(r"`gaia ([^`]+)`", remedy)}

    assert len(commands) > 5
    for command in commands:
        parser().parse_args(command.replace("UID", "7").split())


def test_pages_are_what_the_table_says() -> None:
    wanted = generator.rendered()

    assert {path: path.read_text() for path in wanted} == wanted, "run scripts/generate/runbooks.py"
    assert set(generator.PAGES.glob("*.md")) == wanted.keys()


def test_navigation_lists_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text()

    assert generator.navigation(site) == site
    assert generator.navigation(site.replace("      - runbooks/ValidatorLogErrors.md\n", "")) == site


def test_folder_that_fills_the_disk_is_named(tmp_path: Path) -> None:
    for name, size in (("spool", 3_000_000), ("fields", 1_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * size)

    sizes = used_by_folder(tmp_path, used=3_500_000)

    assert list(sizes) == ["spool", "fields", "elsewhere"]
    assert sizes["spool"] >= 3_000_000
