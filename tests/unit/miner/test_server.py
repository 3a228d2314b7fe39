"""The reference miner's jobs and answers, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from bittensor_core import Keypair

from gaia.miner.inference import ForecastField
from gaia.miner.jobs import MinerOptions
from gaia.miner.server import ReferenceMiner
from gaia.miner.store import StoreWriter
from gaia.tasks.defined_tasks.weather.wire.messages import InitiateData, InitiateStatus
from tests.support.miners import INIT_TIME, a_model, miner_options

KEYPAIR = Keypair.create_from_uri("//Miner/1")


def asked(init_time: datetime = INIT_TIME) -> InitiateData:
    return InitiateData(forecast_start_time=init_time, previous_step_time=init_time - timedelta(hours=6))


async def test_clock_is_held_from_acceptance_until_the_forecast_is_sealed(tmp_path: Path) -> None:
    story = []

    @contextmanager
    def hold(name: str) -> Iterator[None]:
        story.append("held")
        yield
        story.append(miner.jobs[name.partition("-")[2]].status)

    miner = ReferenceMiner(KEYPAIR, a_model(), miner_options(tmp_path), hold=hold)

    await miner.on_initiate(asked(), "5Validator")
    before = list(story)
    await miner.finished()

    assert before == ["held"]
    assert story == ["held", "completed"]


async def test_second_question_after_a_forecast_under_way_starts_no_other(tmp_path: Path) -> None:
    miner = ReferenceMiner(KEYPAIR, a_model(), miner_options(tmp_path))

    first = await miner.on_initiate(asked(), "5Validator")
    second = await miner.on_initiate(asked(), "5OtherValidator")
    await miner.finished()
    third = await miner.on_initiate(asked(), "5Validator")

    assert first.job_id == second.job_id == third.job_id
    assert [first.status, second.status] == [InitiateStatus.ACCEPTED] * 2
    assert third.status == InitiateStatus.COMPLETED
    assert None not in (third.access_token, third.verification_hash, third.zarr_store_url)


async def test_old_forecasts_are_deleted_and_strangers_folders_kept(tmp_path: Path) -> None:
    options = miner_options(tmp_path, keep_days=20.0)
    miner = ReferenceMiner(KEYPAIR, a_model(), options, now=lambda: INIT_TIME + timedelta(days=21))
    stranger = tmp_path / "weather_forecast_x.zarr"
    stranger.mkdir()

    await miner.on_initiate(asked(), "5Validator")
    await miner.finished()
    await miner.on_initiate(asked(INIT_TIME + timedelta(days=21)), "5Validator")
    await miner.finished()

    assert not miner.store_directory(INIT_TIME).exists()
    assert miner.store_directory(INIT_TIME + timedelta(days=21)).exists()
    assert stranger.exists()


async def test_validator_outside_the_list_is_refused(tmp_path: Path) -> None:
    miner = ReferenceMiner(KEYPAIR, a_model(), miner_options(tmp_path, validators=frozenset({"5Known"})))

    assert await miner.refusal_of("5Known") is None
    assert await miner.refusal_of("5Unknown") == "Hotkey not found in metagraph"


@pytest.mark.parametrize("path", ["../secret", "missing", "", "/etc/hostname"])
async def test_files_outside_the_forecasts_are_not_there(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "forecasts").mkdir()
    miner = ReferenceMiner(KEYPAIR, a_model(), miner_options(tmp_path / "forecasts"))

    assert await miner.read_file(path) is None


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"{}", 422), (b"x" * 300_000, 413)],
    ids=["no JSON", "another schema", "too large"],
)
async def test_exchange_that_breaks_the_protocol_is_refused(
    tmp_path: Path, content: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    miner = ReferenceMiner(KEYPAIR, a_model(), miner_options(tmp_path))

    async def anybody(request: object) -> None:
        """Lets everybody in."""

    monkeypatch.setattr(miner, "_caller", anybody)
    transport = httpx.ASGITransport(miner.application())
    async with httpx.AsyncClient(transport=transport, base_url="http://miner") as client:
        response = await client.post("/exchange-symmetric-key", content=content)

    assert response.status_code == status


@pytest.mark.parametrize(
    "field",
    [
        ForecastField(6, "2t", np.zeros((2, 2), np.float32)),
        ForecastField(7, "2t", np.zeros((181, 360), np.float32)),
        ForecastField(6, "z501", np.zeros((181, 360), np.float32)),
    ],
    ids=["shape", "lead", "name"],
)
def test_store_takes_only_its_own_fields(tmp_path: Path, field: ForecastField) -> None:
    writer = StoreWriter(tmp_path, INIT_TIME, "1.0", [6, 12])

    with pytest.raises(ValueError, match="fit|no such field"):
        writer.write(field)


def test_options_name_forty_leads_six_hours_apart(tmp_path: Path) -> None:
    leads = MinerOptions(directory=tmp_path).lead_hours

    assert (leads[0], leads[-1], len(leads)) == (6, 240, 40)
