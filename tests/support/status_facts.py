"""Facts about a validator that is well, with values that a test changes where it cares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gaia.validator.core.status.facts import Chain, Disk, Facts, Limits, Processes, Work
from gaia.validator.db.history import RunSummary
from gaia.validator.db.rows import LeaseRow, ReferenceCounts
from gaia.validator.db.states import RunState
from gaia.validator.utils.identities import RunId

NOW = datetime(2026, 3, 26, 12, tzinfo=UTC)
ROLES = {"chain_signer": 1, "postgres": 1, "io_engine": 1, "compute_worker": 3}


def some_processes(**changes: Any) -> Processes:
    """Return the processes of a validator that runs undisturbed."""
    values: dict[str, Any] = {
        "is_running": True,
        "is_published": True,
        "living": ROLES,
        "expected": ROLES,
        "silent_s": {"io_engine": 0.2, "chain_signer": 0.2},
        "restarts": 0,
        "deaths": [],
    }
    return Processes(**values | changes)


def a_chain(**changes: Any) -> Chain:
    """Return a chain that holds weights of ours, 100 blocks old."""
    values: dict[str, Any] = {
        "read_at": NOW - timedelta(minutes=1),
        "netuid": 57,
        "block": 5000,
        "hotkey": "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
        "uid": 3,
        "stake": 2000.5,
        "has_permit": True,
        "last_update": 4900,
        "interval_blocks": 250,
        "dividends": 0.0123,
        "emission": 4.5,
    }
    return Chain(**values | changes)


def a_run(**changes: Any) -> RunSummary:
    """Return a run that opened hours ago and is open."""
    values: dict[str, Any] = {
        "run_id": RunId("2026-03-25T00Z"),
        "init_time": datetime(2026, 3, 25, tzinfo=UTC),
        "rule_set": "gaia-2.9",
        "state": RunState.OPEN,
        "opened_at": datetime(2026, 3, 25, 18, tzinfo=UTC),
        "completed_at": None,
        "contract": None,
        "forecasts": 12,
        "unfrozen": 0,
        "scored": 0,
        "rejected": 2,
        "excused": 0,
        "has_scores": True,
    }
    return RunSummary(**values | changes)


def some_work(**changes: Any) -> Work:
    """Return the work of a validator whose only run has its first scores."""
    run = a_run()
    values: dict[str, Any] = {
        "runs": 1,
        "open_runs": [run.run_id],
        "oldest_open_at": run.opened_at,
        "newest_run": run,
        "newest_frozen": run,
        "has_scores": True,
        "forecasts": {"scored_day1": 10, "rejected": 2},
        "references": ReferenceCounts(ready=4, awaited=0),
        "weights": None,
        "weights_set": None,
        "weights_in_doubt": [],
        "incidents": [],
        "archives": [],
        "due": [],
        "lease": a_lease(),
    }
    return Work(**values | changes)


def a_lease(**changes: Any) -> LeaseRow:
    """Return a lease that the validator of `some_facts` has held for a day."""
    values: dict[str, Any] = {
        "holder": "this",
        "name": "first-machine:/srv/gaia",
        "taken_at": NOW - timedelta(days=1),
        "seconds_left": 13.0,
    }
    return LeaseRow(**values | changes)


def a_standby(**changes: Any) -> Facts:
    """Return the facts about a validator that stands by, and has never read the chain."""
    return some_facts(**{"work": some_work(lease=a_lease(holder="another")), "chain": None} | changes)


def some_facts(**changes: Any) -> Facts:
    """Return the facts about a validator that is well."""
    values: dict[str, Any] = {
        "machine_time": NOW,
        "now": NOW,
        "is_simulated": False,
        "data_dir": "/srv/gaia",
        "rule_set": "gaia-2.9",
        "limits": Limits(
            engine_silence_s=30.0,
            signer_silence_s=90.0,
            metagraph_s=960.0,
            is_dry_run=False,
            opens_runs=True,
        ),
        "processes": some_processes(),
        "chain": a_chain(),
        "work": some_work(),
        "database_error": "",
        "jobs": [],
        "metrics_error": "",
        "disk": Disk(free=50 * 2**30, size=100 * 2**30, required=512 * 2**20),
        "identity": "this",
    }
    return Facts(**values | changes)
