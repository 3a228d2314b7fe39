"""Each behaviour of a local subnet's miners, as the validator's client meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs import Blosc

from gaia.localnet.miners.behaviours import COPY_TAKES, miner_of
from gaia.localnet.miners.forecasters import NAN_SHARE
from gaia.localnet.miners.local_miner import ANSWER_TAKES, LocalMiner, ServedMiner, World, questions_path
from gaia.localnet.population import HOSTILE, Behaviour, MinerSpec, population
from gaia.localnet.weather.replay import WeatherReplay
from gaia.miner.jobs import MinerOptions
from gaia.tasks.defined_tasks.base import SignedManifest
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Contract
from gaia.tasks.defined_tasks.weather.wire.manifest import verify_manifest
from gaia.tasks.defined_tasks.weather.wire.messages import (
    EXCHANGE_PATH,
    INITIATE_PATH,
    PUBLIC_KEY_PATH,
    STORE_PATH,
)
from gaia.tasks.defined_tasks.weather.wire.store_layout import file_digest
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.utils.chain.metagraph import Neuron
from gaia.validator.utils.errors import MinerFault, MinerUnreachable
from gaia.validator.utils.identities import MinerJobId
from tests.support.miners import INIT_TIME, LocalSigner, a_neuron, settings_for_miners
from tests.support.patience import patience
from tests.support.weather_handlers import describe_forecast

SPECS = population(12, seed=3)
DAY1_CHUNK, ERA5_CHUNK = "2t/1.0.0", "2t/3.0.0"
"""Leads 12 h and 24 h."""


@dataclass
class Town:
    """The world of some miners, and a way to start them."""

    world: World
    running: list[ServedMiner]

    async def start(self, behaviour: Behaviour, which: int = 0) -> tuple[Neuron, ServedMiner]:
        spec = spec_of(behaviour, which)
        miner = miner_of(spec, self.world)
        self.running.append(miner)
        host, port = await miner.serve(spec.host)
        return a_neuron(miner.hotkey, host, port), miner


def spec_of(behaviour: Behaviour, which: int = 0) -> MinerSpec:
    if behaviour in HOSTILE:
        return replace(SPECS[0], behaviour=behaviour)
    return [spec for spec in SPECS if spec.behaviour is behaviour][which]


@pytest.fixture(scope="module")
def replay() -> WeatherReplay:
    return WeatherReplay()


@pytest.fixture
async def town(tmp_path: Path, replay: WeatherReplay) -> AsyncIterator[Town]:
    now = INIT_TIME + timedelta(hours=18)
    clock = SimulatedClock.create(tmp_path / "clock.json", now, now + timedelta(days=20))
    options = MinerOptions(directory=tmp_path, grid="1.0", steps=4)
    world = World(replay=replay, specs=SPECS, directory=tmp_path / "miners", clock=clock, options=options)
    town = Town(world, [])
    yield town
    await asyncio.gather(*(miner.stop() for miner in town.running))


@pytest.fixture
async def comms() -> AsyncIterator[MinerComms]:
    settings = settings_for_miners(miner_scheme="http", miner_timeout_s=patience(2.0))
    async with MinerComms(settings, "0.25", LocalSigner()) as client:
        yield client


async def a_job(comms: MinerComms, neuron: Neuron, miner: ServedMiner) -> MinerJobId:
    """Ask for a forecast, let the model end and an honest miner's time pass; return the job."""
    offer = await comms.request_forecast(neuron, INIT_TIME)
    assert isinstance(miner, LocalMiner)
    await miner.finished()
    clock = miner.world.clock
    await clock.idle_until(clock.now() + ANSWER_TAKES)
    return offer.job_id


async def manifest_of(comms: MinerComms, neuron: Neuron, job_id: MinerJobId) -> tuple[SignedManifest, str]:
    access = await comms.open_store(neuron, job_id)
    return await comms.fetch_manifest(neuron, access), access.manifest_sha256


