"""The handlers of the weather task as workers call them: from a payload to a value, both plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gaia.tasks.defined_tasks.weather import units
from gaia.tasks.defined_tasks.weather.validator.handlers import resolve

gfs_compute = resolve(units.DecodeGfs.handler)
verification_compute = resolve(units.DecodeVerification.handler)
forecast_verify = resolve(units.VerifyForecast.handler)
describe_forecast = resolve(units.DescribeForecast.handler)
score_day1 = resolve(units.ScoreDay1.handler)
score_era5_final = resolve(units.ScoreFinal.handler)
score_batch = resolve(units.ScoreBatch.handler)
compute_gram_matrix = resolve(units.ComputeGramMatrix.handler)
pairwise_overlaps = resolve(units.FindOverlaps.handler)


def part_of(payload: Mapping[str, Any], unit: type[units.Unit]) -> dict[str, Any]:
    """Return those members of `payload` that `unit` knows."""
    names = {field.name for field in msgspec.structs.fields(unit)}
    return {name: value for name, value in payload.items() if name in names}
