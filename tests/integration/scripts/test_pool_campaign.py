"""The short form of the campaign against the pool; docs/how-to/measure.md has the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random

import pytest
from campaigns.pool_faults.campaign import KINDS
from campaigns.pool_faults.plans import make_plan

from tests.support.patience import patience, slowness
from tests.support.repository import ROOT

KILLS = 150
SEED = 57


@pytest.mark.slow
def test_nothing_is_lost_doubled_wrong_or_left_behind_by_150_kills() -> None:
    command = [
        sys.executable,
        "scripts/chaos.py",
        "pool",
        "--kills",
        str(KILLS),
        "--seed",
        str(SEED),
        "--patience",
        str(slowness()),
        "--json",
    ]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(180))

    found = json.loads(done.stdout)
    assert found["passed"], done.stdout
    assert (found["lost"], found["doubled"], found["wrong"], found["left_behind"]) == (0, 0, 0, 0)
    assert found["kills"] >= KILLS
    assert all(found["by_kind"][kind] >= 10 for kind in KINDS)
    assert found["pauses"] == sum(found["stops"].values()) >= 10
    assert found["compared"] == 4 * found["lanes"]
    assert found["stops"]["engine"] >= 2
    assert found["stops"]["fork_server"] >= 1
    assert found["stops"]["worker"] >= 5
    assert found["bound"] == 3 / found["kills"]
    assert done.returncode == 0


def test_plan_of_a_campaign_follows_its_seed() -> None:
    plans = [make_plan(3000, Random(seed)) for seed in (1, 1, 2)]

    assert plans[0] == plans[1] != plans[2]
    early, late = plans[0]
    assert sum(act in (*KINDS, "standby") for act in (*early, *late)) == 3000
    assert "supervisor" not in late
    assert {"worker", "fork_server", "engine"} <= set(late)


def test_plan_of_the_long_form_has_three_hundred_of_each_kind_and_two_hundred_stops_however_it_is_shared() -> (
    None
):
    for lanes in (1, 2, 4, 8):
        plan = [
            act for lane in range(lanes) for part in make_plan(3000 // lanes, Random(lane)) for act in part
        ]
        assert all(plan.count(kind) >= 300 for kind in KINDS)
        assert sum(act.startswith("stop ") for act in plan) >= 200
        assert all(plan.count(f"stop {kind}") >= 30 for kind in ("worker", "engine", "fork_server"))
