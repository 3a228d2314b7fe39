"""Writes a forecast as a zarr v2 store, one chunk per field, and seals it with a signed manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs import Blosc

from gaia.tasks.defined_tasks.weather.variables import GRIDS, LEVELS_HPA, VARIABLES, split_field
from gaia.tasks.defined_tasks.weather.wire.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    build_manifest,
)
from gaia.tasks.defined_tasks.weather.wire.store_layout import file_digest
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gaia.miner.inference import ForecastField

_CODEC = Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE)
_GRID_AXES = {False: ("time", "lat", "lon"), True: ("time", "pressure_level", "lat", "lon")}


class StoreWriter:
    """A store that is being written (protocol.md, 2.6).

    Parameters
    ----------
    directory
        Folder of the store; made if it does not exist.
    init_time
        Start of the forecast, aware.
    grid
        Key of `weather.variables.GRIDS`.
    lead_hours
        All leads in ascending order, which is the order of the time axis.
    """

    def __init__(self, directory: Path, init_time: datetime, grid: str, lead_hours: Sequence[int]) -> None:
        self._directory = directory
        self._init_time = init_time.astimezone(UTC)
        self._shape = GRIDS[grid]
        self._steps = {lead: step for step, lead in enumerate(lead_hours)}
        self._metadata: dict[str, object] = {}
        self._digests: dict[str, str] = {}
        self._variables: set[str] = set()

    def write(self, field: ForecastField) -> None:
        """Store one field as one chunk.

        Raises
        ------
        ValueError
            If the store has no such name, lead or shape.
        """
        variable, level = split_field(field.name)
        if field.values.shape != self._shape or field.lead_hours not in self._steps:
            raise ValueError(
                f"{field.name} +{field.lead_hours} h {field.values.shape} does not fit the store"
            )
        step = self._steps[field.lead_hours]
        place = f"{step}" if level is None else f"{step}.{LEVELS_HPA.index(level)}"
        self._variables.add(variable)
        self._put_chunk(f"{variable}/{place}.0.0", field.values.astype("<f4", copy=False))

    def seal(self, miner_hotkey: str, sign: Callable[[bytes], bytes]) -> bytes:
        """Write coordinates, metadata, manifest and signature; return the manifest's bytes."""
        self._describe()
        manifest = build_manifest(miner_hotkey, self._digests)
        (self._directory / SIGNATURE_NAME).write_bytes(sign(manifest))
        # The manifest appears last and in one step: its presence says that the store is complete.
        put_file(self._directory / MANIFEST_NAME, manifest)
        return manifest

    def _describe(self) -> None:
        nlat, nlon = self._shape
        leads = np.array(list(self._steps), "<f8")
        since = f"hours since {self._init_time:%Y-%m-%d %H:%M:%S}"
        self._coordinate("time", leads, units=since, calendar="proleptic_gregorian")
        self._coordinate("lat", np.linspace(90.0, -90.0, nlat, dtype="<f4"), units="degrees_north")
        self._coordinate("lon", np.arange(nlon, dtype="<f4") * (360.0 / nlon), units="degrees_east")
        self._coordinate("lead_time", leads, axes=("time",), units="hours")
        if any(VARIABLES[name].has_levels for name in self._variables):
            self._coordinate("pressure_level", np.array(LEVELS_HPA, "<i4"), units="hPa")
        for name in sorted(self._variables):
            self._data_variable(name)
        self._put_json(".zgroup", {"zarr_format": 2})
        self._put_json(".zattrs", {"coordinates": "lead_time"})
        consolidated = {"zarr_consolidated_format": 1, "metadata": self._metadata}
        self._put(".zmetadata", json.dumps(consolidated, indent=4).encode())

    def _data_variable(self, name: str) -> None:
        variable = VARIABLES[name]
        steps, levels = len(self._steps), len(LEVELS_HPA)
        shape = [steps, levels, *self._shape] if variable.has_levels else [steps, *self._shape]
        chunks = [1, 1, *self._shape] if variable.has_levels else [1, *self._shape]
        self._put_array(name, shape, chunks, "<f4", "NaN")
        self._put_json(
            f"{name}/.zattrs",
            {
                "_ARRAY_DIMENSIONS": list(_GRID_AXES[variable.has_levels]),
                "standard_name": variable.standard_name,
                "units": variable.unit,
            },
        )

    def _coordinate(
        self, name: str, values: NDArray[Any], axes: Sequence[str] = (), **attributes: str
    ) -> None:
        self._put_array(name, list(values.shape), list(values.shape), values.dtype.str, None)
        self._put_json(f"{name}/.zattrs", {"_ARRAY_DIMENSIONS": list(axes or (name,)), **attributes})
        self._put_chunk(f"{name}/0", values)

    def _put_array(
        self, name: str, shape: list[int], chunks: list[int], dtype: str, fill_value: str | None
    ) -> None:
        self._put_json(
            f"{name}/.zarray",
            {
                "chunks": chunks,
                "compressor": _CODEC.get_config(),
                "dtype": dtype,
                "fill_value": fill_value,
                "filters": None,
                "order": "C",
                "shape": shape,
                "zarr_format": 2,
            },
        )

    def _put_chunk(self, path: str, values: NDArray[Any]) -> None:
        self._put(path, bytes(_CODEC.encode(np.ascontiguousarray(values))))

    def _put_json(self, path: str, content: dict[str, object]) -> None:
        self._metadata[path] = content
        self._put(path, json.dumps(content, indent=4).encode())

    def _put(self, path: str, content: bytes) -> None:
        target = self._directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self._digests[path] = file_digest(path, content)
