"""What the operator's campaign calls right: the fault is named, and nothing false is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from campaigns.operator_faults import judging
from campaigns.operator_faults.playing import chosen
from campaigns.operator_faults.table import CALM, FAULTS, Fault

from gaia.cli.runbooks.table import RUNBOOKS
from gaia.validator.doctor.examination import CHECKS

CHAIN_DOWN = next(fault for fault in FAULTS if fault.name == "chain_down")
DISK = {"name": "data-space", "result": "failure", "words": "12 MiB are free"}


def status(*names: str) -> dict[str, Any]:
    return {"exit_code": 1 if names else 0, "troubles": [{"name": f"Validator{name}"} for name in names]}


def doctor(*checks: dict[str, str]) -> dict[str, Any]:
    return {"checks": list(checks)}


def failing(name: str, words: str = "gone") -> dict[str, str]:
    return {"name": name, "result": "failure", "words": words}


def runbook(*causes: str) -> dict[str, Any]:
    return {"findings": [{"cause": cause} for cause in causes]}


@pytest.mark.parametrize(
    ("names", "is_right"),
    [
        (["SubstrateConnectionLost"], True),
        (["SubstrateConnectionLost", "WeightsStale"], True),
        (["WeightsStale"], False),
        (["SubstrateConnectionLost", "DiskSpaceLow"], False),
        ([], False),
    ],
)
def test_status_names_the_fault_and_nothing_but_its_consequences(names: list[str], is_right: bool) -> None:
    assert judging.of_status(CHAIN_DOWN, status(*names)).is_right is is_right


def test_doctor_is_judged_by_what_it_did_not_say_before() -> None:
    before = doctor(DISK)

    assert not judging.of_doctor(CHAIN_DOWN, before, doctor(DISK)).is_right
    assert judging.of_doctor(CHAIN_DOWN, before, doctor(DISK, failing("chain"))).is_right
    assert not judging.of_doctor(CHAIN_DOWN, before, doctor(failing("chain"), failing("gfs"))).is_right


def test_doctor_says_nothing_about_a_fault_that_is_none_of_the_machines() -> None:
    fault = replace(CHAIN_DOWN, doctor=frozenset(), doctor_beside=frozenset())

    assert judging.of_doctor(fault, doctor(), doctor()).is_right
    assert not judging.of_doctor(fault, doctor(), doctor(failing("chain"))).is_right


def test_other_numbers_are_no_news_and_other_words_are() -> None:
    same, other = {**DISK, "words": "9.5 MiB are free"}, {**DISK, "words": "the disk is gone"}

    assert judging.news_of(doctor(DISK), doctor(same)) == []
    assert judging.news_of(doctor(DISK), doctor(other)) == ["data-space"]


def test_first_cause_of_a_runbook_counts() -> None:
    right = CHAIN_DOWN.branches[0].sentence

    assert judging.of_runbook(CHAIN_DOWN, runbook(right, "Another.")).is_right
    assert not judging.of_runbook(CHAIN_DOWN, runbook("Another.", right)).is_right
    assert not judging.of_runbook(CHAIN_DOWN, runbook()).is_right


def a_row(name: str, *, right: bool, called_well: bool = False) -> dict[str, Any]:
    tools = {tool: {"said": "x", "right": right} for tool in judging.TOOLS}
    return {"fault": name, "called_well": called_well, "seconds": 1.0, **tools}


def test_two_of_twenty_may_be_wrong_and_none_may_be_called_well() -> None:
    eighteen = [a_row(str(number), right=number >= 2) for number in range(20)]
    seventeen = [a_row(str(number), right=number >= 3) for number in range(20)]
    well = [*eighteen[1:], a_row("0", right=True, called_well=True)]

    assert judging.result_of(eighteen, {}, 1.0)["violations"] == []
    assert len(judging.result_of(seventeen, {}, 1.0)["violations"]) == len(judging.TOOLS)
    assert judging.result_of(well, {}, 1.0)["violations"] == ["0 is called well"]


def test_fault_that_was_not_played_is_a_violation() -> None:
    assert judging.result_of([], {"chain_down": "Stuck"}, 1.0)["violations"] == [
        "chain_down was not played: Stuck"
    ]


def test_seed_chooses_faults_that_need_no_run() -> None:
    assert chosen(None, 1) == list(FAULTS)
    assert chosen(3, 1) == chosen(3, 1) != chosen(3, 2)
    assert all(fault in CALM for fault in chosen(3, 1))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_right_answers_are_answers_that_the_tools_can_give(fault: Fault) -> None:
    checks = {check.name for check in CHECKS}

    assert fault.doctor | fault.doctor_beside <= checks
    assert all(branch in RUNBOOKS[fault.alert].branches for branch in fault.branches)


def test_twenty_faults_or_more_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
