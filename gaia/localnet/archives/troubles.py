"""What archives have been seen to answer instead of data: refusals, redirects, silence and garbage."""

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
    """Which of the archives."""

    GFS = "gfs"
    CDS = "cds"
    CLIMATOLOGY = "climatology"


class Trouble(StrEnum):
    """What a source answers to every request while it lasts."""

    LICENCE = "licence"
    """403: a licence is to be accepted anew."""
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
    """200 with bytes that mean nothing."""


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
    """How many more requests it lasts; None: until it is ended."""


class Troubles:
    """The troubles the sources of one server are in.

    They are set by `begin` and `end`, or from another process by

        POST /troubles?source=cds&trouble=licence&times=20

    where `times` may be left out, and `trouble=none` ends what there is. Troubles of
    one source come one after the other.
    """

    def __init__(self) -> None:
        self._lasting: dict[Source, deque[_Lasting]] = {source: deque() for source in Source}
        self._over = asyncio.Event()
        self.struck = 0
        """How many requests were answered by a trouble."""

    def begin(self, source: Source, trouble: Trouble, times: int | None = None) -> None:
        """Let `source` answer so, after the troubles begun before, for `times` requests or until `end`."""
        self._lasting[source].append(_Lasting(trouble, times))

    def end(self, source: Source) -> None:
        """End all troubles of `source`, those to come too."""
        self._lasting[source].clear()

    def close(self) -> None:
        """Let go of all requests that wait for an answer."""
        self._over.set()

    async def answer(self, path: str) -> Response | None:
        """Return what a request is answered because of a trouble; None where there is none."""
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
        """Begin or end a trouble for another process."""
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
