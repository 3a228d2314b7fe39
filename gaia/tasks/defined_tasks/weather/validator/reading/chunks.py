"""Reads a miner's stored bytes: hashes them, compares the digest, and decodes the same bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator.reading.frames import COMPRESSORS, HEADER_BYTES, check_frame
from gaia.tasks.defined_tasks.weather.variables import GRIDS, LEVELS_HPA, VARIABLES, split_field
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, file_digest, metadata_path
from gaia.tasks.defined_tasks.weather.wire.strict_json import strict_json
from gaia.validator.utils.errors import DigestMismatch, InvalidMetadata, MinerFault, OwnFailure, Undecodable

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.units import ForecastUnit, ScoreLead, SpooledUnit

METADATA_MAX_BYTES = 64 * 1024
FIELD_CPU_S = 2.0
"""CPU seconds that decoding one field may take.

The slowest frame that passes `check_frame` takes a fortieth of it, an honest one a thousandth.
The limit thus ends only frames that no check foresees, even on a slow machine.
"""

_BLOSC_SHUFFLES = (-1, 0, 1, 2)
_ITEM_BYTES = 4
_KEYS = {"zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"}
_OPTIONAL_KEYS = {"dimension_separator"}
_COMPRESSOR_KEYS = {"id", "cname", "clevel", "shuffle", "blocksize"}

# There is one worker per core, so threads of blosc would only compete with other workers.
blosc.use_threads = False

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Shape, codec and steps of every store of a run."""

    grid: str
    steps: int
    step_hours: int

    @classmethod
    def of(cls, unit: ForecastUnit) -> Contract:
        """Return the contract in a unit."""
        return cls(grid=unit.grid, steps=unit.steps, step_hours=unit.step_hours)

    @property
    def field_shape(self) -> tuple[int, int]:
        return GRIDS[self.grid]

    @property
    def field_bytes(self) -> int:
        latitudes, longitudes = self.field_shape
        return latitudes * longitudes * _ITEM_BYTES

    @property
    def chunk_max_bytes(self) -> int:
        """Largest size of a chunk; blosc adds at most its header to incompressible data."""
        return self.field_bytes + HEADER_BYTES

    def array_shape(self, variable: str) -> tuple[int, ...]:
        levels = (len(LEVELS_HPA),) if VARIABLES[variable].has_levels else ()
        return (self.steps, *levels, *self.field_shape)

    def chunk_shape(self, variable: str) -> tuple[int, ...]:
        levels = (1,) if VARIABLES[variable].has_levels else ()
        return (1, *levels, *self.field_shape)


