"""Miners that are out for the validator itself: what the client makes of each, and what the others feel of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gaia.localnet.miners.behaviours import miner_of
from gaia.localnet.miners.local_miner import ANSWER_TAKES, LocalMiner, ServedMiner, World
from gaia.localnet.options import MINER_TIMEOUT_S
from gaia.localnet.population import HOSTILE, Behaviour, population
from gaia.localnet.weather.replay import WeatherReplay
from gaia.miner.jobs import MinerOptions
from gaia.miner.sessions import write_certificate
from gaia.tasks.defined_tasks.weather.wire.manifest import verify_manifest
from gaia.tasks.defined_tasks.weather.wire.store_layout import file_digest
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.chain.metagraph import Neuron
from gaia.validator.utils.errors import GaiaError, MinerFault, MinerUnreachable
from tests.support.hostile_runs import STRANGERS, HostileRun, run_with
from tests.support.miners import INIT_TIME, LocalSigner, a_neuron, settings_for_miners

Meet = Callable[[Behaviour], Awaitable[tuple[Neuron, ServedMiner]]]


@pytest.fixture
async def meet(tmp_path: Path) -> AsyncIterator[Meet]:
    """Starts a miner of one behaviour behind TLS; returns its neuron and the miner."""
    now = INIT_TIME + timedelta(hours=18)
    running: list[ServedMiner] = []

    async def start(behaviour: Behaviour) -> tuple[Neuron, ServedMiner]:
        specs = population(12, 3, {8: behaviour})
        world = World(
            replay=WeatherReplay(),
            specs=specs,
            directory=tmp_path / "miners",
            clock=SimulatedClock.create(tmp_path / "clock.json", now, now + timedelta(days=20)),
            options=MinerOptions(directory=tmp_path, grid="1.0", steps=16),
        )
        miner = miner_of(specs[8], world)
        running.append(miner)
        host, port = await miner.serve(specs[8].host, certificate=write_certificate(tmp_path))
        return a_neuron(miner.hotkey, host, port), miner

    yield start
    for miner in running:
        await miner.stop()


@pytest.fixture
async def comms() -> AsyncIterator[MinerComms]:
    settings = settings_for_miners(miner_timeout_s=4 * MINER_TIMEOUT_S)
    async with MinerComms(settings, "1.0", LocalSigner()) as client:
        yield client


async def files_of(
    comms: MinerComms, neuron: Neuron, miner: ServedMiner, paths: list[str], directory: Path
) -> dict[str, bool]:
    """Take a forecast as far as `paths` of it; return for each whether it is what was promised."""
    offer = await comms.request_forecast(neuron, INIT_TIME)
    assert isinstance(miner, LocalMiner)
    await miner.finished()
    clock = miner.world.clock
    await clock.idle_until(clock.now() + ANSWER_TAKES)
    assert await comms.forecast_ready(neuron, offer.job_id)
    access = await comms.open_store(neuron, offer.job_id)
    signed = await comms.fetch_manifest(neuron, access)
    frozen = verify_manifest(signed.content, signed.signature, access.manifest_sha256, neuron.hotkey)
    await comms.fetch_files(neuron, access, paths, directory)
    return {path: file_digest(path, (directory / path).read_bytes()) == frozen.files[path] for path in paths}


@pytest.mark.parametrize(
    ("behaviour", "kind", "reason"),
    [
        (Behaviour.BAD_REDIRECT, MinerFault, "redirect"),
        (Behaviour.IDNA_REDIRECT, MinerFault, "redirect"),
        (Behaviour.NO_TLS, MinerUnreachable, "SSL"),
        (Behaviour.NO_TLS_CHUNKS, MinerUnreachable, "SSL"),
        (Behaviour.EVEN_KEY, MinerFault, "public key"),
        (Behaviour.PADDED_MANIFEST, MinerFault, "exceeds 1048576"),
    ],
)
async def test_what_no_honest_server_sends_is_an_error_of_its_miner(
    meet: Meet, comms: MinerComms, tmp_path: Path, behaviour: Behaviour, kind: type[GaiaError], reason: str
) -> None:
    neuron, miner = await meet(behaviour)
    before = UNFORESEEN[Party.MINER]

    with pytest.raises(kind, match=reason):
        await files_of(comms, neuron, miner, ["2t/.zarray", "2t/1.0.0"], tmp_path / "spool")
    assert UNFORESEEN[Party.MINER] == before


async def test_drip_keeps_within_every_limit_and_breaks_its_promise_on_the_fourth_day(
    meet: Meet, comms: MinerComms, tmp_path: Path
) -> None:
    neuron, miner = await meet(Behaviour.DRIP)

    kept = await files_of(comms, neuron, miner, ["2t/.zarray", "2t/11.0.0", "2t/15.0.0"], tmp_path / "spool")

    assert kept == {"2t/.zarray": True, "2t/11.0.0": True, "2t/15.0.0": False}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> HostileRun:
    """A run in which the places of the hostile miners are held by silent ones."""
    silent = dict.fromkeys(STRANGERS, Behaviour.DEAD)
    return asyncio.run(run_with(silent, tmp_path_factory.mktemp("undisturbed") / "state"))


@pytest.mark.slow
async def test_no_hostile_miner_changes_a_bit_of_the_others_scores_or_of_the_weights(
    undisturbed: HostileRun, tmp_path: Path
) -> None:
    """All at once here; tests/soak has them one by one."""
    hostile = dict(zip(STRANGERS, HOSTILE, strict=True))

    run = await run_with(hostile, tmp_path / "state")

    assert run.scores == undisturbed.scores
    assert run.vector == undisturbed.vector
    assert set(run.verdicts) == set(HOSTILE)
    assert "job_crashed" not in run.log
    assert "unforeseen_error" not in run.log
