"""The services of a local subnet: each its own process, found, read and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from gaia.localnet.chain.node import LocalChain
from gaia.localnet.chain.readback import read_chain
from gaia.localnet.children import ChildFailed
from gaia.localnet.miners.behaviours import DeadMiner
from gaia.localnet.options import NETUID, WALLET_HOTKEY, WALLET_NAME, Options
from gaia.localnet.population import Behaviour, population
from gaia.localnet.services import BLOCKS_PER_START
from gaia.localnet.subnet import LocalSubnet, WeightsDiffer
from gaia.localnet.view.watch import Watch
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.db.connection import Database
from tests.support.localnet import RUN_ID, a_finished_run
from tests.support.patience import patience
from tests.support.subnet import OWNER, VALIDATOR, neurons


class ServicesAlone(LocalSubnet):
    """A subnet whose validator merely sleeps."""

    def start_validator(self) -> None:
        """Nobody to start."""


async def test_services_come_up_find_each_other_and_stop(tmp_path: Path) -> None:
    options = Options(miners=5, seed=2)
    async with ServicesAlone(tmp_path / "state", options) as subnet:
        await subnet.start()
        subnet.check()
        assert subnet.settings is not None
        reading = await read_chain(subnet.settings.chain_endpoint, NETUID)
        async with httpx.AsyncClient(timeout=patience(5.0)) as client:
            index = await client.get(
                f"{subnet.settings.gfs_url}/gfs.20260325/00/atmos/gfs.t00z.pgrb2.1p00.f012.idx"
            )
        calendar = subnet.simulated_time()

    served = {neuron["hotkey"]: neuron["ip"] for neuron in reading.neurons}
    assert [served[hotkey] for hotkey in subnet.specs] == [spec.host for spec in population(5, 2)]
    assert reading.uid_of(keypair(VALIDATOR_URI).ss58_address) == 0
    assert index.status_code == 200
    assert calendar == options.clock_start
    assert (tmp_path / "state" / "wallets" / WALLET_NAME / "hotkeys" / WALLET_HOTKEY).exists()
    with pytest.raises(ChildFailed):
        subnet.check()


async def test_subnet_carries_on_with_the_options_it_was_made_with(tmp_path: Path) -> None:
    async with ServicesAlone(tmp_path, Options(miners=2, seed=4)) as first:
        await first.start()
    async with ServicesAlone(tmp_path, Options(miners=9)) as second:
        await second.start()

    assert second.options == first.options
    assert second.specs == first.specs


async def test_service_that_dies_is_reported_by_name(tmp_path: Path) -> None:
    async with ServicesAlone(tmp_path, Options(miners=1)) as subnet:
        await subnet.start()
        pid = subnet.services["archives"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        async with asyncio.timeout(patience(5.0)):
            while subnet.services["archives"].is_running:
                await asyncio.sleep(0.01)

        with pytest.raises(ChildFailed, match="archives ended unexpectedly, exit code -9"):
            subnet.check()


async def test_report_refuses_weights_that_the_chain_does_not_hold(tmp_path: Path) -> None:
    async with ServicesAlone(tmp_path, Options(miners=1)) as subnet:
        await subnet.start()

        with pytest.raises(WeightsDiffer):
            await subnet.report(a_finished_run(), {})


async def test_chain_is_read_back_as_it_stands() -> None:
    chain = LocalChain(neurons(), owner_hotkey=OWNER)
    url = await chain.start()
    try:
        chain.write_storage("Weights", NETUID, 0, value=[[2, 65535], [1, 5]])
        await chain.wait_for_block(chain.block + 1)
        reading = await read_chain(url, NETUID)
    finally:
        await chain.stop()

    assert reading.weights == {0: ((1, 5), (2, 65535))}
    assert reading.uid_of(VALIDATOR) == 0
    assert reading.uid_of("5Nobody") is None
    assert reading.owner_hotkey == OWNER
    assert (reading.neurons[1]["ip"], reading.neurons[1]["port"]) == ("127.0.0.2", 8000)


async def test_watch_reads_runs_forecasts_and_weights(database: Database, empty_dsn: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs VALUES ($1, '2026-03-25', 'gaia-2.9', 'open', now())", RUN_ID
        )
        await connection.execute(
            "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at)"
            " VALUES ($1, '5Miner', 1, 0, now(), now(), now())",
            RUN_ID,
        )
    watch = Watch(empty_dsn)

    progress = await watch.progress()
    components = await watch.components()
    await watch.close()

    assert [run.run_id for run in progress.runs] == [RUN_ID]
    assert [forecast.state for forecast in progress.forecasts] == ["planned"]
    assert progress.weights is None
    assert components == []


async def test_dead_miner_lets_go_of_its_connections_when_stopped() -> None:
    miner = DeadMiner(next(spec for spec in population() if spec.behaviour is Behaviour.DEAD))
    reader, writer = await asyncio.open_connection(*await miner.serve("127.0.0.1"))

    writer.write(b"hello")
    await miner.stop()

    with pytest.raises(ConnectionError):
        await reader.readexactly(1)
    writer.close()


async def test_chain_that_carries_another_on_begins_where_that_one_never_was(tmp_path: Path) -> None:
    async with ServicesAlone(tmp_path, Options(miners=1)) as first:
        await first.start()
        assert first.settings is not None
        before = await read_chain(first.settings.chain_endpoint, NETUID)
    async with ServicesAlone(tmp_path, Options(miners=1)) as second:
        await second.start()
        assert second.settings is not None
        after = await read_chain(second.settings.chain_endpoint, NETUID)

    assert before.block < BLOCKS_PER_START <= after.block
