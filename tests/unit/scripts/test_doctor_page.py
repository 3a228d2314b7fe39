"""The reference page of doctor is up to date, and says how each check is corrected."""

from __future__ import annotations

from generate.doctor_page import PAGE, render

from gaia.validator.doctor.examination import CHECKS


def test_page_is_what_the_checks_say() -> None:
    assert PAGE.read_text() == render(), "run scripts/generate/doctor_page.py"


def test_every_check_says_what_it_looks_at_and_what_corrects_it() -> None:
    assert [check.name for check in CHECKS if not (check.looks_at and check.remedy)] == []
