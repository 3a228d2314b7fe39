"""The validator's client against the reference miner, over TLS on loopback."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import httpx
import numpy as np
import pytest
import xarray as xr
from bittensor_core import Keypair
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from gaia.miner.server import ReferenceMiner
from gaia.tasks.defined_tasks.weather.wire.manifest import verify_manifest
from gaia.tasks.defined_tasks.weather.wire.messages import job_id_of, store_name_of
from gaia.tasks.defined_tasks.weather.wire.store_layout import file_digest
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.utils.errors import MinerFault, MinerUnreachable
from gaia.validator.utils.identities import MinerJobId
from gaia.validator.utils.signer_messages import AuthSigned
from tests.support.miners import INIT_TIME, LocalSigner, a_neuron, an_atmosphere, settings_for_miners
from tests.support.served_miners import KEYPAIR, Starter, a_finished_forecast


async def test_forecast_is_asked_for_followed_committed_and_fetched(
    comms: MinerComms, start: Starter, tmp_path: Path
) -> None:
    neuron = await start()

    offer = await comms.request_forecast(neuron, INIT_TIME)
    await start.running[-1].finished()
    ready = await comms.forecast_ready(neuron, offer.job_id)
    access = await comms.open_store(neuron, offer.job_id)
    signed = await comms.fetch_manifest(neuron, access)
    frozen = verify_manifest(signed.content, signed.signature, access.manifest_sha256, neuron.hotkey)
    size = await comms.fetch_files(neuron, access, list(frozen.files), tmp_path / "spool")

    assert offer.accepted
    assert offer.job_id == job_id_of(INIT_TIME, neuron.hotkey)
    assert ready
    assert access.url_path == f"/forecasts/{store_name_of(INIT_TIME, neuron.hotkey)}"
    fetched = {path: (tmp_path / "spool" / path).read_bytes() for path in frozen.files}
    assert size == sum(map(len, fetched.values()))
    assert {path: file_digest(path, content) for path, content in fetched.items()} == frozen.files
    with xr.open_zarr(tmp_path / "spool", zarr_format=2) as forecast:
        assert dict(forecast.sizes) == {"time": 2, "lat": 181, "lon": 360, "pressure_level": 13}
        np.testing.assert_array_equal(forecast["2t"][1], an_atmosphere()["2t"])
        np.testing.assert_array_equal(forecast["z"].sel(pressure_level=500)[0], an_atmosphere()["z500"])
        assert forecast.time.values[0] == np.datetime64("2026-03-25T06")


async def test_files_on_disk_are_not_fetched_again(comms: MinerComms, start: Starter, tmp_path: Path) -> None:
    neuron, _, access = await a_finished_forecast(comms, start)
    with capture_logs() as logs:
        first = await comms.fetch_files(neuron, access, ["2t/0.0.0", "2t/1.0.0"], tmp_path)

    again = await comms.fetch_files(neuron, access, ["2t/0.0.0", "2t/1.0.0"], tmp_path)

    assert first > 0
    assert again == 0
    (fetched,) = [line for line in logs if line["event"] == "files_fetched"]
    assert (fetched["log_level"], fetched["files"], fetched["bytes"]) == ("debug", 2, first)


async def test_forecast_made_earlier_is_offered_at_once(comms: MinerComms, start: Starter) -> None:
    neuron, job_id, _ = await a_finished_forecast(comms, start)

    offer = await comms.request_forecast(neuron, INIT_TIME)

    assert (offer.accepted, offer.job_id) == (True, job_id)


async def test_restarted_miner_is_given_a_new_key_and_still_serves_its_forecast(
    comms: MinerComms, start: Starter
) -> None:
    neuron, job_id, access = await a_finished_forecast(comms, start)
    await start.running[-1].stop()
    await start(port=neuron.port, host=neuron.ip)

    reopened = await comms.open_store(neuron, job_id)

    assert reopened.manifest_sha256 == access.manifest_sha256


async def test_forecast_left_unfinished_by_a_killed_miner_is_computed_anew(
    comms: MinerComms, start: Starter, tmp_path: Path
) -> None:
    unfinished = tmp_path / "forecasts" / store_name_of(INIT_TIME, KEYPAIR.ss58_address)
    (unfinished / "2t").mkdir(parents=True)
    neuron = await start()

    await comms.request_forecast(neuron, INIT_TIME)
    await start.running[-1].finished()

    assert await comms.forecast_ready(neuron, MinerJobId(job_id_of(INIT_TIME, neuron.hotkey)))


async def test_another_miner_at_the_address_is_not_taken_for_the_one_expected(
    comms: MinerComms, start: Starter
) -> None:
    neuron = await start()
    stranger = Keypair.create_from_uri("//Stranger").ss58_address

    with capture_logs() as logs:
        offer = await comms.request_forecast(a_neuron(stranger, neuron.ip, neuron.port), INIT_TIME)

    assert not offer.accepted
    assert neuron.hotkey in offer.message
    (refused,) = [line for line in logs if line["event"] == "reply_refused"]
    assert (refused["log_level"], refused["reason"]) == ("info", offer.message)


async def test_replayed_nonce_is_refused(start: Starter) -> None:
    neuron = await start()
    signer = LocalSigner()
    used = signer.nonce()
    signer.nonce = lambda: used

    async with MinerComms(settings_for_miners(), "0.25", signer) as comms:
        with pytest.raises(MinerUnreachable, match="nonce is not valid"):
            await comms.request_forecast(neuron, INIT_TIME)


async def test_signature_of_another_key_is_refused(start: Starter) -> None:
    neuron = await start()

    class Forging(LocalSigner):
        async def sign_auth(self, miner_hotkey: str, symmetric_key_uuid: str) -> AuthSigned:
            signed = await super().sign_auth(miner_hotkey, symmetric_key_uuid)
            return AuthSigned(
                request_id=1, validator_hotkey=neuron.hotkey, nonce=signed.nonce, signature=signed.signature
            )

    async with MinerComms(settings_for_miners(), "0.25", Forging()) as comms:
        with pytest.raises(MinerUnreachable, match="401.*signature"):
            await comms.request_forecast(neuron, INIT_TIME)


async def test_validator_the_miner_does_not_know_is_refused(comms: MinerComms, start: Starter) -> None:
    class Choosy(ReferenceMiner):
        async def refusal_of(self, validator_hotkey: str) -> str:
            return "Hotkey not found in metagraph"

    neuron = await start(Choosy)

    with pytest.raises(MinerUnreachable, match="403.*metagraph"):
        await comms.request_forecast(neuron, INIT_TIME)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer junk"}, 401), ({"Authorization": "{token}"}, 200)],
    ids=["no token", "forged token", "bare token"],
)
async def test_forecast_is_read_only_with_a_token(
    comms: MinerComms, start: Starter, headers: dict[str, str], status: int
) -> None:
    neuron, _, access = await a_finished_forecast(comms, start)
    url = f"https://{neuron.ip}:{neuron.port}{access.url_path}/.zgroup"
    headers = {name: value.format(token=access.token) for name, value in headers.items()}

    async with httpx.AsyncClient(verify=False) as client:
        response = await client.get(url, headers=headers)

    assert response.status_code == status


async def test_token_of_one_store_does_not_open_another(comms: MinerComms, start: Starter) -> None:
    neuron, _, access = await a_finished_forecast(comms, start)
    base = f"https://{neuron.ip}:{neuron.port}/forecasts/"

    async with httpx.AsyncClient(verify=False) as client:
        other = await client.get(f"{base}other.zarr/.zgroup?token={access.token}")
        outside = await client.get(f"{base}{access.url_path[11:]}/..%2f..%2fx?token={access.token}")
        head = await client.head(f"{base}{access.url_path[11:]}/.zgroup?token={access.token}")

    assert (other.status_code, outside.status_code, head.status_code) == (403, 404, 200)


async def test_file_the_miner_lacks_is_its_fault(comms: MinerComms, start: Starter, tmp_path: Path) -> None:
    neuron, _, access = await a_finished_forecast(comms, start)

    with pytest.raises(MinerFault, match="404"):
        await comms.fetch_files(neuron, access, ["2t/0.0.0", "2t/9.0.0"], tmp_path)
    assert not list(tmp_path.rglob("*.part"))


async def test_unknown_job_is_still_waited_for_but_has_no_store(comms: MinerComms, start: Starter) -> None:
    neuron = await start()

    assert not await comms.forecast_ready(neuron, MinerJobId("unknown"))
    with pytest.raises(MinerFault, match="not_found"):
        await comms.open_store(neuron, MinerJobId("unknown"))


async def test_failed_inference_is_reported_as_a_failed_job(comms: MinerComms, start: Starter) -> None:
    class Broken(ReferenceMiner):
        def forecast(self, init_time: datetime) -> NoReturn:
            raise ArithmeticError("overflow")

    neuron = await start(Broken)
    offer = await comms.request_forecast(neuron, INIT_TIME)
    await start.running[-1].finished()

    with pytest.raises(MinerFault, match="failed: ArithmeticError"):
        await comms.forecast_ready(neuron, offer.job_id)
    with pytest.raises(MinerFault, match="store is error"):
        await comms.open_store(neuron, offer.job_id)


async def test_poll_answered_500_three_times_is_a_failed_job(comms: MinerComms, start: Starter) -> None:
    class LostItsStatusWord(ReferenceMiner):
        async def before(self, request: Request) -> Response | None:
            if "poll" in request.url.path:
                return JSONResponse({"error": "FETCH_ERROR"}, status_code=500)
            return None

    neuron = await start(LostItsStatusWord)
    for _ in range(2):
        with pytest.raises(MinerUnreachable, match="500"):
            await comms.forecast_ready(neuron, MinerJobId("job"))

    with pytest.raises(MinerFault, match="3 times in a row"):
        await comms.forecast_ready(neuron, MinerJobId("job"))


async def test_manifest_of_a_store_hashes_to_what_the_reply_claims(comms: MinerComms, start: Starter) -> None:
    neuron, _, access = await a_finished_forecast(comms, start)

    signed = await comms.fetch_manifest(neuron, access)

    assert hashlib.sha256(signed.content).hexdigest() == access.manifest_sha256
