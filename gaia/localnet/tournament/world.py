"""The weather of a tournament: truths, and errors of public forecasts and honest miners, on few points."""

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
"""Error of the best and of the worst honest model, relative to that of GFS."""
COMMON: Final = 0.8
"""Fraction of an error's variance that all models share, including GFS."""
UNSTEADY: Final = 0.03
"""Spread of a model's error between runs, leads and fields."""
HARDNESS: Final = 0.15
"""Standard deviation of the logarithm of a run's difficulty, which is the same for all miners."""
PATTERNS: Final = 200
SHAPE: Final = (10, 20)
"""Numbers of latitudes and longitudes of the points, 18 degrees apart, without the poles."""

_GRID, _FIRST_ROW, _STEP = "1.0", 9, 18


@dataclass(frozen=True, slots=True)
class Weather:
    """Truth and climatology of many runs, weighted so that sums over the last axis are area means."""

    truth: Array
    """(run, lead, field, point)."""
    at_start: Array
    """Truth at the initial time (run, field, point)."""
    usual: Array
    """Climatology (field, point)."""
    variance: Array
    """Mean squared anomaly of the truth (field,)."""
    gfs_size: Array
    """Root mean square error of GFS in a run of usual difficulty (lead, field)."""
    library: Array
    """Error patterns of unit size, larger where a field varies more (field, pattern, point)."""
    weights: Array
    """Square root of each point's share of the area (point,); the squares sum to 1."""


@dataclass(slots=True)
class World:
    """All data that one seed of a tournament decides. All errors are (run, lead, field, point)."""

    rng: np.random.Generator
    weather: Weather
    runs: int
    skills: npt.NDArray[np.float64]
    """Error of each honest miner's model, relative to that of GFS."""
    hardness: Array = field(init=False)
    common: Array = field(init=False)
    gfs: Array = field(init=False)
    honest: Array = field(init=False)
    """Errors of the honest miners (miner, run, lead, field, point)."""
    commits: npt.NDArray[np.float64] = field(init=False)
    """Hours after the start at which each honest miner commits (miner,)."""

    def __post_init__(self) -> None:
        drawn = self.rng.standard_normal(self.runs)
        self.hardness = np.exp(HARDNESS * drawn - HARDNESS**2).astype(np.float32)
        self.common = self.noise()
        self.gfs = self.raw_error(1.0)
        self.honest = np.stack([self.calibrated(self.raw_error(skill), skill) for skill in self.skills])
        self.commits = self.rng.uniform(0.0, 1.0, len(self.skills))

    def noise(self) -> Array:
        """Return new random error patterns of unit size."""
        shape = (self.runs, len(LEADS), len(FIELDS), 1, self.weather.library.shape[1])
        mixed = (self.rng.standard_normal(shape, np.float32) @ self.weather.library)[..., 0, :]
        return normalised(mixed)

    def raw_error(self, skill: float) -> Array:
        """Return errors `skill` times those of GFS, most of which all models share."""
        mixed = normalised(np.sqrt(COMMON) * self.common + np.sqrt(1.0 - COMMON) * self.noise())
        unsteady = 1.0 + UNSTEADY * self.rng.standard_normal((*mixed.shape[:-1], 1), np.float32)
        return mixed * unsteady * np.float32(skill) * self.size

    def calibrated(self, error: Array, skill: float, by: float = 1.0) -> Array:
        """Return the errors after the forecast is drawn towards climatology to minimise their mean square.

        Less skill needs a larger step; `by` is the fraction of the step that is taken.
        """
        kept = self.weather.variance / (self.weather.variance + (skill * self.weather.gfs_size) ** 2)
        return self.blended(error, 1.0 - by * (1.0 - kept)[None, :, :, None])

    def blended(self, error: Array, kept: npt.ArrayLike) -> Array:
        """Return the errors of a mix: the fraction `kept` of a forecast, and climatology for the rest."""
        share = np.asarray(kept, np.float32)
        return share * error + (1.0 - share) * self.climatology

    def constant_error(self, parts: float) -> Array:
        """Return a constant error of `parts` times the error of GFS at 12 h."""
        sizes = np.array([GFS_ERROR_12H[name] for name in FIELDS], np.float32)[:, None]
        return np.broadcast_to(parts * sizes * self.weather.weights, self.gfs.shape).astype(np.float32)

    @property
    def size(self) -> Array:
        """Root mean square error of GFS (run, lead, field, 1)."""
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
    """Return the world of a seed, with honest miners of evenly spaced skill."""
    return World(np.random.default_rng(seed), weather_of(runs), runs, np.linspace(BEST, WORST, honest))


def normalised(fields: Array) -> Array:
    """Return the fields scaled to unit size."""
    scaled: Array = fields / np.sqrt(np.square(fields).sum(axis=-1, keepdims=True))
    return scaled


@cache
def weather_of(runs: int) -> Weather:
    """Return daily runs of replayed weather on points 18 degrees apart, with error patterns."""
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
