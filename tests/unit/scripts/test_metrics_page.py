"""The reference page of metrics is up to date, and has every metric once."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import pytest
from generate import metrics_page
from generate.metrics_page import PAGE, SECTIONS, all_families, name_of, render, unit_of

from gaia.validator.app.observation import metrics

ROW = re.compile(r"^\| `(gaia_\w+)` \| (\w+) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)


def test_page_is_what_the_metrics_say() -> None:
    assert PAGE.read_text() == render(), "run scripts/generate/metrics_page.py"


def test_every_metric_stands_once_on_the_page() -> None:
    names = [row[0] for row in ROW.findall(render())]

    assert sorted(names) == sorted(name_of(family) for family in all_families())


def test_every_section_has_metrics() -> None:
    words = {name_of(family).split("_")[1] for family in all_families()}

    assert {word for listed in SECTIONS.values() for word in listed} == words


def test_meanings_are_short_sentences() -> None:
    sentences = [
        sentence.split()
        for row in ROW.findall(render())
        for sentence in re.split(r"[.;:]\s", row[4].removesuffix("."))
    ]

    assert all(row[4].endswith(".") for row in ROW.findall(render()))
    assert max(map(len, sentences)) <= 25
    assert fmean(map(len, sentences)) <= 16


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("gaia_db_size_bytes", "bytes"),
        ("gaia_source_request_seconds_total", "s"),
        ("gaia_clock_timestamp_seconds", "Unix s"),
        ("gaia_chain_block", ""),
    ],
)
def test_unit_is_the_one_in_the_name(name: str, unit: str) -> None:
    assert unit_of(name) == unit


def test_page_does_not_depend_on_what_the_process_has_counted() -> None:
    before = render()
    metrics.count_error("TransientError")

    assert render() == before


def test_generator_writes_what_it_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_page, "PAGE", tmp_path / "metrics.md")

    metrics_page.main()

    assert (tmp_path / "metrics.md").read_text() == render()
