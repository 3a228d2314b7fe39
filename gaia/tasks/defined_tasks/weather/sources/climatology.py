"""Mirrors the chunks of the WeatherBench2 climatology that a valid time needs."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.transfer import SingleFlight, Transfer, all_of
from gaia.tasks.defined_tasks.weather.variables import LEVELS_HPA, VARIABLES, split_field
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.files import whole_file

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock
    from gaia.validator.utils.idle_connections import Connections
    from gaia.validator.utils.settings.sources import SourcesSettings

_METADATA = ".zmetadata"
_METADATA_LIMIT_BYTES = 16 << 20
_CHUNK_LIMIT_BYTES = 128 << 20
_MOST_CHUNKS_OF_AN_ARRAY = 4096
_REQUESTS_AT_ONCE = 8
_HOURS_A_DAY = 24
_ARRAY_NAME = re.compile(r"\w+")
"""Form of an array's name; names become paths, so none may lead elsewhere."""


class _Consolidated(msgspec.Struct, frozen=True):
    metadata: dict[str, object]


class _Array(msgspec.Struct, frozen=True):
    shape: list[int]
    chunks: list[int]
    dimension_separator: Literal[".", "/"] = "."


class _Attributes(msgspec.Struct, frozen=True):
    dimensions: list[str] = msgspec.field(name="_ARRAY_DIMENSIONS")


class ZarrClimatologyArchive:
    """`ClimatologyArchive` on the zarr v2 store at `climatology_url`."""

    def __init__(self, settings: SourcesSettings, clock: Clock) -> None:
        self._base = settings.climatology_url.rstrip("/")
        self._clock = clock
        self._transfer = Transfer("the climatology", settings.source_timeout_s, ReferenceSource.CLIMATOLOGY)
        self._flights = SingleFlight()
        self._places = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def fetch(self, valid_time: datetime, fields: Sequence[str], directory: Path) -> None:
        """Mirror the metadata and the chunks that hold `valid_time`; see `ClimatologyArchive`.

        The store is complete, so a missing object raises `TransientError`.
        """

        async def transfer() -> None:
            await self._fetch(valid_time, fields, directory)

        with border(Party.ARCHIVE, f"the climatology of {valid_time:%m-%dT%HZ}"):
            await self._flights.run(valid_time.isoformat(), (frozenset(fields), directory), transfer)

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        return await self._transfer.close_idle()

    async def aclose(self) -> None:
        """Cancel open transfers and close all connections."""
        await self._flights.stop()
        await self._transfer.aclose()

    async def _fetch(self, valid_time: datetime, fields: Sequence[str], directory: Path) -> None:
        content = await self._get(_METADATA, _METADATA_LIMIT_BYTES)
        paths = sorted(needed_chunks(content, valid_time, fields))
        await all_of(self._mirror(path, directory / path) for path in paths)
        arrays = {path.partition("/")[0] for path in paths}
        for path, text in _separate_metadata(content, arrays).items():
            with whole_file(directory / path) as file:
                file.write(text)
        with whole_file(directory / _METADATA) as file:
            file.write(content)

    async def _mirror(self, path: str, destination: Path) -> None:
        async with self._places:
            content = await self._get(path, _CHUNK_LIMIT_BYTES)
        with whole_file(destination) as file:
            file.write(content)

    async def _get(self, path: str, limit_bytes: int) -> bytes:
        url = f"{self._base}/{path}"
        answer = await self._transfer.request("GET", url, limit_bytes=limit_bytes)
        if answer.status != 200:
            raise self._transfer.refusal(answer, url)
        return answer.content


def needed_chunks(metadata: bytes, valid_time: datetime, fields: Sequence[str]) -> set[str]:
    """Return the paths of the chunks of `fields` at `valid_time`, and of all their coordinates.

    `metadata` is a store's `.zmetadata`. Hours are assumed to be evenly spaced from 0, and days
    to begin with 1. The reader, which can decode the coordinates, checks this.

    Raises
    ------
    TransientError
        If the metadata cannot be read or an array is missing.
    """
    described = _consolidated(metadata)
    moment = valid_time.astimezone(UTC)
    needed: set[str] = set()
    coordinates: set[str] = set()
    for field in fields:
        variable, level = split_field(field)
        name = VARIABLES[variable].climatology_name
        array, dimensions = _describe(described, name)
        coordinates.update(dimensions)
        needed.update(_chunk_paths(name, array, _wanted_indices(array, dimensions, moment, level)))
    for name in coordinates:
        array, _ = _describe(described, name)
        needed.update(_chunk_paths(name, array, {}))
    return needed


def _wanted_indices(
    array: _Array, dimensions: Sequence[str], moment: datetime, level: int | None
) -> dict[int, int]:
    """Return axis -> index for every axis that needs only one index."""
    wanted: dict[int, int] = {}
    for axis, dimension in enumerate(dimensions):
        size = array.shape[axis]
        if dimension == "hour":
            wanted[axis] = moment.hour * size // _HOURS_A_DAY
        elif dimension == "dayofyear":
            wanted[axis] = moment.timetuple().tm_yday - 1
        elif dimension == "level" and level is not None and size == len(LEVELS_HPA):
            wanted[axis] = LEVELS_HPA.index(level)
    return wanted


def _chunk_paths(name: str, array: _Array, wanted: Mapping[int, int]) -> Iterator[str]:
    axes = [
        [wanted[axis] // chunk] if axis in wanted else range(-(-size // chunk))
        for axis, (size, chunk) in enumerate(zip(array.shape, array.chunks, strict=True))
    ]
    if math.prod(map(len, axes)) > _MOST_CHUNKS_OF_AN_ARRAY:
        raise TransientError(f"the climatology cuts {name!r} into {[len(axis) for axis in axes]} chunks")
    for indices in itertools.product(*axes):
        yield f"{name}/{array.dimension_separator.join(map(str, indices))}"


def _describe(metadata: Mapping[str, object], name: str) -> tuple[_Array, list[str]]:
    if not _ARRAY_NAME.fullmatch(name):
        raise TransientError(f"the climatology names an array {name!r}")
    try:
        array = msgspec.convert(metadata[f"{name}/.zarray"], _Array)
        attributes = msgspec.convert(metadata[f"{name}/.zattrs"], _Attributes)
    except (KeyError, msgspec.ValidationError) as error:
        raise TransientError(f"the climatology has no readable array {name!r}: {error}") from error
    if (
        not len(array.shape) == len(array.chunks) == len(attributes.dimensions)
        or min(array.chunks, default=0) < 1
    ):
        raise TransientError(f"the climatology describes {name!r} in contradictory terms")
    return array, attributes.dimensions


def _consolidated(content: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(content, type=_Consolidated).metadata
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise TransientError(f"the climatology's metadata cannot be read: {error}") from error


def _separate_metadata(content: bytes, arrays: Collection[str]) -> dict[str, bytes]:
    """Return path -> content of the metadata of `arrays`, for readers that need one file per array."""
    described = _consolidated(content)
    paths = [".zgroup", *(f"{array}/{name}" for array in arrays for name in (".zarray", ".zattrs"))]
    return {path: json.dumps(described[path]).encode() for path in paths if path in described}
