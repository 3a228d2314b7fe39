"""The reference page of the operator's faults is what the campaign measured last."""

from __future__ import annotations

from campaigns.operator_faults.page import PAGE, measured, render, stored
from campaigns.operator_faults.table import FAULTS


def test_page_is_what_was_measured() -> None:
    assert PAGE.read_text() == render(measured()), "run scripts/campaigns/operator_faults/page.py"


def test_stored_rows_are_about_faults_that_there_are() -> None:
    result = measured()
    rows = result["figures"]["rows"] if result is not None else []

    assert {row["fault"] for row in rows} <= {fault.name for fault in FAULTS}


def test_page_names_every_fault_and_every_wrong_answer() -> None:
    row = {
        "fault": "chain_down",
        "seconds": 4.2,
        "status": {"said": "SubstrateConnectionLost", "right": True},
        "doctor": {"said": "nothing new", "right": False},
        "runbook": {"said": "no cause", "right": False},
        "words": {"status": ["the disk of /somewhere is full"]},
    }
    figures = {"faults": 1, "status": 1, "doctor": 0, "runbook": 0, "rows": [row]}

    page = render({"figures": figures, "violations": ["doctor is right in 0 of 1 only"]})

    assert all(f"`{fault.name}`" in page for fault in FAULTS)
    assert "| right: SubstrateConnectionLost | wrong: nothing new | wrong: no cause |" in page
    assert "- doctor is right in 0 of 1 only" in page
    assert "/somewhere" not in stored({"figures": figures, "violations": []})
