"""Models of the local subnet's miners: the replayed weather with errors of a given size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from gaia.miner.inference import Field, ForecastField, ForecastModel

if TYPE_CHECKING:
    from gaia.localnet.weather.replay import WeatherReplay

KEPT_BITS = 16
NAN_SHARE = 0.0005
_MANTISSA_BITS = 23

Compute = Callable[[datetime, int, str], Field]
"""(initial time, lead in hours, field name) -> forecast field."""


class ReplayModel:
    """Forecasts the surface fields one by one, with `KEPT_BITS` of their mantissa.

    Rounding away digits that carry no information halves the size of a store
    (Kloewer et al., 2021, doi:10.1038/s43588-021-00156-2).
    """

    def __init__(self, fields: Sequence[str], compute: Compute) -> None:
        self._fields = tuple(fields)
        self._compute = compute

    def forecast(self, init_time: datetime, lead_hours: Sequence[int]) -> Iterable[ForecastField]:
        for lead in lead_hours:
            for name in self._fields:
                yield ForecastField(lead, name, bit_rounded(self._compute(init_time, lead, name)))


class Doped:
    """Another model's forecast in which a few cells are NaN."""

    def __init__(self, model: ForecastModel, seed: int) -> None:
        self._model = model
        self._seed = seed

    def forecast(self, init_time: datetime, lead_hours: Sequence[int]) -> Iterable[ForecastField]:
        for field in self._model.forecast(init_time, lead_hours):
            values = field.values.copy()
            text = f"{self._seed}/{init_time.isoformat()}/{field.name}/{field.lead_hours}"
            rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
            values.flat[rng.choice(values.size, max(1, round(values.size * NAN_SHARE)), replace=False)] = (
                np.nan
            )
            yield field._replace(values=values)


def graded(replay: WeatherReplay, fields: Sequence[str], grid: str, seed: int, skill: float) -> ReplayModel:
    """Return a model whose errors are `skill` times those of GFS."""

    def compute(init_time: datetime, lead: int, name: str) -> Field:
        return replay.graded_forecast(init_time, lead, name, grid, f"miner/{seed}", skill)

    return ReplayModel(fields, compute)


def persistence(replay: WeatherReplay, fields: Sequence[str], grid: str) -> ReplayModel:
    """Return a persistence model."""
    return ReplayModel(fields, lambda init_time, _lead, name: replay.persistence(init_time, name, grid))


def gfs_clone(replay: WeatherReplay, fields: Sequence[str], grid: str) -> ReplayModel:
    """Return a model that copies the GFS forecast."""
    return ReplayModel(fields, lambda init_time, lead, name: replay.gfs_forecast(init_time, lead, name, grid))


def hindsight(replay: WeatherReplay, init_time: datetime, lead: int, name: str, grid: str) -> Field:
    """Return a model that knows the truth, for a miner that cheats."""
    return bit_rounded(replay.truth(init_time + timedelta(hours=lead), name, grid))


def bit_rounded(values: Field, kept_bits: int = KEPT_BITS) -> Field:
    """Round float32 values to `kept_bits` of mantissa, ties away from zero; NaN may not be among them."""
    dropped = _MANTISSA_BITS - kept_bits
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(1 << (dropped - 1))) >> np.uint32(dropped)) << np.uint32(dropped)
    return rounded.view(np.float32)