async def chunk_of(
    comms: MinerComms, neuron: Neuron, job_id: MinerJobId, path: str, directory: Path
) -> tuple[bytes, str]:
    """Fetch one chunk; return its bytes and the digest that was promised for it."""
    signed, sha256 = await manifest_of(comms, neuron, job_id)
    promised = verify_manifest(signed.content, signed.signature, sha256, neuron.hotkey).files[path]
    access = await comms.open_store(neuron, job_id)
    await comms.fetch_files(neuron, access, [path], directory)
    return (directory / path).read_bytes(), promised


def questions_of(town: Town, spec: MinerSpec) -> list[dict[str, Any]]:
    return [json.loads(line) for line in questions_path(town.world.directory, spec).read_text().splitlines()]


def field_in(content: bytes) -> np.ndarray:
    return np.frombuffer(Blosc().decode(content), "<f4").reshape(181, 360)


@pytest.mark.parametrize("which", range(4))
async def test_honest_miner_keeps_its_promise_and_errs_as_much_as_its_skill_says(
    town: Town, comms: MinerComms, replay: WeatherReplay, tmp_path: Path, which: int
) -> None:
    neuron, miner = await town.start(Behaviour.HONEST, which)
    job_id = await a_job(comms, neuron, miner)

    content, promised = await chunk_of(comms, neuron, job_id, ERA5_CHUNK, tmp_path / "spool")

    truth = replay.truth(INIT_TIME + timedelta(hours=24), "2t", "1.0")
    gfs = replay.gfs_forecast(INIT_TIME, 24, "2t", "1.0")
    weights = np.cos(np.radians(np.linspace(90, -90, 181)))[:, None]
    own, theirs = (np.sqrt(np.sum(weights * (field - truth) ** 2)) for field in (field_in(content), gfs))
    assert file_digest(ERA5_CHUNK, content) == promised
    assert own / theirs == pytest.approx(spec_of(Behaviour.HONEST, which).skill, rel=0.01)


async def test_honest_miner_holds_the_clock_until_its_forecast_is_sealed(
    town: Town, comms: MinerComms
) -> None:
    neuron, miner = await town.start(Behaviour.HONEST)
    assert isinstance(miner, LocalMiner)
    later = INIT_TIME + timedelta(hours=19)

    offer = await comms.request_forecast(neuron, INIT_TIME)
    await town.world.clock.idle_until(later)

    assert miner.jobs[offer.job_id].status == "completed"
    assert town.world.clock.now() == later


async def test_a_forecast_is_there_once_simulated_time_has_passed_however_fast_the_model_was(
    town: Town, comms: MinerComms
) -> None:
    neuron, miner = await town.start(Behaviour.HONEST)
    assert isinstance(miner, LocalMiner)
    offer = await comms.request_forecast(neuron, INIT_TIME)
    await miner.finished()

    was_ready = await comms.forecast_ready(neuron, offer.job_id)
    await town.world.clock.idle_until(town.world.clock.now() + ANSWER_TAKES)

    assert not was_ready
    assert await comms.forecast_ready(neuron, offer.job_id)


async def test_a_miner_records_every_question_with_its_time_its_subject_and_its_answer(
    town: Town, comms: MinerComms, tmp_path: Path
) -> None:
    neuron, miner = await town.start(Behaviour.HONEST)
    job_id = await a_job(comms, neuron, miner)
    access = await comms.open_store(neuron, job_id)
    await comms.fetch_files(neuron, access, [DAY1_CHUNK], tmp_path / "spool")
    with pytest.raises(MinerFault):
        await comms.fetch_files(neuron, access, ["2t/99.0.0"], tmp_path / "spool")

    assert isinstance(miner, LocalMiner)
    asked = questions_of(town, miner.spec)

    assert [(line["path"], line["about"], line["status"]) for line in asked[2:]] == [
        (INITIATE_PATH, INIT_TIME.isoformat(), 200),
        (STORE_PATH, job_id, 200),
        (f"{access.url_path}/{DAY1_CHUNK}", "", 200),
        (f"{access.url_path}/2t/99.0.0", "", 404),
    ]
    assert [line["path"] for line in asked[:2]] == [PUBLIC_KEY_PATH, EXCHANGE_PATH]
    assert [line["at"][11:16] for line in asked] == ["18:00"] * 3 + ["18:01"] * 3


