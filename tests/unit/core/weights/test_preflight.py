"""What is known to be refused before it is signed."""

from __future__ import annotations

import pytest

from gaia.validator.core.weights.preflight import VERSION_KEY, obstacle_of, version_key_of
from tests.support.fakes import a_metagraph

MINERS = ["5A", "5B", "5C"]
HALVES = [[1, 65535], [2, 65535]]


@pytest.mark.parametrize(("least", "is_fine"), [(0, True), (2, True), (3, False)])
def test_vector_must_name_as_many_uids_as_the_subnet_wants(least: int, is_fine: bool) -> None:
    told = obstacle_of(HALVES, a_metagraph(MINERS, min_allowed_weights=least))

    assert told == ("" if is_fine else "the vector names 2 uids, and the subnet wants 3 or more")


def test_subnet_wants_no_more_uids_than_it_has() -> None:
    whole = [[uid, 65535] for uid in range(4)]

    assert obstacle_of(whole, a_metagraph(MINERS, min_allowed_weights=64)) == ""


@pytest.mark.parametrize(("limit", "is_fine"), [(65535, True), (32768, True), (32767, False), (6554, False)])
def test_no_uid_may_get_more_of_the_whole_than_the_subnet_allows(limit: int, is_fine: bool) -> None:
    told = obstacle_of(HALVES, a_metagraph(MINERS, max_weights_limit=limit))

    assert told == (
        "" if is_fine else f"one uid gets 50.00% of the weight, and the subnet allows {limit / 65535:.2%}"
    )


def test_vector_that_names_its_sender_alone_passes_both_rules() -> None:
    metagraph = a_metagraph(MINERS, min_allowed_weights=3, max_weights_limit=100)

    assert obstacle_of([[0, 65535]], metagraph) == ""
    assert obstacle_of([[1, 65535]], metagraph) != ""


@pytest.mark.parametrize(("wanted", "sent"), [(0, VERSION_KEY), (4000, 4000), (5000, 5000)])
def test_version_key_is_the_one_that_the_subnet_demands_if_it_is_larger(wanted: int, sent: int) -> None:
    assert version_key_of(a_metagraph(MINERS, weights_version=wanted)) == sent