@dataclass(frozen=True, slots=True)
class MinerStore:
    """One miner's spooled forecast, and the digests that it committed to.

    Parameters
    ----------
    directory
        Folder in the spool that mirrors the paths of the store.
    digests
        Path in the store -> sha256 (hex) from the frozen manifest.
    contract
        Shape, codec and steps that every miner must deliver.
    """

    directory: Path
    digests: Mapping[str, str]
    contract: Contract

    @classmethod
    def of(cls, unit: SpooledUnit | ScoreLead) -> MinerStore:
        """Return the store named in a unit about one forecast."""
        return cls(Path(unit.store_dir), unit.digests, Contract.of(unit))

    def read(self, path: str) -> bytes:
        """Return the verified bytes of one file.

        The file is read once; only hashed bytes are ever returned.

        Raises
        ------
        MinerFault
            If the manifest lacks `path`, or the file is too long or differs from its digest.
        OwnFailure
            If the file is not in our spool, or the disk fails.
        """
        promised = self.digests.get(path)
        if promised is None:
            raise DigestMismatch(f"{path} is not in the manifest")
        content = self._content(path)
        if file_digest(path, content) != promised:
            raise DigestMismatch(f"{path} is not what the manifest promised")
        return content

    def read_field(self, field: str, lead_hours: int, out: Field) -> Field:
        """Decode one field into `out` and return it.

        Parameters
        ----------
        field
            Field name, such as ``z500``.
        lead_hours
            Lead, a multiple of the contract's step.
        out : float32, shape of the grid, C order
            Buffer to overwrite; nothing else of this size is allocated.

        Raises
        ------
        MinerFault
            If metadata or chunk differ from their digests, break the contract, or decode too slowly.
        OwnFailure
            If a file is missing in our spool, or the disk fails.
        ValueError
            If the contract has no such field or lead.
        """
        step, rest = divmod(lead_hours, self.contract.step_hours)
        if rest or not 1 <= step <= self.contract.steps:
            raise ValueError(f"a forecast has no lead of {lead_hours} h")
        path = chunk_path(field, lead_hours, self.contract.step_hours)
        variable, _ = split_field(field)
        compressor = check_metadata(self.read(metadata_path(field)), variable, self.contract)
        frame = self.read(path)
        check_frame(frame, path, self.contract.field_bytes, compressor)
        return decode(frame, path, out)

    def _content(self, path: str) -> bytes:
        limit = METADATA_MAX_BYTES if path.endswith("/.zarray") else self.contract.chunk_max_bytes
        try:
            with (self.directory / _inside(path)).open("rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            # The download detects a miner that withholds a file; a file missing here is our disk's fault.
            raise OwnFailure(f"{path} cannot be read from the spool: {error}") from error
        if len(content) > limit:
            raise Undecodable(f"{path} is longer than {limit} bytes")
        return content


def check_metadata(content: bytes, variable: str, contract: Contract) -> str:
    """Check a ``.zarray`` against the contract; return its inner codec.

    Its content is only compared with known values, and never used.

    Raises
    ------
    MinerFault
        If it is not JSON, or differs from the contract in any key.
    """
    found = _parse(content, variable)
    fixed: dict[str, object] = {
        "zarr_format": 2,
        "shape": list(contract.array_shape(variable)),
        "chunks": list(contract.chunk_shape(variable)),
        "dtype": "<f4",
        "order": "C",
        "filters": None,
    }
    for key, wanted in fixed.items():
        if not _same(found[key], wanted):
            raise InvalidMetadata(f"{variable}/.zarray: {key} must be {json.dumps(wanted)}")
    if found.get("dimension_separator", ".") != ".":
        raise InvalidMetadata(f'{variable}/.zarray: dimension_separator must be "."')
    if isinstance(found["fill_value"], (dict, list)):
        raise InvalidMetadata(f"{variable}/.zarray: fill_value must be a single value")
    return _compressor(found["compressor"], variable)


def decode(frame: bytes, path: str, out: Field, clock: Callable[[], float] = time.thread_time) -> Field:
    """Decode a frame that `check_frame` passed into `out`, and return it.

    Parameters
    ----------
    path
        Its path in the store, for error messages.
    clock
        CPU time of this thread, in seconds.

    Raises
    ------
    MinerFault
        If a stream is damaged, or decoding takes more than `FIELD_CPU_S` of CPU time twice.
    """
    # The clock may go on while a virtual machine is paused, so one slow decoding proves nothing.
    for _ in range(2):
        begun = clock()
        try:
            blosc.decompress(frame, out)
        except (RuntimeError, ValueError) as error:
            raise Undecodable(f"{path} cannot be decoded: {error}") from error
        if clock() - begun <= FIELD_CPU_S:
            return out
    raise Undecodable(f"decoding {path} took more than {FIELD_CPU_S:g} s of CPU")


def _inside(path: str) -> PurePosixPath:
    parts = path.split("/")
    if "\0" in path or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise MinerFault(f"{path!r} is not a path inside a store")
    return PurePosixPath(path)


def _parse(content: bytes, variable: str) -> dict[str, object]:
    if len(content) > METADATA_MAX_BYTES:
        raise InvalidMetadata(f"{variable}/.zarray is longer than {METADATA_MAX_BYTES} bytes")
    try:
        found = strict_json(content)
    except (ValueError, RecursionError) as error:
        raise InvalidMetadata(f"{variable}/.zarray is not JSON: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise InvalidMetadata(f"{variable}/.zarray is not an object")
    if not _KEYS <= set(found) <= _KEYS | _OPTIONAL_KEYS:
        raise InvalidMetadata(f"{variable}/.zarray has other keys than a plain array")
    return found


def _compressor(found: Any, variable: str) -> str:
    if not isinstance(found, dict) or set(found) != _COMPRESSOR_KEYS or found["id"] != "blosc":
        raise InvalidMetadata(f"{variable}/.zarray: compressor must be blosc and nothing else")
    name = found["cname"]
    if not isinstance(name, str) or name not in COMPRESSORS:
        raise InvalidMetadata(
            f"{variable}/.zarray: compressor must be one of {', '.join(sorted(COMPRESSORS))}"
        )
    numbers = (found["clevel"], found["shuffle"], found["blocksize"])
    if not all(type(number) is int for number in numbers) or found["shuffle"] not in _BLOSC_SHUFFLES:
        raise InvalidMetadata(f"{variable}/.zarray: compressor settings are not blosc's")
    return name


def _same(found: Any, wanted: Any) -> bool:
    """Return whether two values are equal in value and JSON type: True is not 1, and 721.0 is not 721."""
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_same, found, wanted))
    return type(found) is type(wanted) and bool(found == wanted)