async def test_a_dead_miner_records_the_connections_it_took(town: Town) -> None:
    neuron, _ = await town.start(Behaviour.DEAD)

    settings = settings_for_miners(miner_scheme="http", miner_timeout_s=0.3)
    async with MinerComms(settings, "0.25", LocalSigner()) as impatient:
        with pytest.raises(MinerUnreachable):
            await impatient.request_forecast(neuron, INIT_TIME)

    assert [line["method"] for line in questions_of(town, spec_of(Behaviour.DEAD))] == ["CONNECT"]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour.PERSISTENCE, lambda replay: replay.persistence(INIT_TIME, "2t", "1.0")),
        (Behaviour.GFS_CLONE, lambda replay: replay.gfs_forecast(INIT_TIME, 24, "2t", "1.0")),
    ],
)
async def test_forecast_that_is_no_forecast_is_what_its_name_says(
    town: Town,
    comms: MinerComms,
    replay: WeatherReplay,
    tmp_path: Path,
    behaviour: Behaviour,
    expected: Callable[[WeatherReplay], np.ndarray],
) -> None:
    neuron, miner = await town.start(behaviour)
    job_id = await a_job(comms, neuron, miner)

    content, promised = await chunk_of(comms, neuron, job_id, ERA5_CHUNK, tmp_path / "spool")

    assert file_digest(ERA5_CHUNK, content) == promised
    np.testing.assert_allclose(field_in(content), expected(replay), rtol=1e-5)


async def test_copy_publishes_its_victims_chunks_later_and_under_its_own_signature(
    town: Town, comms: MinerComms
) -> None:
    victim, honest = await town.start(Behaviour.HONEST, 1)
    neuron, copy = await town.start(Behaviour.COPY)
    first, job_id = await asyncio.gather(a_job(comms, victim, honest), a_job(comms, neuron, copy))
    original, _ = await manifest_of(comms, victim, first)

    was_ready = await comms.forecast_ready(neuron, job_id)
    await town.world.clock.idle_until(town.world.clock.now() + COPY_TAKES)
    is_ready = await comms.forecast_ready(neuron, job_id)
    signed, sha256 = await manifest_of(comms, neuron, job_id)

    files = verify_manifest(signed.content, signed.signature, sha256, neuron.hotkey).files
    assert (was_ready, is_ready) == (False, True)
    assert files[DAY1_CHUNK] == json.loads(original.content)["files"][DAY1_CHUNK]


async def test_copy_cannot_be_read_before_it_is_due(town: Town, comms: MinerComms) -> None:
    victim, honest = await town.start(Behaviour.HONEST, 1)
    neuron, copy = await town.start(Behaviour.COPY)
    _, job_id = await asyncio.gather(a_job(comms, victim, honest), a_job(comms, neuron, copy))

    again = await comms.request_forecast(neuron, INIT_TIME)

    assert again.accepted
    with pytest.raises(MinerUnreachable, match="not ready"):
        await comms.open_store(neuron, job_id)


async def test_slow_miner_accepts_and_is_not_ready_after_the_freeze_window(
    town: Town, comms: MinerComms
) -> None:
    neuron, _ = await town.start(Behaviour.SLOW)

    offer = await comms.request_forecast(neuron, INIT_TIME)
    await town.world.clock.idle_until(town.world.clock.now() + timedelta(hours=3))

    assert offer.accepted
    assert not await comms.forecast_ready(neuron, offer.job_id)
    with pytest.raises(MinerUnreachable):
        await comms.open_store(neuron, offer.job_id)


