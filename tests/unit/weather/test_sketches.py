"""Copies are known by the errors they share, whatever noise is put over them and however many there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gaia.tasks.defined_tasks.weather.validator.sketches import (
    COLUMNS,
    ROWS,
    best_mean,
    error_sketch,
    overlaps,
    own_errors,
    sketch_points,
)

BLOCKS, POINTS = 60, 100


class Errors:
    """Errors of models that share most of what they get wrong (block, model, point)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._common = self.noise(1)
        self.gfs = self.models(1)
        self.climatology = 3 * self.noise(1)

    def noise(self, count: int) -> Any:
        return self._rng.standard_normal((BLOCKS, count, POINTS)).astype(np.float32)

    def models(self, count: int) -> Any:
        return np.sqrt(0.8) * self._common + np.sqrt(0.2) * self.noise(count)

    def shared(self, errors: Any) -> Any:
        own = own_errors(errors, np.concatenate([self.gfs, self.climatology], axis=1))
        return overlaps(products(errors), products(own))


def products(errors: Any) -> Any:
    return np.einsum("bip,bjp->ij", errors, errors, dtype=np.float64)


@pytest.fixture
def errors() -> Errors:
    return Errors()


def test_independent_models_share_nothing_however_alike_their_errors(errors: Errors) -> None:
    models = errors.models(20)

    assert np.corrcoef(models[:, 0].ravel(), models[:, 1].ravel())[0, 1] > 0.75
    assert np.array_equal(errors.shared(models), np.eye(20))


def test_equal_forecasts_are_one_work(errors: Errors) -> None:
    models = errors.models(10)
    shared = errors.shared(np.concatenate([models, models[:, :2]], axis=1))

    assert [shared[0, 10], shared[1, 11]] == pytest.approx([1.0, 1.0])
    assert shared[0, 11] == shared[0, 1] == 0.0


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize(("noise", "least"), [(0.05, 0.97), (0.2, 0.7), (0.45, 0.3)])
def test_noise_hides_a_copy_only_as_far_as_it_replaces_the_model(
    errors: Errors, count: int, noise: float, least: float
) -> None:
    copies = errors.models(1) + noise * errors.noise(count)

    shared = errors.shared(np.concatenate([errors.models(20), copies], axis=1))

    among = shared[20:, 20:][~np.eye(count, dtype=bool)]
    assert among.min() > least
    assert shared[:20, 20:].max() == 0.0


def test_what_a_forecast_took_from_public_ones_is_nobodys_own(errors: Errors) -> None:
    models = errors.models(20)
    mixed = 0.4 * models[:, :1] + 0.6 * errors.gfs
    both_public = np.concatenate([0.5 * models[:, 1:3] + 0.5 * errors.gfs, models], axis=1)

    assert errors.shared(np.concatenate([models, mixed], axis=1))[0, 20] > 0.95
    assert errors.shared(both_public)[0, 1] == 0.0


def test_ruining_some_fields_hides_nothing_in_the_others(errors: Errors) -> None:
    model = errors.models(1)
    ruin = np.where(np.arange(BLOCKS) % 10 == 0, 1e6, 0.0).astype(np.float32)[:, None, None]
    copies = model + ruin * errors.noise(5)

    shared = errors.shared(np.concatenate([errors.models(20), copies], axis=1))

    assert shared[20:, 20:].min() > 0.8


def test_a_public_forecast_has_nothing_of_its_own(errors: Errors) -> None:
    public = np.concatenate([errors.gfs, errors.climatology], axis=1)

    assert not own_errors(errors.gfs, public).any()
    assert not own_errors(np.zeros_like(errors.gfs), public).any()


def test_the_order_of_forecasts_says_nothing(errors: Errors) -> None:
    models = np.concatenate([errors.models(10), errors.models(1) + 0.3 * errors.noise(8)], axis=1)
    order = np.random.default_rng(1).permutation(18)

    assert errors.shared(models[:, order]) == pytest.approx(
        errors.shared(models)[np.ix_(order, order)], abs=1e-6
    )


def test_the_best_mean_has_the_least_error() -> None:
    equal, better = np.eye(4), np.diag([1.0, 3.0, 1e9])

    assert best_mean(equal) == pytest.approx([0.25] * 4)
    assert best_mean(better)[:2] == pytest.approx([0.25] * 2, abs=1.0)
    assert best_mean(np.zeros((2, 2))) == pytest.approx([0.5, 0.5])
    assert best_mean(np.zeros((0, 0))).size == 0


GRIDS = [(181, 360), (721, 1440)]


def a_truth(grid: tuple[int, int], seed: int = 0) -> Any:
    return np.full(grid, 250.0 + seed, np.float32)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_sketch_is_the_weighted_error_on_an_even_thin_set_of_points(grid: tuple[int, int]) -> None:
    latitudes = np.broadcast_to(np.linspace(90, -90, grid[0])[:, None], grid)
    truth = np.zeros(grid, np.float32)

    sketch = error_sketch(latitudes.astype(np.float32), truth).reshape(ROWS, COLUMNS)

    rows = 90 - np.arange(ROWS) * 4 - sketch_points(truth).rows.start * 180 / (grid[0] - 1)
    assert sketch[:, 0] == pytest.approx(rows * np.sqrt(np.cos(np.radians(rows))), abs=1e-4)
    assert (sketch == sketch[:, :1]).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_where_errors_are_looked_at_is_drawn_from_the_truth(grid: tuple[int, int]) -> None:
    step = grid[1] // COLUMNS
    drawn = {
        (at.rows.start, at.columns.start) for at in (sketch_points(a_truth(grid, seed)) for seed in range(60))
    }

    assert len(drawn) > 0.6 * min(60, step * step)
    assert {0, step - 1} <= {first for both in drawn for first in both}
    assert sketch_points(a_truth(grid)).rows == sketch_points(a_truth(grid)).rows


@pytest.mark.parametrize("grid", GRIDS)
def test_every_row_and_column_that_can_be_drawn_lies_on_the_grid(grid: tuple[int, int]) -> None:
    for seed in range(40):
        assert error_sketch(a_truth(grid, seed + 1), a_truth(grid, seed)).shape == (ROWS * COLUMNS,)
