"""The handler of the rollout plan gives the plan's keys, and the plan's numbers, on every grid in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from gaia.tasks.defined_tasks.weather.validator.scoring import handle_day1_scoring
from gaia.validator.utils.errors import MinerFault

GRIDS = [(1, 1), (10, 10), (45, 90), (180, 360), (181, 360), (721, 1440)]
NO_CLIMATOLOGY = "fake/climatology.zarr"
KEYS = {"day1_rmse_2t", "day1_mae_2t", "day1_bias_2t"}

Values = NDArray[np.float32]


def latitudes_of(grid: tuple[int, int]) -> NDArray[np.float64]:
    """From pole to pole; a grid of one point lies on the equator, as in the plan's example."""
    return np.linspace(90.0, -90.0, grid[0]) if grid[0] > 1 else np.zeros(1)


def stored(path: Path, grid: tuple[int, int], values: Values) -> str:
    coords = {"lat": latitudes_of(grid), "lon": np.arange(grid[1]) * (360.0 / grid[1])}
    dataset = xr.Dataset({"2t": (("lat", "lon"), values)}, coords)
    dataset.to_zarr(path, mode="w", consolidated=False, encoding={"2t": {"compressors": None}})
    return str(path)


def rough(grid: tuple[int, int], seed: int) -> Values:
    return np.random.default_rng(seed).normal(280.0, 10.0, grid).astype(np.float32)


def by_hand(grid: tuple[int, int], *fields: Values) -> dict[str, float]:
    """Return the measures as their definitions say, in plain numpy, weighted by the area of the cells."""
    edges = np.concatenate([[90.0], (latitudes_of(grid)[1:] + latitudes_of(grid)[:-1]) / 2, [-90.0]])
    weights = -np.diff(np.sin(np.deg2rad(edges)))[:, None] * np.ones(grid)
    forecast, truth, climatology = (field.astype(np.float64) for field in fields)

    def mean(values: Any) -> float:
        return float(np.sum(weights * values) / np.sum(weights))

    a, b = forecast - climatology, truth - climatology
    a, b = a - mean(a), b - mean(b)
    error = forecast - truth
    spread = (mean(a * a) * mean(b * b)) ** 0.5
    return {
        "day1_rmse_2t": mean(error**2) ** 0.5,
        "day1_mae_2t": mean(abs(error)),
        "day1_bias_2t": mean(error),
        "day1_acc_2t": mean(a * b) / spread if spread else float("nan"),
    }


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_one_kelvin_too_warm_everywhere_is_one_kelvin_of_every_error(
    tmp_path: Path, grid: tuple[int, int]
) -> None:
    miner = stored(tmp_path / "miner.zarr", grid, np.full(grid, 275.0, np.float32))
    gfs = stored(tmp_path / "gfs.zarr", grid, np.full(grid, 274.0, np.float32))

    result = handle_day1_scoring(miner, gfs, NO_CLIMATOLOGY)

    assert result.keys() == KEYS
    assert result == pytest.approx(dict.fromkeys(KEYS, 1.0), rel=1e-12)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_rough_fields_are_measured_as_the_definitions_say(tmp_path: Path, grid: tuple[int, int]) -> None:
    fields = [rough(grid, seed) for seed in range(3)]
    paths = [stored(tmp_path / f"{place}.zarr", grid, field) for place, field in enumerate(fields)]

    result = handle_day1_scoring(*paths)

    assert result == pytest.approx(by_hand(grid, *fields), rel=1e-9, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_one_point_that_is_missing_is_found_wherever_it_is(tmp_path: Path, grid: tuple[int, int]) -> None:
    doped = rough(grid, 1)
    doped[-1, -1] = np.nan
    miner = stored(tmp_path / "miner.zarr", grid, doped)
    gfs = stored(tmp_path / "gfs.zarr", grid, rough(grid, 2))

    with pytest.raises(MinerFault, match="not finite"):
        handle_day1_scoring(miner, gfs, NO_CLIMATOLOGY)
