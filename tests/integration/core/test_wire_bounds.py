"""No miner takes more of the validator than its limits: bytes, time, connections."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from gaia.miner.server import ReferenceMiner
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.utils.errors import MinerFault, MinerUnreachable
from tests.support.miners import LocalSigner, a_neuron, settings_for_miners
from tests.support.patience import patience
from tests.support.served_miners import Starter, a_finished_forecast


class Redirecting(ReferenceMiner):
    async def file_response(self, request: Request, path: str) -> Response:
        return RedirectResponse("https://127.0.0.1/elsewhere")


class Compressing(ReferenceMiner):
    async def file_response(self, request: Request, path: str) -> Response:
        return Response(gzip.compress(bytes(1 << 20)), headers={"Content-Encoding": "gzip"})


class Endless(ReferenceMiner):
    async def file_response(self, request: Request, path: str) -> Response:
        async def zeros() -> AsyncIterator[bytes]:
            while True:
                yield bytes(1 << 18)
                # The server goes on sending to a client that has left; let others run.
                await asyncio.sleep(0)

        return StreamingResponse(zeros())


class Boasting(ReferenceMiner):
    async def file_response(self, request: Request, path: str) -> Response:
        return Response(b"x", headers={"Content-Length": "10000000000"})


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Redirecting, "redirect"),
        (Compressing, "content encoding gzip"),
        (Endless, "exceeds 1048576 bytes"),
        (Boasting, "10000000000 bytes exceeds"),
    ],
)
async def test_answer_outside_the_limits_is_the_miners_fault(
    start: Starter, tmp_path: Path, kind: type[ReferenceMiner], reason: str
) -> None:
    settings = settings_for_miners(chunk_max_mib=1, manifest_max_mib=1)
    async with MinerComms(settings, "0.25", LocalSigner()) as comms:
        neuron, _, access = await a_finished_forecast(comms, start, kind)

        with pytest.raises(MinerFault, match=reason):
            await comms.fetch_files(neuron, access, ["2t/0.0.0"], tmp_path)
        with pytest.raises(MinerFault):
            await comms.fetch_manifest(neuron, access)


async def test_drip_is_ended_by_the_total_deadline(start: Starter, tmp_path: Path) -> None:
    class Dripping(ReferenceMiner):
        async def file_response(self, request: Request, path: str) -> Response:
            async def drops() -> AsyncIterator[bytes]:
                while True:
                    yield bytes(1024)
                    await asyncio.sleep(0.05)

            return StreamingResponse(drops())

    # Else the least rate, which applies after some seconds, ends it first on a busy machine.
    settings = settings_for_miners(miner_timeout_s=patience(0.6), miner_min_rate_kib_s=1)
    async with MinerComms(settings, "0.25", LocalSigner()) as comms:
        neuron, _, access = await a_finished_forecast(comms, start, Dripping)

        with pytest.raises(MinerUnreachable, match="longer than"):
            await comms.fetch_files(neuron, access, ["2t/0.0.0"], tmp_path)


async def test_silent_miner_costs_one_deadline_and_its_key(start: Starter) -> None:
    class Falling(ReferenceMiner):
        silent = False

        async def before(self, request: Request) -> Response | None:
            if self.silent:
                await asyncio.sleep(3600)
            return None

    async with MinerComms(settings_for_miners(miner_timeout_s=patience(0.6)), "0.25", LocalSigner()) as comms:
        neuron, job_id, _ = await a_finished_forecast(comms, start, Falling)
        miner = start.running[-1]
        assert isinstance(miner, Falling)
        miner.silent = True

        with pytest.raises(MinerUnreachable, match="longer than"):
            await comms.forecast_ready(neuron, job_id)
        assert comms._sessions._sessions == {}


async def test_downloads_that_hang_delay_no_question(start: Starter, tmp_path: Path) -> None:
    class Hanging(ReferenceMiner):
        asked = asyncio.Semaphore(0)

        async def file_response(self, request: Request, path: str) -> Response:
            self.asked.release()
            await asyncio.Event().wait()
            raise AssertionError("never")

    settings = settings_for_miners(miner_timeout_s=60.0, miner_concurrency=16, fetch_concurrency=32)
    async with MinerComms(settings, "0.25", LocalSigner()) as comms:
        neuron, job_id, access = await a_finished_forecast(comms, start, Hanging)
        files = [f"2t/{number}.0.0" for number in range(64)]
        stores = [a_neuron(f"5Miner{number}", neuron.ip, neuron.port) for number in range(3)]
        downloads = [
            asyncio.create_task(comms.fetch_files(store, access, files, tmp_path / f"{number}"))
            for number, store in enumerate(stores)
        ]
        for _ in range(32):
            await Hanging.asked.acquire()

        async with asyncio.timeout(patience(30.0)):
            ready = await comms.forecast_ready(neuron, job_id)
            opened = await comms.open_store(neuron, job_id)

        assert ready
        assert opened.url_path == access.url_path
        assert not any(download.done() for download in downloads)
        for download in downloads:
            download.cancel()
        await asyncio.gather(*downloads, return_exceptions=True)
