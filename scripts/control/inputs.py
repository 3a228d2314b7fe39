"""Reads fields of a local subnet from its archives and its miners' folders, for `control_scores.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import numpy.typing as npt
import zarr

GRAVITY = 9.80665
LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
PRODUCTS = {"0.25": "0p25", "1.0": "1p00"}
SURFACE = {
    "2t": "2m_temperature",
    "10u": "10m_u_component_of_wind",
    "10v": "10m_v_component_of_wind",
    "msl": "mean_sea_level_pressure",
}
ON_LEVELS = {
    "t": "temperature",
    "u": "u_component_of_wind",
    "v": "v_component_of_wind",
    "q": "specific_humidity",
    "z": "geopotential",
}

Values = npt.NDArray[np.float64]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """Fields of one local subnet, float64 arrays (lat, lon) from 90 to -90 degrees north."""

    state_dir: Path
    summary: Row

    @cached_property
    def init_times(self) -> dict[str, datetime]:
        times = {run["run_id"]: datetime.fromisoformat(run["init_time"]) for run in self.summary["runs"]}
        return {run_id: time.astimezone(UTC) for run_id, time in times.items()}

    def forecast(self, run_id: str, hotkey: str, field: str, lead_hours: int) -> Values:
        pattern = f"weather_forecast_{self.init_times[run_id]:%Y%m%d%H}_miner_hk_{hotkey[:10]}_*.zarr"
        found = sorted((self.state_dir / "miners").rglob(pattern))
        if len(found) != 1:
            raise SystemExit(f"{len(found)} stores match {pattern}")
        variable, level = split(field)
        step = lead_hours // self.summary["settings"]["forecast_step_hours"] - 1
        array: Any = open_zarr(found[0])[variable]
        return np.asarray(array[step] if level is None else array[step, LEVELS.index(level)], float)

    def truth(self, kind: str, run_id: str, field: str, lead_hours: int) -> Values:
        valid_time = self.init_times[run_id] + timedelta(hours=lead_hours)
        return self.gfs(valid_time, field, 0) if kind == "day1" else self.era5(valid_time, field)

    def gfs(self, init_time: datetime, field: str, lead_hours: int) -> Values:
        product = PRODUCTS[self.summary["grid"]]
        path = f"gfs.{init_time:%Y%m%d}/{init_time:%H}/atmos/gfs.t{init_time:%H}z.pgrb2.{product}.f{lead_hours:03d}"
        return read_grib(self.archives / path)[field, init_time + timedelta(hours=lead_hours)]

    def era5(self, valid_time: datetime, field: str) -> Values:
        for path in sorted((self.archives / "era5").glob(f"{valid_time:%Y%m%dT}*.grib")):
            if (field, valid_time) in read_grib(path):
                return read_grib(path)[field, valid_time]
        raise SystemExit(f"no ERA5 file holds {field} at {valid_time:%Y-%m-%dT%HZ}")

    def climatology(self, run_id: str, field: str, lead_hours: int) -> Values:
        valid_time = self.init_times[run_id] + timedelta(hours=lead_hours)
        (store,) = (self.archives / "climatology").glob("*.zarr")
        variable, level = split(field)
        array: Any = open_zarr(store)[SURFACE.get(variable) or ON_LEVELS[variable]]
        index = [valid_time.hour // 6, valid_time.timetuple().tm_yday - 1]
        if level is not None:
            held = np.asarray(open_zarr(store)["level"][:]).tolist()
            index.append(held.index(level))
        return np.asarray(array[tuple(index)], float)

    @property
    def archives(self) -> Path:
        return self.state_dir / "archives"


@cache
def open_zarr(path: Path) -> Any:
    return zarr.open_group(path, mode="r", zarr_format=2)


@cache
def read_grib(path: Path) -> dict[tuple[str, datetime], Values]:
    """Return the fields of a GRIB file by name and valid time, rounded to float32 like scored ones."""
    fields = {}
    with path.open("rb") as file:
        while (message := eccodes.codes_grib_new_from_file(file)) is not None:
            name = eccodes.codes_get(message, "shortName")
            level = eccodes.codes_get(message, "level")
            stamp = f"{eccodes.codes_get(message, 'validityDate')}{eccodes.codes_get(message, 'validityTime'):04d}"
            shape = eccodes.codes_get(message, "Nj"), eccodes.codes_get(message, "Ni")
            values = eccodes.codes_get_values(message).reshape(shape)
            eccodes.codes_release(message)
            if name == "gh":
                name, values = "z", values * GRAVITY
            name = {"prmsl": "msl"}.get(name, name)
            field = f"{name}{level}" if name in ON_LEVELS else name
            time = datetime.strptime(stamp, "%Y%m%d%H%M").replace(tzinfo=UTC)
            fields[field, time] = values.astype(np.float32).astype(float)
    return fields


def split(field: str) -> tuple[str, int | None]:
    return (field, None) if field in SURFACE else (field[0], int(field[1:]))
