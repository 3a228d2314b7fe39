"""The reference page of a site's data is what the model says."""

from __future__ import annotations

from generate.site_data_page import PAGE, meanings, objects, render


def test_page_is_what_the_model_says() -> None:
    assert PAGE.read_text() == render(), "run scripts/generate/site_data_page.py"


def test_every_member_has_a_meaning() -> None:
    silent = [
        (kind.__name__, name) for kind in objects() for name, said in meanings(kind).items() if not said
    ]

    assert silent == []
