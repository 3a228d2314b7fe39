"""A run ends in the same scores whichever validators, with whichever data folders, had a part in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gaia.localnet.options import Options, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.db.access.lease import LEASE_S
from tests.support.patience import patience
from tests.support.rehearsal import PATIENCE_S, steps_done, until
from tests.support.shared_database import SharedDatabase, results

OPTIONS = Options(miners=7, seed=7, rule_set="gaia-next")
"""Miners that keep the rules, one of which copies another, under rules that look for copies."""
STEPS = 7 * 13
"""Answers, freezes and scored leads of a run, from first to last."""


def is_completed(progress: Progress) -> bool:
    return bool(progress.completed_ids)


@pytest.fixture
async def calm(tmp_path: Path) -> list[list[tuple[Any, ...]]]:
    """The results of a run that nothing disturbs."""
    state_dir = tmp_path / "calm"
    async with LocalSubnet(state_dir, OPTIONS) as subnet:
        await subnet.start()
        await until(subnet, is_completed)
        return await results(embedded_dsn(data_dir(state_dir)))


async def test_validators_with_other_folders_end_a_run_in_the_scores_of_an_undisturbed_one(
    calm: list[list[tuple[Any, ...]]], empty_dsn: str, tmp_path: Path
) -> None:
    async with SharedDatabase(tmp_path / "shared", OPTIONS, empty_dsn) as subnet:
        await subnet.start()
        first = await until(subnet, lambda progress: steps_done(progress) >= STEPS * 2 // 5)
        await subnet.kill_validator()

        # Another data folder, once the lease of the killed one has ended.
        second = subnet.use("two")
        subnet.start_validator()
        halfway = await until(
            subnet,
            lambda progress: steps_done(progress) >= STEPS * 7 // 10,
            PATIENCE_S + patience(LEASE_S),
        )
        assert await subnet.stop_validator()

        # The same folder, in another place.
        second.rename(subnet.use("three"))
        subnet.start_validator()
        await until(subnet, is_completed)

        assert not is_completed(halfway)
        assert steps_done(first) < steps_done(halfway)
        said = subnet.said()
        assert {"lease_taken", "reference_elsewhere"} <= said
        assert (
            not {"reference_damaged", "sketches_missing", "gram_matrices_missing", "run_steps_failed"} & said
        )
    assert await results(empty_dsn) == calm
