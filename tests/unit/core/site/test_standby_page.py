"""The first page says who holds the lease: its operator learns the name, the public only that this one stands by."""

from __future__ import annotations

import msgspec
import pytest

from gaia.validator.core.site.build import site_of
from gaia.validator.core.site.pages import renderers
from gaia.validator.core.status.facts import Facts
from tests.support.site_pages import read
from tests.support.site_rows import WINDOW, a_week
from tests.support.status_facts import a_lease, a_standby, some_facts, some_work

HOLDER = "first-machine:/srv/gaia"


def front(facts: Facts, *, for_operator: bool = True) -> str:
    """Return the text of the first page."""
    site = site_of(facts, a_week(), WINDOW, for_operator=for_operator)
    return read(renderers(site)["index.html"]()).text


def test_page_of_a_standby_is_well_and_names_the_holder() -> None:
    text = front(a_standby())

    assert "well: All is well. This validator stands by" in text
    assert f"{HOLDER}, since 2026-03-25 12:00Z" in text


def test_page_of_the_active_validator_says_that_it_holds_the_lease() -> None:
    text = front(some_facts())

    assert "this validator, since 2026-03-25 12:00Z" in text
    assert "stands by" not in text


def test_page_says_that_nobody_holds_the_lease_and_who_had_it_last() -> None:
    text = front(some_facts(work=some_work(lease=a_lease(seconds_left=-600.0))))

    assert f"nobody; the last holder was {HOLDER}, since" in text


@pytest.mark.parametrize("facts", [some_facts(), a_standby()], ids=["active", "standby"])
def test_public_page_names_no_machine(facts: Facts) -> None:
    site = site_of(facts, a_week(), WINDOW, for_operator=False)

    assert HOLDER not in front(facts, for_operator=False)
    assert HOLDER not in msgspec.json.encode(site).decode()
    assert site.front.stands_by is facts.stands_by
