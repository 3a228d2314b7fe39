"""Facts of a validator as a runbook sees them, and the changes that one fault makes to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gaia.cli.runbooks.facts import Facts, Rows
from gaia.cli.status.samples import Samples
from gaia.validator.app.meeting.rendezvous import Board, DeathReport
from gaia.validator.db.history import RunSummary
from gaia.validator.db.rows import AwaitedRow, IncidentRow, LeaseRow, VectorInDoubt
from gaia.validator.db.states import RunState, VectorState
from gaia.validator.utils.identities import RunId, WorkerId
from tests.support.builders import a_metagraph, a_neuron
from tests.support.stored_rows import a_vector_row

NOW = datetime(2026, 3, 26, 12, tzinfo=UTC)
ME = os.getpid()
SAMPLES = f"""
gaia_clock_timestamp_seconds {NOW.timestamp()}
gaia_pool_seats 2
gaia_pool_healthy_seats 2
gaia_sandbox_level 3
gaia_ipc_queue_depth{{queue="work"}} 0
gaia_ipc_queue_depth{{queue="leased"}} 0
gaia_ipc_queue_depth{{queue="result"}} 0
gaia_io_event_loop_lag_seconds 0.001
gaia_db_connections_active 1
gaia_db_connections_max 8
gaia_substrate_connection_status 1
gaia_weather_score_day1{{statistic="median"}} 0.7
gaia_build_info{{version="4.0.0"}} 1
"""


def a_run(**fields: object) -> RunSummary:
    usual = RunSummary(
        run_id=RunId("2026-03-25T00Z"),
        init_time=datetime(2026, 3, 25, tzinfo=UTC),
        rule_set="gaia-2.9",
        state=RunState.OPEN,
        opened_at=datetime(2026, 3, 25, 18, tzinfo=UTC),
        completed_at=None,
        contract=None,
        forecasts=12,
        unfrozen=0,
        scored=10,
        rejected=2,
        excused=0,
        has_scores=True,
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


ROWS = Rows(
    runs=[a_run()],
    newest_vector=a_vector_row(),
    doubts=[],
    incidents=[],
    awaited=[],
    lease=None,
)


def on_chain(**own: object) -> Callable[[Facts], Facts]:
    """Return a change of our own neuron; without any, the subnet has none of ours."""
    neurons = [a_neuron(1, **own)] if own else []
    return lambda facts: replace(facts, metagraph=a_metagraph(neurons, own_uid=1 if own else None))


def changed(**settings: object) -> Callable[[Facts], Facts]:
    def change(facts: Facts) -> Facts:
        return replace(facts, settings=facts.settings.model_copy(update=settings))

    return change


def told(*lines: str) -> Callable[[Facts], Facts]:
    """Return a change that replaces samples of the same name and labels."""

    def change(facts: Facts) -> Facts:
        names = tuple(line.rsplit(" ", 1)[0] for line in lines)
        kept = [line for line in SAMPLES.splitlines() if not line.startswith(names)]
        return replace(facts, samples=Samples("\n".join([*kept, *lines, ""])))

    return change


def stored(**rows: object) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, rows=replace(ROWS, **rows))  # type: ignore[arg-type]


def died(cause: str, role: str = "compute_worker") -> Callable[[Facts], Facts]:
    def change(facts: Facts) -> Facts:
        report = DeathReport(
            role=role,
            worker=WorkerId("1.4"),
            pid=1,
            exit_code=-9,
            cause=cause,
            at=time.time() - 60,
            lived_s=9.0,
        )
        return replace(
            facts, board=Board(workers={WorkerId("0.1"): ME}, processes={"io_engine": ME}, deaths=[report])
        )

    return change


def without(role: str) -> Callable[[Facts], Facts]:
    def change(facts: Facts) -> Facts:
        named = {name: pid for name, pid in facts.board.processes.items() if name != role}
        workers = {} if role == "compute_worker" else facts.board.workers
        return replace(facts, board=Board(workers=workers, processes=named))

    return change


def incident(party: str, evidence: str = "refused\x1b[2J by the node") -> Callable[[Facts], Facts]:
    row = IncidentRow(party=party, began_at=NOW, last_at=NOW, evidence=evidence)
    return stored(incidents=[row])


def a_lease(seconds_left: float, holder: str = "another") -> LeaseRow:
    return LeaseRow(holder=holder, name="one:/data", taken_at=NOW, seconds_left=seconds_left)


DOUBT = VectorInDoubt(epoch=6, state=VectorState.INTENDED, intended_at=NOW, error=None)
AWAITED = AwaitedRow(
    source="era5",
    sets=3,
    retry_at=NOW + timedelta(hours=1),
    last_error="licence not accepted",
    failures=1,
    missed_since=NOW,
)
