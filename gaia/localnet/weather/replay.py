"""The local subnet's weather: real ERA5 frames replayed endlessly, and forecasts of chosen skill."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gaia.localnet.weather.errors import Field, growth, pattern, root_mean_square
from gaia.localnet.weather.pack import PACK, WeatherPack
from gaia.tasks.defined_tasks.weather.variables import GRIDS, split_field

FIRST_FRAME: Final = datetime(2026, 3, 25, tzinfo=UTC)
STEP: Final = timedelta(hours=6)

GFS_ERROR_12H: Final[Mapping[str, float]] = {
    "2t": 1.0,
    "10u": 1.2,
    "10v": 1.2,
    "msl": 80.0,
    "z500": 60.0,
    "z850": 60.0,
    "t500": 0.5,
    "t850": 0.7,
}
"""Root mean square error of GFS at 12 h, in the field's unit."""

_ANALYSIS_SHARE = 0.5
"""Error of the analysis, as a fraction of the forecast error extrapolated to 0 h."""
_GFS_SEED = "gfs"


class WeatherReplay:
    """Fields at any time, made from the frames of a pack.

    Frames are 6 hours apart, start at `FIRST_FRAME`, and are played forward and backward
    (0..23, 23..0), which covers every date. Both end frames are shown twice, so that no even
    number of steps leads back to the same frame. Upper-air fields have too few frames, so
    they are also rotated eastwards by one column (3 degrees) per step.

    All fields are float32 (lat, lon) on a grid of `variables.GRIDS`.
    """

    def __init__(self, path: Path = PACK) -> None:
        self._pack = WeatherPack(path)
        self._frames = lru_cache(maxsize=None)(self._pack.frames)
        self._native_climatology = lru_cache(maxsize=None)(self._mean_frame)
        self._variability = lru_cache(maxsize=None)(self._spread)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that can be replayed."""
        return self._pack.fields

    def truth(self, valid_time: datetime, field: str, grid: str) -> Field:
        """Return the weather at `valid_time`; between two frames, their weighted mean."""
        position = (valid_time - FIRST_FRAME) / STEP
        step = int(np.floor(position))
        native = self._at_step(field, step)
        if position != step:
            later = np.float32(position - step)
            native = (1 - later) * native + later * self._at_step(field, step + 1)
        return refined(native, grid)

    def climatology(self, field: str, grid: str) -> Field:
        """Return the mean of all frames; for a rotated upper-air field, also the mean along latitudes."""
        return refined(self._native_climatology(field), grid)

    def error(self, seed: str, field: str, lead_hours: float, grid: str, scale: float = 1.0) -> Field:
        """Return a forecast error of exactly `scale` times the error of GFS at this lead.

        The pattern depends on `seed` and `field` and changes slowly with the lead. Its
        area-weighted size follows `gfs_error`; over latitudes it follows natural variability.
        """
        shape = pattern(f"{seed}/{field}", lead_hours, grid)
        shape *= refined(self._variability(field), grid)
        size = scale * self.gfs_error(field, lead_hours)
        shape *= size / root_mean_square(shape)
        return shape.astype(np.float32)

    def gfs_error(self, field: str, lead_hours: float) -> float:
        """Return the root mean square error of the simulated GFS, in the field's unit."""
        natural = root_mean_square(self._variability(field))
        return natural * growth(lead_hours, GFS_ERROR_12H[field] / natural)

    def gfs_analysis(self, valid_time: datetime, field: str, grid: str) -> Field:
        """Return the truth with the small error of an analysis."""
        seed = _seed(_GFS_SEED, valid_time)
        return self.truth(valid_time, field, grid) + self.error(seed, field, 0.0, grid, _ANALYSIS_SHARE)

    def gfs_forecast(self, init_time: datetime, lead_hours: int, field: str, grid: str) -> Field:
        """Return the GFS forecast from `init_time`; at lead 0 its analysis."""
        if lead_hours == 0:
            return self.gfs_analysis(init_time, field, grid)
        return self.graded_forecast(init_time, lead_hours, field, grid, _GFS_SEED, 1.0)

    def graded_forecast(
        self, init_time: datetime, lead_hours: int, field: str, grid: str, seed: str, skill: float
    ) -> Field:
        """Return a forecast whose error is `skill` times that of GFS; below 1 is better."""
        valid_time = init_time + timedelta(hours=lead_hours)
        error = self.error(_seed(seed, init_time), field, lead_hours, grid, skill)
        return self.truth(valid_time, field, grid) + error

    def persistence(self, init_time: datetime, field: str, grid: str) -> Field:
        """Return the persistence forecast: the analysis at `init_time`, for every lead."""
        return self.gfs_analysis(init_time, field, grid)

    def _at_step(self, field: str, step: int) -> Field:
        """Return the native field `step` steps after `FIRST_FRAME`; negative is earlier."""
        frames = self._frames(field)
        place = step % (2 * len(frames))
        frame: Field = frames[place if place < len(frames) else 2 * len(frames) - 1 - place]
        if not _is_turned(field):
            return frame
        turned: Field = np.roll(frame, step, axis=1)
        return turned

    def _mean_frame(self, field: str) -> Field:
        mean: npt.NDArray[np.float64] = self._frames(field).mean(axis=0, dtype=np.float64)
        if _is_turned(field):
            mean = np.broadcast_to(mean.mean(axis=1, keepdims=True), mean.shape)
        return mean.astype(np.float32)

    def _spread(self, field: str) -> Field:
        """Return the standard deviation about climatology (lat, lon), constant along each latitude."""
        departures = self._frames(field) - self._native_climatology(field)
        spread = np.sqrt(np.square(departures, dtype=np.float64).mean(axis=(0, 2)))
        return np.broadcast_to(spread[:, None], departures.shape[1:]).astype(np.float32)


def refined(native: Field, grid: str) -> Field:
    """Interpolate (lat, lon) linearly to a grid whose spacing divides the native spacing.

    Raises
    ------
    ValueError
        If it does not divide the native spacing.
    """
    lats, lons = GRIDS[grid]
    factor, rest = divmod(lons, native.shape[1])
    if rest or (native.shape[0] - 1) * factor + 1 != lats:
        raise ValueError(f"cannot refine {native.shape} to grid {grid}")
    if factor == 1:
        return native.astype(np.float32, copy=True)
    share = (np.arange(factor, dtype=np.float32) / np.float32(factor))[None, :, None]
    rows = native[:-1, None, :] + share * (native[1:, None, :] - native[:-1, None, :])
    tall = np.concatenate([rows.reshape(lats - 1, -1), native[-1:]])
    share = share.reshape(1, 1, factor)
    wide: npt.NDArray[np.float32] = tall[:, :, None] + share * (np.roll(tall, -1, axis=1) - tall)[:, :, None]
    return wide.reshape(lats, lons)


def _is_turned(field: str) -> bool:
    return split_field(field)[1] is not None


def _seed(seed: str, moment: datetime) -> str:
    return f"{seed}/{moment.astimezone(UTC):%Y%m%d%H}"
