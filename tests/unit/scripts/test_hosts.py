"""The campaign over hosts: the table is whole, and a host that differs is a violation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from campaigns import hosts
from campaigns.host_kinds.table import HOSTS, Base


def _row(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        "host": name,
        "what": "",
        "python": "3.12.1",
        "seconds": 60,
        "exit_code": 0,
        "bits": "aa",
        "said": "",
    }
    return {**row, "is_right": True, "runs": True, **changes}


def test_there_are_a_dozen_hosts_of_every_base_and_some_need_no_root() -> None:
    assert len({host.name for host in HOSTS}) == len(HOSTS) >= 12
    assert {host.base for host in HOSTS} == set(Base)
    assert sum(not host.needs_root for host in HOSTS) >= 2


def test_hosts_that_agree_are_no_violation() -> None:
    result = hosts.judged([_row("a"), _row("b")], 120.0)

    assert result["violations"] == []
    assert result["figures"]["right"] == 2
    assert "is_right" not in result["figures"]["rows"][0]


@pytest.mark.parametrize(
    ("rows", "violation"),
    [
        ([], "no host was chosen"),
        ([_row("a"), _row("b", bits="bb")], "scores and weights differ: aa, bb"),
        ([_row("a", exit_code=2, said="No.", bits="", is_right=False)], "a: 2: No."),
    ],
)
def test_host_that_fails_or_differs_is_a_violation(rows: list[dict[str, Any]], violation: str) -> None:
    assert hosts.judged(rows, 1.0)["violations"] == [violation]


def test_bits_tell_apart_numbers_that_differ_in_the_last_place() -> None:
    def report(weight: float) -> str:
        return json.dumps({"miners": [{"uid": 1, "overall": 0.5, "weight": weight, "address": "any"}]})

    assert hosts.bits_of(report(0.1)) == hosts.bits_of(report(0.1).replace("any", "other"))
    assert hosts.bits_of(report(0.1)) != hosts.bits_of(report(0.1 + 2**-56))
