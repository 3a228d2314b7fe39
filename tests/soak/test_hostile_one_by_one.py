"""Each hostile miner alone among eleven others: nobody else feels it.

All of them: python3 scripts/run_tests.py --soak -rP
One by name: python3 scripts/run_tests.py --soak -rP -k drip

Each is a whole subnet's run of a day, and one more is the run without any. -rP shows what became of each.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gaia.localnet.population import HOSTILE, Behaviour, population
from tests.support.hostile_runs import HostileRun, run_with

PLACE = next(spec.index for spec in population() if spec.behaviour is Behaviour.DEAD)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> HostileRun:
    state_dir = tmp_path_factory.mktemp("undisturbed") / "state"
    return asyncio.run(run_with({PLACE: Behaviour.DEAD}, state_dir))


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", HOSTILE)
async def test_one_hostile_miner_of_twelve_changes_no_bit_for_the_others(
    undisturbed: HostileRun, tmp_path: Path, behaviour: Behaviour
) -> None:
    run = await run_with({PLACE: behaviour}, tmp_path / "state")

    state, reason = run.verdicts[behaviour]
    print(f"{behaviour}: {state}: {reason}; compared: {run.compared}")
    assert run.scores == undisturbed.scores
    assert run.vector == undisturbed.vector
    assert "job_crashed" not in run.log
    assert "unforeseen_error" not in run.log
