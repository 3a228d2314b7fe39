"""The whole subnet scored on a cluster whose workers are killed: the same scores as by local workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from gaia.localnet.options import Options
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress
from tests.support.backends import DaskCluster
from tests.support.rehearsal import board_of, kill, scores_of, steps_done, until

STEPS = 90
"""Answers, freezes and scored leads of the default population."""


class OnACluster(LocalSubnet):
    """A local subnet whose validator has its units run elsewhere."""

    scheduler: str

    def start_validator(self) -> None:
        assert self.settings is not None
        cluster = {"compute_backend": "dask", "dask_scheduler": self.scheduler, "sandbox": "off"}
        self.settings = self.settings.model_copy(update=cluster)
        super().start_validator()


def is_settled(progress: Progress) -> bool:
    return progress.is_complete(1)


async def report_of(subnet: LocalSubnet, victims: psutil.Process | None = None) -> dict[str, Any]:
    """Run the subnet to its end; kill all children of `victims`'s nannies halfway."""
    await subnet.start()
    if victims is not None:
        await until(subnet, lambda progress: steps_done(progress) >= STEPS // 2)
        workers = [each for each in victims.children(recursive=True) if "spawn_main" in each.cmdline()[-2]]
        assert workers
        for worker in workers:
            kill(worker.pid)
    return await subnet.report(await until(subnet, is_settled), {})


@pytest.mark.slow
async def test_cluster_gives_the_scores_that_local_workers_give(tmp_path: Path) -> None:
    cluster = DaskCluster(tmp_path / "cluster")
    try:
        async with OnACluster(tmp_path / "elsewhere", Options(seed=7)) as subnet:
            subnet.scheduler = cluster.address
            elsewhere = await report_of(subnet, psutil.Process(cluster.worker_host.pid))
            workers = board_of(subnet).workers
    finally:
        cluster.end()
    async with LocalSubnet(tmp_path / "here", Options(seed=7)) as subnet:
        here = await report_of(subnet)

    assert workers == {}
    assert scores_of(elsewhere) == scores_of(here)
    assert sum(miner["verdict"] == "scored" for miner in elsewhere["miners"]) > 0
