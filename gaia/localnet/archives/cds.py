"""Serves the Climate Data Store's retrieve API, as the cdsapi client uses it, with replayed weather."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gaia.localnet.archives.grib import era5_file
from gaia.tasks.defined_tasks.weather.variables import VARIABLES
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from starlette.requests import Request

    from gaia.localnet.weather.replay import WeatherReplay
    from gaia.tasks.defined_tasks.base import Clock

ERA5_DELAY = timedelta(days=5)
DATASETS: Mapping[str, bool] = {
    "reanalysis-era5-single-levels": False,
    "reanalysis-era5-pressure-levels": True,
}
"""Dataset -> whether its variables have levels."""

_ROOT = "/api/retrieve/v1"


class InvalidRequest(Exception):
    """The request asks for data that the data set does not hold."""


@dataclass(slots=True)
class _Job:
    job_id: str
    dataset: str
    inputs: dict[str, object]
    created: str
    status: str = "accepted"
    problem: str = ""
    asset: Path = field(default_factory=Path)


class CdsDesk:
    """Accepts requests, prepares GRIB files in the background and serves them.

    `serve_data(request, path)` returns the response with a file's bytes.
    """

    def __init__(
        self,
        clock: Clock,
        replay: WeatherReplay,
        directory: Path,
        grid: str,
        fields: frozenset[str],
        serve_data: Callable[[Request, Path], Response],
    ) -> None:
        self._clock = clock
        self._replay = replay
        self._directory = directory
        self._grid = grid
        self._fields = fields
        self._serve_data = serve_data
        self._jobs: dict[str, _Job] = {}
        self._work: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        return [
            Route("/api/catalogue/v1/messages", self._messages),
            Route(f"{_ROOT}/processes/{{dataset}}", self._describe),
            Route(f"{_ROOT}/processes/{{dataset}}/execution", self._execute, methods=["POST"]),
            Route(f"{_ROOT}/jobs/{{job_id}}", self._status),
            Route(f"{_ROOT}/jobs/{{job_id}}", self._delete, methods=["DELETE"]),
            Route(f"{_ROOT}/jobs/{{job_id}}/results", self._results),
            Route("/api/assets/{name}", self._asset),
        ]

    async def stop(self) -> None:
        """Wait until all files in preparation are finished."""
        await asyncio.gather(*self._work)

    async def _messages(self, request: Request) -> Response:
        return JSONResponse({"messages": []})

    async def _describe(self, request: Request) -> Response:
        if (dataset := request.path_params["dataset"]) not in DATASETS:
            return _problem(404, "process not found", f"dataset {dataset} not found")
        return JSONResponse({"id": dataset, "version": "1.0.0", "jobControlOptions": ["async-execute"]})

    async def _execute(self, request: Request) -> Response:
        if not request.headers.get("PRIVATE-TOKEN"):
            return _problem(401, "permission denied", "authentication required")
        dataset = request.path_params["dataset"]
        if dataset not in DATASETS:
            return _problem(404, "process not found", f"dataset {dataset} not found")
        inputs = (await request.json()).get("inputs", {})
        try:
            wanted = self._wanted(dataset, inputs)
        except (InvalidRequest, ValueError, TypeError) as error:
            return _problem(400, "invalid request", str(error))
        job = _Job(
            job_id=hashlib.sha256(f"{len(self._jobs)}{dataset}{inputs}".encode()).hexdigest()[:32],
            dataset=dataset,
            inputs=inputs,
            created=self._clock.now().isoformat(),
        )
        self._jobs[job.job_id] = job
        work = asyncio.create_task(self._prepare(job, wanted))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        return JSONResponse(_status_info(request, job), status_code=201)

    async def _status(self, request: Request) -> Response:
        if (job := self._jobs.get(request.path_params["job_id"])) is None:
            return _problem(404, "job not found", "no such job")
        return JSONResponse(_status_info(request, job))

    async def _delete(self, request: Request) -> Response:
        if (job := self._jobs.pop(request.path_params["job_id"], None)) is None:
            return _problem(404, "job not found", "no such job")
        job.status = "dismissed"
        return JSONResponse(_status_info(request, job))

    async def _results(self, request: Request) -> Response:
        if (job := self._jobs.get(request.path_params["job_id"])) is None:
            return _problem(404, "job not found", "no such job")
        if job.status == "failed":
            return _problem(400, "job results failed", "The job has failed", traceback=job.problem)
        if job.status != "successful":
            return _problem(404, "results not ready", f"job {job.job_id} results not yet ready")
        content = job.asset.read_bytes()
        value = {
            "type": "application/x-grib",
            "href": str(request.base_url.replace(path=f"/api/assets/{job.asset.name}")),
            "file:size": len(content),
            "file:checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "file:local_path": job.asset.name,
        }
        return JSONResponse({"asset": {"value": value}})

    async def _asset(self, request: Request) -> Response:
        return self._serve_data(request, self._directory / Path(request.path_params["name"]).name)

    async def _prepare(self, job: _Job, wanted: list[tuple[str, datetime]]) -> None:
        job.status = "running"
        latest = self._clock.now() - ERA5_DELAY
        if any(valid_time > latest for _, valid_time in wanted):
            job.problem = (
                "None of the data you have requested is available yet, please revise the period requested. "
                f"The latest date available for this dataset is: {latest:%Y-%m-%d %H:%M}"
            )
            job.status = "failed"
            return
        times = sorted({valid_time for _, valid_time in wanted})
        digest = hashlib.sha256(json.dumps([job.dataset, job.inputs], sort_keys=True).encode()).hexdigest()
        job.asset = self._directory / f"{times[0]:%Y%m%dT%H}-{job.dataset}-{digest[:8]}.grib"
        if not job.asset.exists():
            await asyncio.to_thread(self._write, job.asset, wanted)
        job.status = "successful"

    def _write(self, path: Path, wanted: list[tuple[str, datetime]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fields = [(name, time, self._replay.truth(time, name, self._grid)) for name, time in wanted]
        put_file(path, era5_file(fields))

    def _wanted(self, dataset: str, inputs: Mapping[str, Any]) -> list[tuple[str, datetime]]:
        """Return every (field, valid time) of a request, in the order of its messages."""
        if inputs.get("data_format") != "grib":
            raise InvalidRequest("only data_format grib is offered here")
        if float(_list(inputs, "grid")[0]) != float(self._grid):
            raise InvalidRequest(f"only grid {self._grid} is offered here")
        names = {v.cds_name: v.short_name for v in VARIABLES.values() if v.has_levels == DATASETS[dataset]}
        levels = _list(inputs, "pressure_level") if DATASETS[dataset] else [""]
        days = itertools.product(*(_list(inputs, key) for key in ("year", "month", "day", "time")))
        times = [datetime.strptime("-".join(parts), "%Y-%m-%d-%H:%M").replace(tzinfo=UTC) for parts in days]
        variables = _list(inputs, "variable")
        if unknown := [name for name in variables if name not in names]:
            raise InvalidRequest(f"{dataset} holds no {', '.join(unknown)}")
        wanted = [
            (f"{names[variable]}{level}", time)
            for time in times
            for variable in variables
            for level in levels
        ]
        held = [(name, time) for name, time in wanted if name in self._fields]
        if not held:
            raise InvalidRequest("the request has produced no data")
        return held


def _list(inputs: Mapping[str, Any], key: str) -> list[str]:
    value = inputs.get(key, [])
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InvalidRequest(f"{key} is missing")
    return [str(item) for item in values]


def _status_info(request: Request, job: _Job) -> dict[str, object]:
    here = str(request.base_url.replace(path=f"{_ROOT}/jobs/{job.job_id}"))
    links = [{"href": here, "rel": "monitor", "type": "application/json", "title": "job status info"}]
    if job.status in ("successful", "failed"):
        links.append({"href": f"{here}/results", "rel": "results"})
    return {
        "processID": job.dataset,
        "type": "process",
        "jobID": job.job_id,
        "status": job.status,
        "created": job.created,
        "updated": job.created,
        "links": links,
        "metadata": {"origin": "api", "request": {"ids": job.inputs}},
    }


def _problem(status: int, title: str, detail: str, **more: str) -> Response:
    return JSONResponse(
        {"type": title, "title": title, "status": status, "detail": detail, **more}, status_code=status
    )
