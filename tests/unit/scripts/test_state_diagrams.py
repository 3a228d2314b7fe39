"""The page of the job ledger is what its transition tables say."""

from __future__ import annotations

from pathlib import Path

import pytest
from generate import state_diagrams
from generate.state_diagrams import PAGE, diagram, render_page

from gaia.validator.app.pool.job_states import JOB_ARROWS, WORKER_ARROWS, Arrow, WorkerState


def test_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == render_page(), "run scripts/generate/state_diagrams.py"


def test_diagram_draws_each_arrow_once_with_its_events() -> None:
    arrow = Arrow(WorkerState.ABSENT, WorkerState.IDLE, "WorkerReady Finished", "Why.")

    assert list(diagram([arrow]))[2:-1] == ["    [*] --> idle: WorkerReady, Finished"]
    assert len(list(diagram(WORKER_ARROWS))) == len(WORKER_ARROWS) + 3


def test_page_has_a_row_for_each_arrow() -> None:
    text = render_page()

    assert all(f"| `{a.source}` | `{a.target}` | " in text for a in (*WORKER_ARROWS, *JOB_ARROWS))


def test_generator_writes_what_it_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_diagrams, "PAGE", tmp_path / "page.md")

    state_diagrams.main()

    assert (tmp_path / "page.md").read_text() == render_page()