async def test_dead_miner_takes_the_connection_and_the_client_gives_up_in_time(town: Town) -> None:
    neuron, _ = await town.start(Behaviour.DEAD)

    settings = settings_for_miners(miner_scheme="http", miner_timeout_s=0.3)
    async with MinerComms(settings, "0.25", LocalSigner()) as impatient:
        with pytest.raises(MinerUnreachable):
            async with asyncio.timeout(patience(2.0)):
                await impatient.request_forecast(neuron, INIT_TIME)


async def test_swapper_serves_what_it_promised_for_day_1_and_the_truth_for_era5(
    town: Town, comms: MinerComms, replay: WeatherReplay, tmp_path: Path
) -> None:
    neuron, miner = await town.start(Behaviour.SWAP)
    job_id = await a_job(comms, neuron, miner)

    first, first_promised = await chunk_of(comms, neuron, job_id, DAY1_CHUNK, tmp_path / "spool")
    later, later_promised = await chunk_of(comms, neuron, job_id, ERA5_CHUNK, tmp_path / "spool")

    truth = replay.truth(INIT_TIME + timedelta(hours=24), "2t", "1.0")
    assert file_digest(DAY1_CHUNK, first) == first_promised
    assert file_digest(ERA5_CHUNK, later) != later_promised
    np.testing.assert_allclose(field_in(later), truth, rtol=1e-5)


async def test_doper_leaves_a_few_cells_without_a_value_and_signs_for_it(
    town: Town, comms: MinerComms, tmp_path: Path
) -> None:
    neuron, miner = await town.start(Behaviour.NAN)
    job_id = await a_job(comms, neuron, miner)

    content, promised = await chunk_of(comms, neuron, job_id, DAY1_CHUNK, tmp_path / "spool")

    missing = np.isnan(field_in(content)).mean()
    assert file_digest(DAY1_CHUNK, content) == promised
    assert missing == pytest.approx(NAN_SHARE, rel=0.05)


async def test_refuser_turns_the_job_down(town: Town, comms: MinerComms) -> None:
    neuron, _ = await town.start(Behaviour.REFUSE)

    offer = await comms.request_forecast(neuron, INIT_TIME)

    assert not offer.accepted
    assert offer.message == "No capacity"


@pytest.mark.parametrize("days", [0, 1])
async def test_slow_frame_miner_keeps_its_promise_and_its_chunks_are_its_fault(
    town: Town, comms: MinerComms, tmp_path: Path, days: int
) -> None:
    neuron, miner = await town.start(Behaviour.SLOW_FRAME)
    assert isinstance(miner, LocalMiner)
    init_time = INIT_TIME + timedelta(days=days)
    offer = await comms.request_forecast(neuron, init_time)
    await miner.finished()
    await town.world.clock.idle_until(town.world.clock.now() + ANSWER_TAKES)
    spool = tmp_path / "spool"

    content, promised = await chunk_of(comms, neuron, offer.job_id, DAY1_CHUNK, spool)
    metadata, _ = await chunk_of(comms, neuron, offer.job_id, "2t/.zarray", spool)

    assert file_digest(DAY1_CHUNK, content) == promised
    contract = Contract(grid="1.0", steps=4, step_hours=6)
    assert len(content) <= contract.chunk_max_bytes
    digests = {DAY1_CHUNK: promised, "2t/.zarray": file_digest("2t/.zarray", metadata)}
    described = describe_forecast(
        {
            "store_dir": str(spool),
            "digests": digests,
            "grid": "1.0",
            "steps": 4,
            "step_hours": 6,
            "lead_hours": 12,
            "fields": ["2t"],
        }
    )["fields"]["2t"]
    is_endless = "block size" in (described["problem"] or "")
    assert is_endless == (init_time.toordinal() % 2 == 0)
    assert not described["plausible"]
