"""Serves the data sources of a local subnet by HTTP, in the layouts of NOAA, the CDS and WeatherBench2."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from gaia.localnet.archives.cds import CdsDesk
from gaia.localnet.archives.climatology import ClimatologyStore
from gaia.localnet.archives.grib import gfs_file
from gaia.localnet.archives.troubles import CONTROL_PATH, Troubles
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gaia.localnet.weather.replay import WeatherReplay
    from gaia.tasks.defined_tasks.base import Clock

GFS_DELAY = timedelta(hours=4)
"""Delay after a cycle's time at which all its files appear; NOAA's appear after 3.5 to 5 h."""
GFS_PRODUCTS = {"0.25": "0p25", "1.0": "1p00"}
_CDS_KEY = "local-subnet"
_GFS_NAME = re.compile(
    r"gfs\.t(?P<hour>\d\d)z\.pgrb2\.(?P<product>\dp\d\d)\.f(?P<lead>\d{3})(?P<index>\.idx)?"
)
_LONGEST_LEAD_HOURS = 384
_NO_SUCH_KEY = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'


class Fault(StrEnum):
    """Faults that can be injected, each into a given number of answers."""

    UNAVAILABLE = "unavailable"
    """Answers with 503."""
    THROTTLED = "throttled"
    """Answers with 429."""
    TRUNCATED = "truncated"
    """Ends the data half way, in an otherwise complete answer."""
    STALE_INDEX = "stale_index"
    """Answers an .idx request with the offsets of another file."""
    WRONG_MESSAGE = "wrong_message"
    """Answers an .idx request with the names of the first two messages exchanged."""


class ArchiveServer:
    """Serves replayed weather at the times when it is published on `clock`.

    Served GRIB files are first written below `directory`, under the path of their URL, and
    stay there unchanged: `gfs.YYYYMMDD/HH/atmos/`, `era5/` and `climatology/`.

    Parameters
    ----------
    clock
        A GFS cycle is available 4 h after its time, ERA5 5 days after its time.
    fields
        Names of the fields the archives hold, such as "2t" and "z500".
    """

    def __init__(
        self, clock: Clock, replay: WeatherReplay, directory: Path, grid: str, fields: Sequence[str]
    ) -> None:
        self._clock = clock
        self._replay = replay
        self._directory = directory
        self._grid = grid
        self._fields = tuple(fields)
        self._climatology = ClimatologyStore(replay, grid, fields)
        # With the served chunks, the folder is a complete store.
        self._climatology.write_metadata(directory / "climatology" / self._climatology.name)
        self._cds = CdsDesk(clock, replay, directory / "era5", grid, frozenset(fields), self._data)
        self._faults: Counter[Fault] = Counter()
        self.troubles = Troubles()
        """Answers that sources give instead of data; `CONTROL_PATH` changes them in a running subnet."""
        self._writing: dict[Path, asyncio.Lock] = {}
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._url = ""
        self.requests: Counter[str] = Counter()
        """Path -> number of requests for it."""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; return the base URL without a final slash."""
        listener = socket.create_server((host, port))
        config = uvicorn.Config(
            self.app(), log_config=None, access_log=False, lifespan="off", ws="none", server_header=False
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        self._url = f"http://{host}:{listener.getsockname()[1]}"
        return self._url

    async def stop(self) -> None:
        """Finish the open requests and stop listening."""
        if self._server is None or self._serving is None:
            return
        self.troubles.close()
        self._server.should_exit = True
        await self._serving
        await self._cds.stop()

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point a validator at this server."""
        return {
            "GAIA_GFS_URL": self._url,
            "GAIA_CDS_URL": f"{self._url}/api",
            "GAIA_CDS_KEY": _CDS_KEY,
            "GAIA_CLIMATOLOGY_URL": f"{self._url}/climatology/{self._climatology.name}",
        }

    def inject(self, fault: Fault, times: int = 1) -> None:
        """Inject `fault` into the next `times` answers that it applies to."""
        self._faults[fault] += times

    def app(self) -> ASGIApp:
        """Return the ASGI application of the server."""
        routes = [
            Route("/gfs.{date}/{hour}/atmos/{name}", self._gfs),
            Route("/climatology/{store}/{path:path}", self._climatology_object),
            Route(CONTROL_PATH, self.troubles.control, methods=["POST"]),
            *self._cds.routes(),
        ]
        return _Doorkeeper(Starlette(routes=routes), self)

    def refusal(self, path: str) -> Response | None:
        """Count a request; return the response that refuses it, or None."""
        self.requests[path] += 1
        if self._strikes(Fault.UNAVAILABLE):
            return Response(b"Please reduce your request rate.", status_code=503)
        if self._strikes(Fault.THROTTLED):
            return Response(b"Too many requests", status_code=429)
        return None

    async def _gfs(self, request: Request) -> Response:
        path = await self._gfs_path(**request.path_params)
        if path is None:
            return Response(_NO_SUCH_KEY, status_code=404, media_type="application/xml")
        if path.suffix == ".idx":
            return Response(self._index(path.read_text()), media_type="binary/octet-stream")
        return self._data(request, path)

    async def _gfs_path(self, date: str, hour: str, name: str) -> Path | None:
        """Return the requested file, written if necessary; None if NOAA would not have published it."""
        match = _GFS_NAME.fullmatch(name)
        if match is None or match["hour"] != hour or match["product"] != GFS_PRODUCTS[self._grid]:
            return None
        try:
            init_time = datetime.strptime(date + hour, "%Y%m%d%H").replace(tzinfo=UTC)
        except ValueError:
            return None
        lead_hours = int(match["lead"])
        if init_time.hour % 6 or lead_hours > _LONGEST_LEAD_HOURS:
            return None
        if self._clock.now() < init_time + GFS_DELAY:
            return None
        path = self._directory / f"gfs.{date}" / hour / "atmos" / name
        await self._write_once(path.with_name(name.removesuffix(".idx")), init_time, lead_hours)
        return path

    async def _write_once(self, path: Path, init_time: datetime, lead_hours: int) -> None:
        async with self._writing.setdefault(path, asyncio.Lock()):
            if not path.exists():
                await asyncio.to_thread(self._write_gfs, path, init_time, lead_hours)

    def _write_gfs(self, path: Path, init_time: datetime, lead_hours: int) -> None:
        fields = {
            field: self._replay.gfs_forecast(init_time, lead_hours, field, self._grid)
            for field in self._fields
        }
        file = gfs_file(fields, init_time, lead_hours)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.idx").write_text(file.index)
        put_file(path, file.content)

    def _index(self, text: str) -> str:
        lines = [line.split(":", 3) for line in text.splitlines()]
        if self._strikes(Fault.STALE_INDEX):
            lines = [[number, str(int(start) * 9 // 10), *rest] for number, start, *rest in lines]
        if self._strikes(Fault.WRONG_MESSAGE):
            lines[0][3], lines[1][3] = lines[1][3], lines[0][3]
        return "".join(":".join(line) + "\n" for line in lines)

    async def _climatology_object(self, request: Request) -> Response:
        path = request.path_params["path"]
        content = None
        if request.path_params["store"] == self._climatology.name:
            content = await asyncio.to_thread(self._climatology.read, path)
        if content is None:
            return Response(_NO_SUCH_KEY, status_code=404, media_type="application/xml")
        copy = self._directory / "climatology" / self._climatology.name / path
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        return self._data(request, copy)

    def _data(self, request: Request, path: Path) -> Response:
        """Return a response with a file, or with the one requested range of it."""
        if not path.is_file():
            return Response(_NO_SUCH_KEY, status_code=404, media_type="application/xml")
        content = path.read_bytes()
        headers = {"Accept-Ranges": "bytes"}
        status = 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
            start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            if start > end:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        if path.name != ".zmetadata" and self._strikes(Fault.TRUNCATED):
            content = content[: len(content) // 2]
        return Response(content, status, headers, media_type="binary/octet-stream")

    def _strikes(self, fault: Fault) -> bool:
        if not self._faults[fault]:
            return False
        self._faults[fault] -= 1
        return True


class _Doorkeeper:
    """ASGI middleware that lets the server count every request and refuse some."""

    def __init__(self, app: ASGIApp, server: ArchiveServer) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._server.refusal(scope["path"]) or await self._server.troubles.answer(scope["path"])
        await (refusal or self._app)(scope, receive, send)


class _Server(uvicorn.Server):
    """Uvicorn server that installs no signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
