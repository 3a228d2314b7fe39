"""The weather a tournament is played over: truths, public forecasts and honest miners, as errors on few points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from gaia.localnet.weather.errors import pattern
from gaia.localnet.weather.replay import FIRST_FRAME, GFS_ERROR_12H, WeatherReplay

Array = npt.NDArray[np.float32]

FIELDS: Final = ("2t", "msl", "10u", "10v", "z500")
DAY1_LEAD: Final = 12
FINAL_LEADS: Final = (24, 120, 240)
LEADS: Final = (DAY1_LEAD, *FINAL_LEADS)

BEST, WORST = 0.80, 1.05
"""Error of the best and of the worst honest model, in that of GFS."""
COMMON: Final = 0.8
"""Part of an error's variance that all models share, GFS too."""
UNSTEADY: Final = 0.03
"""How much a model's error differs from one run, lead and field to the next."""
HARDNESS: Final = 0.15
"""Spread of the logarithm of how hard a run is, for all alike."""
PATTERNS: Final = 200
SHAPE: Final = (10, 20)
"""Latitudes and longitudes of the points, 18 degrees apart, without the poles."""

_GRID, _FIRST_ROW, _STEP = "1.0", 9, 18


@dataclass(frozen=True, slots=True)
class Weather:
    """Truth and climatology of many runs; points weighted so that a sum over the last axis is an area mean."""

    truth: Array
    """(run, lead, field, point)."""
    at_start: Array
    """(run, field, point)."""
    usual: Array
    """Climatology (field, point)."""
    variance: Array
    """Mean square of truth about climatology (field,)."""
    gfs_size: Array
    """Root mean square error of GFS in a run of usual hardness (lead, field)."""
    library: Array
    """Error patterns of unit size, larger where the field varies more (field, pattern, point)."""
    weights: Array
    """Root of each point's share of the area (point,); its squares sum to 1."""


@dataclass(slots=True)
class World:
    """Everything one seed of a tournament decides. All errors are (run, lead, field, point)."""

    rng: np.random.Generator
    weather: Weather
    runs: int
    skills: npt.NDArray[np.float64]
    """Error of each honest miner's model, in that of GFS."""
    hardness: Array = field(init=False)
    common: Array = field(init=False)
    gfs: Array = field(init=False)
    honest: Array = field(init=False)
    """(miner, run, lead, field, point)."""
    commits: npt.NDArray[np.float64] = field(init=False)
    """When each honest miner binds itself, in hours after the start (miner,)."""

    def __post_init__(self) -> None:
        drawn = self.rng.standard_normal(self.runs)
        self.hardness = np.exp(HARDNESS * drawn - HARDNESS**2).astype(np.float32)
        self.common = self.noise()
        self.gfs = self.raw_error(1.0)
        self.honest = np.stack([self.calibrated(self.raw_error(skill), skill) for skill in self.skills])
        self.commits = self.rng.uniform(0.0, 1.0, len(self.skills))

    def noise(self) -> Array:
        """Return fresh error patterns of unit size."""
        shape = (self.runs, len(LEADS), len(FIELDS), 1, self.weather.library.shape[1])
        mixed = (self.rng.standard_normal(shape, np.float32) @ self.weather.library)[..., 0, :]
        return normalised(mixed)

    def raw_error(self, skill: float) -> Array:
        """Return the errors of a model `skill` times as large as those of GFS, most of them common to all."""
        mixed = normalised(np.sqrt(COMMON) * self.common + np.sqrt(1.0 - COMMON) * self.noise())
        unsteady = 1.0 + UNSTEADY * self.rng.standard_normal((*mixed.shape[:-1], 1), np.float32)
        return mixed * unsteady * np.float32(skill) * self.size

    def calibrated(self, error: Array, skill: float, by: float = 1.0) -> Array:
        """Return the errors after the forecast is drawn towards climatology so that its mean square is least.

        The further the less skill there is; `by` is the part of the way that is gone.
        """
        kept = self.weather.variance / (self.weather.variance + (skill * self.weather.gfs_size) ** 2)
        return self.blended(error, 1.0 - by * (1.0 - kept)[None, :, :, None])

    def blended(self, error: Array, kept: npt.ArrayLike) -> Array:
        """Return the errors of `kept` parts of a forecast and the rest climatology."""
        share = np.asarray(kept, np.float32)
        return share * error + (1.0 - share) * self.climatology

    def constant_error(self, parts: float) -> Array:
        """Return `parts` times the error of GFS at 12 h, everywhere alike."""
        sizes = np.array([GFS_ERROR_12H[name] for name in FIELDS], np.float32)[:, None]
        return np.broadcast_to(parts * sizes * self.weather.weights, self.gfs.shape).astype(np.float32)

    @property
    def size(self) -> Array:
        """Size of the error of GFS (run, lead, field, 1)."""
        return (self.hardness[:, None, None] * self.weather.gfs_size)[..., None]

    @property
    def climatology(self) -> Array:
        return self.weather.usual[None, None] - self.weather.truth

    @property
    def persistence(self) -> Array:
        return self.weather.at_start[:, None] - self.weather.truth

    @property
    def blend(self) -> Array:
        """Return the errors of GFS drawn towards climatology."""
        return self.calibrated(self.gfs, 1.0)


def world_of(seed: int, runs: int, honest: int) -> World:
    """Return the world of a seed, with honest miners of evenly graded skill."""
    return World(np.random.default_rng(seed), weather_of(runs), runs, np.linspace(BEST, WORST, honest))


def normalised(fields: Array) -> Array:
    """Return the fields scaled to unit size."""
    scaled: Array = fields / np.sqrt(np.square(fields).sum(axis=-1, keepdims=True))
    return scaled


@cache
def weather_of(runs: int) -> Weather:
    """Return a run a day of replayed weather on every 18th degree, and patterns of forecast errors on it."""
    replay = WeatherReplay()
    starts = [FIRST_FRAME + timedelta(days=day) for day in range(runs)]
    weights = _thinned(np.broadcast_to(np.cos(np.radians(np.linspace(90, -90, 181)))[:, None], (181, 360)))
    weights = np.sqrt(weights / weights.sum()).astype(np.float32)
    usual = np.stack([_thinned(replay.climatology(name, _GRID)) for name in FIELDS]) * weights
    at_start = _frames(replay, starts) * weights
    later = [[start + timedelta(hours=lead) for lead in LEADS] for start in starts]
    truth = np.stack([_frames(replay, times) for times in later]) * weights
    departure = np.square(truth - usual)
    library = np.stack([_thinned(pattern(f"tournament/{n}", 0.0, _GRID)) for n in range(PATTERNS)])
    spread = np.sqrt((departure / weights**2).mean(axis=(0, 1)))
    return Weather(
        truth=truth,
        at_start=at_start,
        usual=usual,
        variance=departure.sum(axis=-1).mean(axis=(0, 1)),
        gfs_size=np.array([[replay.gfs_error(name, lead) for name in FIELDS] for lead in LEADS], np.float32),
        library=(library[None] * spread[:, None] * weights).astype(np.float32),
        weights=weights,
    )


def _frames(replay: WeatherReplay, times: Sequence[datetime]) -> Array:
    return np.stack(
        [np.stack([_thinned(replay.truth(time, name, _GRID)) for name in FIELDS]) for time in times]
    )


def _thinned(whole: npt.NDArray[np.floating]) -> Array:
    return whole[_FIRST_ROW::_STEP, ::_STEP].astype(np.float32).ravel()
