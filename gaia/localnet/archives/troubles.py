"""Reproduces failures of real archives: refusals, redirects, silence and garbage."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

CONTROL_PATH: Final = "/troubles"


class Source(StrEnum):
    """The archives of a local subnet."""

    GFS = "gfs"
    CDS = "cds"
    CLIMATOLOGY = "climatology"


class Trouble(StrEnum):
    """A failure: what a source answers to every request while it lasts."""

    LICENCE = "licence"
    """403: a licence must be accepted again."""
    COST = "cost"
    """403: the request exceeds the cost limits."""
    BLOCKED = "blocked"
    """403 without a body."""
    PAGE = "page"
    """403 with the page of a proxy."""
    MOVED = "moved"
    """308 to another host, where nothing answers."""
    HANG = "hang"
    """No answer."""
    GARBAGE = "garbage"
    """200 with meaningless bytes."""


_PREFIXES: Mapping[str, Source] = {
    "/gfs.": Source.GFS,
    "/api/": Source.CDS,
    "/climatology/": Source.CLIMATOLOGY,
}
_NOBODY = "http://127.0.0.1:9/moved"


@dataclass(slots=True)
class _Lasting:
    trouble: Trouble
    times: int | None
    """Number of further requests that it affects; None: until it is ended."""


class Troubles:
    """The present troubles of the sources of one server.

    `begin` and `end` set them; another process sends the request

        POST /troubles?source=cds&trouble=licence&times=20

    where `times` is optional and `trouble=none` ends all troubles. Troubles of one source
    follow one another.
    """

    def __init__(self) -> None:
        self._lasting: dict[Source, deque[_Lasting]] = {source: deque() for source in Source}
        self._over = asyncio.Event()
        self.struck = 0
        """Source -> number of requests that a trouble answered."""

    def begin(self, source: Source, trouble: Trouble, times: int | None = None) -> None:
        """Append a trouble of `source`, which lasts for `times` requests or until `end`."""
        self._lasting[source].append(_Lasting(trouble, times))

    def end(self, source: Source) -> None:
        """End all present and queued troubles of `source`."""
        self._lasting[source].clear()

    def close(self) -> None:
        """Release all requests that wait for an answer."""
        self._over.set()

    async def answer(self, path: str) -> Response | None:
        """Return the answer of the present trouble to a request; None if there is no trouble."""
        source = next((source for prefix, source in _PREFIXES.items() if path.startswith(prefix)), None)
        if source is None or not self._lasting[source]:
            return None
        lasting = self._lasting[source][0]
        if lasting.times is not None:
            lasting.times -= 1
            if lasting.times <= 0:
                self._lasting[source].popleft()
        self.struck += 1
        if lasting.trouble is Trouble.HANG:
            await self._over.wait()
        return _response(lasting.trouble)

    async def control(self, request: Request) -> Response:
        """Begin or end a trouble, as another process requests."""
        asked = request.query_params
        try:
            source = Source(asked.get("source", ""))
            if asked.get("trouble") == "none":
                self.end(source)
            else:
                times = int(asked["times"]) if "times" in asked else None
                self.begin(source, Trouble(asked.get("trouble", "")), times)
        except ValueError as error:
            return JSONResponse({"title": "no such trouble", "detail": str(error)}, 400)
        return JSONResponse({"struck": self.struck})


def _response(trouble: Trouble) -> Response:
    match trouble:
        case Trouble.LICENCE:
            return _problem(
                "required licences not accepted",
                "Not all the required licences have been accepted; please visit the data set's page to accept them.",
            )
        case Trouble.COST:
            return _problem(
                "cost limits exceeded", "Your request is too large, please reduce your selection."
            )
        case Trouble.PAGE:
            page = "<html><head><title>403 Forbidden</title></head><body><hr><center>nginx</center></body></html>"
            return Response(page, 403, media_type="text/html")
        case Trouble.MOVED:
            return Response(b"", 308, {"Location": _NOBODY})
        case Trouble.GARBAGE:
            return Response(bytes(range(256)) * 16, 200, media_type="application/octet-stream")
        case _:
            return Response(b"", 403)


def _problem(title: str, detail: str) -> Response:
    return JSONResponse({"type": title, "title": title, "status": 403, "detail": detail}, 403)
