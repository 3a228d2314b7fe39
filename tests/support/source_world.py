"""The clients of all archives before one server that tells the truth, or what a test has it say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gaia.localnet.archives.grib import gfs_file
from gaia.tasks.defined_tasks.weather.sources.cds import CdsEra5Archive
from gaia.tasks.defined_tasks.weather.sources.climatology import ZarrClimatologyArchive
from gaia.tasks.defined_tasks.weather.sources.gfs import NoaaGfsArchive
from gaia.validator.utils.config import Settings
from tests.support.fakes import FakeClock
from tests.support.liar import Liar, Lie, lying

INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
NOWHERE = "http://127.0.0.1:9/moved"
GRIB = gfs_file({"2t": np.full((181, 360), 280, np.float32)}, INIT_TIME, 12)
ZARR = {"shape": [4, 366, 181, 360], "chunks": [1, 1, 181, 360]}
METADATA = json.dumps(
    {
        "metadata": {
            "2m_temperature/.zarray": ZARR,
            "2m_temperature/.zattrs": {
                "_ARRAY_DIMENSIONS": ["hour", "dayofyear", "latitude", "longitude"],
            },
        }
        | {
            f"{name}/{part}": text
            for name, size in (("hour", 4), ("dayofyear", 366), ("latitude", 181), ("longitude", 360))
            for part, text in (
                (".zarray", {"shape": [size], "chunks": [size]}),
                (".zattrs", {"_ARRAY_DIMENSIONS": [name]}),
            )
        }
    }
).encode()
FILE = b"GRIB of ERA5"
Answer = Callable[[str, str, Mapping[str, str]], Lie]


def step_of(method: str, path: str) -> str:
    """Name what a request is for."""
    path = path.partition("?")[0]
    if path.startswith("/gfs."):
        return "gfs index" if path.endswith(".idx") else "gfs range"
    if path.startswith("/climatology"):
        return "climatology metadata" if path.endswith(".zmetadata") else "climatology chunk"
    if method == "POST":
        return "cds submission"
    if path.endswith("/results"):
        return "cds results"
    return "cds job" if "/jobs/" in path else "cds file"


STEPS = [
    "gfs index",
    "gfs range",
    "climatology metadata",
    "climatology chunk",
    "cds submission",
    "cds job",
    "cds results",
    "cds file",
]


def truth(liar: Liar, method: str, path: str) -> Lie:
    """What an archive in good order answers."""
    match step_of(method, path):
        case "gfs index":
            return Lie(body=GRIB.index.encode()) if "/products/" not in path else Lie(404)
        case "gfs range":
            return Lie(206, GRIB.content)
        case "climatology metadata":
            return Lie(body=METADATA)
        case "cds submission" | "cds job":
            return Lie(201, b'{"jobID": "j1", "status": "successful"}')
        case "cds results":
            asset = {"value": {"href": f"{liar.url}/file", "file:size": len(FILE)}}
            return Lie(body=json.dumps({"asset": asset}).encode())
        case "cds file":
            return Lie(body=FILE)
    return Lie(body=b"chunk")


class Clients:
    """The three clients of one lying server."""

    def __init__(self, url: str, folder: Path, clock: FakeClock, **changed: Any) -> None:
        settings = Settings.model_validate(
            {
                "gfs_url": url,
                "cds_url": f"{url}/api",
                "cds_key": "a-key",
                "climatology_url": f"{url}/climatology",
                "grid_degrees": "1.0",
                "source_timeout_s": 5.0,
                **changed,
            }
        )
        self.folder = folder
        self.clock = clock
        self.gfs = NoaaGfsArchive(settings, clock)
        self.cds = CdsEra5Archive(settings, clock)
        self.climatology = ZarrClimatologyArchive(settings, clock)

    async def fetch(self, source: str) -> None:
        place = self.folder / source
        if source == "gfs":
            await self.gfs.fetch(INIT_TIME, 12, ["2t"], place)
        elif source == "cds":
            await self.cds.fetch(INIT_TIME, ["2t"], place)
        else:
            await self.climatology.fetch(INIT_TIME, ["2t"], place)

    async def aclose(self) -> None:
        for client in (self.gfs, self.cds, self.climatology):
            await client.aclose()


@asynccontextmanager
async def a_world(
    folder: Path, lie: Callable[[str, str], Lie | None], **changed: Any
) -> AsyncIterator[tuple[Liar, Clients]]:
    """Serve the truth, except where `lie(step, path)` has something to say."""

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Lie:
        return lie(step_of(method, path), path) or truth(liar, method, path)

    async with lying(answer) as liar:
        clients = Clients(liar.url, folder, FakeClock(), **changed)
        try:
            yield liar, clients
        finally:
            await clients.aclose()


def jobs_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jobs.json"))
