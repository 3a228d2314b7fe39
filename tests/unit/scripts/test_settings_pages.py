"""The files that are generated from the settings and the exit codes are up to date."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import pytest
from dotenv import dotenv_values
from generate import settings_pages
from generate.settings_pages import (
    EXIT_CODES,
    REFERENCE,
    TEMPLATE,
    render_exit_codes,
    render_reference,
    render_template,
)

from gaia.validator.utils.config import SECTIONS, Settings, load_settings, variable_of
from gaia.validator.utils.errors import ExitCode


def test_template_is_what_the_settings_say() -> None:
    assert TEMPLATE.read_text() == render_template(), "run scripts/generate/settings_pages.py"


def test_settings_page_is_what_the_settings_say() -> None:
    assert REFERENCE.read_text() == render_reference(), "run scripts/generate/settings_pages.py"


def test_exit_codes_page_has_every_exit_code() -> None:
    assert EXIT_CODES.read_text() == render_exit_codes(), "run scripts/generate/settings_pages.py"
    assert all(f"| {code.value} | `{code.name}` |" in EXIT_CODES.read_text() for code in ExitCode)


def test_template_as_it_is_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / ".env"
    copy.write_text(render_template())

    assert load_settings(copy) == Settings()


def test_template_with_every_default_uncommented_changes_nothing(tmp_path: Path) -> None:
    lines = [
        line.removeprefix("#") if line.startswith("#GAIA_") else line
        for line in render_template().splitlines()
    ]
    copy = tmp_path / ".env"
    copy.write_text("\n".join(lines))

    assert set(dotenv_values(copy)) == {variable_of(name) for name in Settings.model_fields}
    assert load_settings(copy).model_dump() == Settings().model_dump()


def test_every_section_has_a_heading_of_its_own() -> None:
    headings = [section.heading for section in SECTIONS]

    assert all(headings)
    assert len(set(headings)) == len(headings)
    assert [line[3:] for line in render_reference().splitlines() if line.startswith("## ")] == [
        *headings,
        "Ignored",
    ]


def test_descriptions_are_short_sentences() -> None:
    sentences = [
        sentence.split()
        for field in Settings.model_fields.values()
        for sentence in re.split(r"(?<=[.:])\s", field.description or "")
    ]

    assert max(map(len, sentences)) <= 25
    assert fmean(map(len, sentences)) <= 16


@pytest.mark.parametrize("name", Settings.model_fields)
def test_description_is_whole_and_fits_into_a_table(name: str) -> None:
    description = Settings.model_fields[name].description or ""

    assert description.endswith(".")
    assert "|" not in description
    assert not re.search(r"\b(whoever|so long|so many|so often)\b", description)


def test_generator_writes_what_it_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEMPLATE", "REFERENCE", "EXIT_CODES"):
        monkeypatch.setattr(settings_pages, name, tmp_path / name)

    settings_pages.main()

    assert (tmp_path / "TEMPLATE").read_text() == render_template()
    assert (tmp_path / "REFERENCE").read_text() == render_reference()
