"""Copies are known by the errors they share, whatever noise is put over them and however many there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gaia.tasks.defined_tasks.weather.rules.base import Component
from gaia.tasks.defined_tasks.weather.rules.gaia_next import WORST, public_skill
from gaia.tasks.defined_tasks.weather.validator.copies.sketches import (
    COLUMNS,
    ERROR_LIMIT,
    ROWS,
    best_mean,
    error_sketch,
    in_units,
    overlaps,
    residual_errors,
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

    @property
    def public(self) -> Any:
        return np.concatenate([self.gfs, self.climatology], axis=1)

    @property
    def unit(self) -> Any:
        return np.square(self.public, dtype=np.float64).sum(axis=-1).min(axis=-1)[:, None, None]

    def whole(self, errors: Any) -> Any:
        return in_units(errors, self.public, self.unit)

    def shared(self, errors: Any) -> Any:
        return overlaps(products(self.whole(errors)), products(residual_errors(errors, self.public)))


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


@pytest.mark.parametrize("size", [10.0, 1e6])
def test_one_wrecked_field_of_one_forecast_hides_no_crowd(errors: Errors, size: float) -> None:
    crowd = np.concatenate([errors.models(20), errors.models(1) + 0.45 * errors.noise(40)], axis=1)
    wrecker = errors.models(1)
    unharmed = errors.shared(np.concatenate([crowd, wrecker], axis=1))
    wrecker[0] *= size

    shared = errors.shared(np.concatenate([crowd, wrecker], axis=1))

    assert shared[:60, :60] == pytest.approx(unharmed[:60, :60], abs=1e-3)
    assert shared[20:60, 20:60].min() > 0.3


def test_copies_that_each_wreck_many_fields_do_not_become_the_best_mean(errors: Errors) -> None:
    wrecked = np.where(np.arange(BLOCKS) < 0.4 * BLOCKS, 1e3, 0.0).astype(np.float32)[:, None, None]
    copies = errors.models(1) + 0.2 * errors.noise(40) + wrecked * errors.noise(40)
    everybody = np.concatenate([errors.models(20), copies], axis=1)

    shared = errors.shared(everybody)

    assert best_mean(products(errors.whole(everybody)))[20:].sum() < 0.05
    assert shared[20:, 20:].min() > 0.25
    assert np.array_equal(shared[:20, :20], np.eye(20))


def test_errors_of_ordinary_size_count_as_they_are(errors: Errors) -> None:
    models = errors.models(20)
    scaled = models / np.sqrt(errors.unit)

    ordinary = np.square(scaled).sum(axis=-1) <= ERROR_LIMIT

    assert ordinary.mean() > 0.9
    assert np.array_equal(errors.whole(models)[ordinary], scaled[ordinary])
    assert not errors.whole(np.zeros_like(models)).any()


@pytest.mark.parametrize("size", [1.0, 1.5, 3.0, 1e3, 1e12])
def test_no_field_counts_for_more_than_a_few_units(errors: Errors, size: float) -> None:
    models = np.concatenate([errors.models(5), errors.gfs, errors.climatology], axis=1)

    squares = np.square(errors.whole(np.float32(size) * models)).sum(axis=-1)

    assert squares.max() <= 3.125 + 1e-9


def test_errors_fade_into_public_ones_where_the_score_of_a_field_ends(errors: Errors) -> None:
    model = errors.models(1) / np.sqrt(errors.unit)
    model /= np.linalg.norm(model, axis=-1, keepdims=True)
    below, above = (
        errors.whole(np.sqrt(ERROR_LIMIT * part * errors.unit) * model) for part in (1.0, 1.0 + 1e-9)
    )
    best = errors.gfs / np.linalg.norm(errors.gfs, axis=-1, keepdims=True)

    assert below == pytest.approx(above, abs=1e-7)
    assert errors.whole(1e9 * model) == pytest.approx(np.sqrt(ERROR_LIMIT) * best, abs=1e-6)


def test_the_bound_of_a_field_is_where_its_score_ends() -> None:
    measured = Component(
        field="2t",
        lead_hours=24,
        mse=ERROR_LIMIT,
        mse_gfs=1.0,
        rmse=1.0,
        mae=1.0,
        bias=0.0,
        acc=None,
        skill_climatology=None,
    )

    assert public_skill(measured) == 1.0 - ERROR_LIMIT == WORST


def test_a_public_forecast_has_nothing_of_its_own(errors: Errors) -> None:
    assert not residual_errors(errors.gfs, errors.public).any()
    assert not residual_errors(np.zeros_like(errors.gfs), errors.public).any()


def test_the_order_of_forecasts_says_nothing(errors: Errors) -> None:
    models = np.concatenate([errors.models(10), errors.models(1) + 0.3 * errors.noise(8)], axis=1)
    order = np.random.default_rng(1).permutation(18)

    assert errors.shared(models[:, order]) == pytest.approx(
        errors.shared(models)[np.ix_(order, order)], abs=1e-6
    )


def test_the_best_mean_has_the_least_error() -> None:
    equal, better = np.eye(4), np.diag([1.0, 3.0, 1e9])

    assert best_mean(equal) == pytest.approx([0.25] * 4)
    assert best_mean(better) == pytest.approx([0.75, 0.25, 0.0], abs=1e-6)
    assert best_mean(np.zeros((2, 2))) == pytest.approx([0.5, 0.5])
    assert best_mean(np.zeros((0, 0))).size == 0


def test_a_forecast_whose_errors_are_not_known_is_not_taken_for_perfect() -> None:
    assert best_mean(np.diag([0.0, 1.0, 3.0])) == pytest.approx([0.0, 0.75, 0.25], abs=1e-6)


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
