"""A run ends in the same scores whichever validators, with whichever data folders, had a part in it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from gaia.localnet.options import Options, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress, Watch
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.db.access.lease import LEASE_S
from tests.support.patience import patience
from tests.support.rehearsal import PATIENCE_S, steps_done, until

OPTIONS = Options(miners=7, seed=7, rule_set="gaia-next")
"""Miners that keep the rules, one of which copies another, under rules that look for copies."""
STEPS = 7 * 13
"""Answers, freezes and scored leads of a run, from first to last."""
RESULTS = (
    "SELECT run_id, hotkey, rule_set, kind, lead_hours, score, reason FROM lead_scores ORDER BY 1, 2, 3, 4, 5",
    "SELECT to_jsonb(component_scores) - 'scored_at' FROM component_scores ORDER BY 1",
    "SELECT run_id, hotkey, rule_set, day1, leads, overall, counted FROM score_table ORDER BY 1, 2, 3",
    "SELECT run_id, hotkey, state, reason, manifest_sha256 FROM forecasts ORDER BY 1, 2",
    "SELECT run_id, rule_set, kind, lead_hours, payload, digests FROM lead_inputs ORDER BY 1, 2, 3, 4",
    "SELECT run_id, lead_hours, sha256, hotkeys FROM gram_matrices ORDER BY 1, 2",
)
"""Everything that a run leaves, but for moments and costs."""


async def results(dsn: str) -> list[list[tuple[Any, ...]]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [[tuple(row) for row in await connection.fetch(query)] for query in RESULTS]
    finally:
        await connection.close()


def is_completed(progress: Progress) -> bool:
    return bool(progress.completed_ids)


class SharedDatabase(LocalSubnet):
    """A subnet whose validators have one database, and each a data folder of its own."""

    def __init__(self, state_dir: Path, options: Options, dsn: str) -> None:
        super().__init__(state_dir, options)
        self._dsn = dsn
        self._watch = Watch(dsn)

    async def _start_services(self) -> None:
        await super()._start_services()
        self.use("one")

    def use(self, name: str) -> Path:
        """Give the next validator the data folder `name`; return it."""
        assert self.settings is not None
        folder = self.state_dir / name
        self.settings = self.settings.model_copy(
            update={"data_dir": folder, "database_url": SecretStr(self._dsn)}
        )
        return folder

    async def kill_validator(self) -> None:
        assert self.validator is not None
        await self.validator.stop(patience(10.0), signal.SIGKILL)

    def said(self) -> set[str]:
        """Return the events that the validators have logged."""
        assert self.validator is not None
        lines = self.validator.log_path.read_text().splitlines()
        return {json.loads(line)["event"] for line in lines if line.startswith("{")}


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
