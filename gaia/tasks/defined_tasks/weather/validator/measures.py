"""Computes all measures of one field of one forecast from sums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from gaia.tasks.defined_tasks.weather.validator import kernel
from gaia.tasks.defined_tasks.weather.validator.areas import (
    Floats,
    Weighting,
    area_weights,
    cosine_weights,
    row_weights,
)
from gaia.tasks.defined_tasks.weather.validator.blends import best_blend
from gaia.tasks.defined_tasks.weather.validator.kernel import (
    ForecastSums,
    PersistenceSums,
    Table,
    TruthSums,
    Values,
)
from gaia.tasks.defined_tasks.weather.variables import GRIDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Measures = Literal["gaia-2.9", "plain"]
"""Ways to measure.

gaia-2.9: means are weighted by cos(lat). The skills over climatology and GFS are those of the
forecast corrected by its *unweighted* mean error, which uses the truth. The reference is not
corrected. The truth plus a constant therefore has skill 1. All other measures are of the
forecast as given.

plain: means are weighted by area; every skill is that of the forecast as given.
"""
WEIGHTINGS: dict[Measures, Weighting] = {"gaia-2.9": "cos", "plain": "area"}

LEAST_DEVIATION = 1e-12
"""Weighted standard deviation of a field below which its correlations are undefined."""
_LEAST_SHARE = 1e-13
"""Fraction of the mean square below which a variance is only rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldComponents:
    """All measures of one field at one lead; None if undefined or not requested.

    They are in the field's unit; `mse`, `clone_distance` and ``mse_<reference>`` (errors of the
    references) in its square. Correlations are in [-1, 1], skills at most 1. Tests compare each
    measure with its formula.
    """

    rmse: float
    mse: float
    mae: float
    bias: float
    error_sd: float
    acc: float | None
    acc_uncentred: float | None
    skill_climatology: float | None
    skill_gfs: float | None
    skill_persistence: float | None
    skill_blend: float | None
    activity: float | None
    pattern_correlation: float | None
    clone_distance: float | None
    mse_climatology: float
    mse_gfs: float | None
    mse_persistence: float | None
    mse_blend: float | None


class References:
    """Reference fields for forecasts of one field at one time; their sums are computed once.

    Parameters
    ----------
    truth, climatology : float array, shape (lat, lon)
        One variable in one unit, on an even grid from 90 to -90 degrees north including both
        poles. float32 is summed in float64.
    gfs, persistence : float array, shape (lat, lon), optional
        The GFS forecast for the same lead, and the analysis at the initial time. Measures that
        need a missing one are None.
    latitudes : float array, shape (lat,), optional
        Degrees north, for another grid.
    """

    def __init__(
        self,
        truth: Values,
        climatology: Values,
        gfs: Values | None = None,
        persistence: Values | None = None,
        latitudes: Floats | None = None,
    ) -> None:
        given = [field for field in (truth, climatology, gfs, persistence) if field is not None]
        is_single = all(field.dtype == np.float32 for field in given)
        self._kind = np.dtype(np.float32 if is_single else np.float64)
        self._truth, self._climatology = self._plain(truth), self._plain(climatology)
        self._has_gfs = gfs is not None
        self._gfs = self._climatology if gfs is None else self._plain(gfs)
        self._persistence = None if persistence is None else self._plain(persistence)
        self._latitudes = latitudes
        self._sums: Table | None = None
        self._persistence_sums: Table | None = None

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self._truth.shape
        return rows, columns

    def damaged(self) -> str | None:
        """Return the name of the first reference field with a value that is not finite; None if all are finite."""
        truth = TruthSums(*kernel.weigh(self.sums(), _ones(self.shape[0])))
        found = {
            "truth": truth.truth,
            "climatology": truth.climatology,
            "baseline": truth.gfs if self._has_gfs else 0.0,
        }
        if self._persistence is not None:
            table = self.persistence_sums()
            found["persistence"] = kernel.weigh(table, _ones(self.shape[0]))[0]
        return next((name for name, value in found.items() if not math.isfinite(value)), None)

    def compare(self, forecast: Values) -> Comparison:
        """Sum one forecast in one pass; the first call also sums the reference fields."""
        if forecast.shape != self.shape:
            raise ValueError(f"a field of shape {forecast.shape} is none of {self.shape}")
        if forecast.dtype != np.float32 and self._kind == np.float32:
            self._widen()
        fields = (self._plain(forecast), self._truth, self._climatology, self._gfs)
        if self._sums is None:
            of_forecast, self._sums = kernel.sum_both(*fields)
        else:
            of_forecast = kernel.sum_forecast(*fields)
        return Comparison(self, of_forecast)

    def sums(self) -> Table:
        """Return the table of `kernel.sum_truth`."""
        if self._sums is None:
            self._sums = kernel.sum_truth(self._truth, self._climatology, self._gfs)
        return self._sums

    def persistence_sums(self) -> Table:
        """Return the table of `kernel.sum_persistence`; only valid if persistence was given."""
        assert self._persistence is not None
        if self._persistence_sums is None:
            self._persistence_sums = kernel.sum_persistence(
                self._truth, self._climatology, self._gfs, self._persistence
            )
        return self._persistence_sums

    def errors(self, weighting: Weighting) -> tuple[TruthSums, dict[str, float | None]]:
        """Return the truth's means, and the mean squared error of each reference and of their blend."""
        truth = TruthSums(*self.means(self.sums(), weighting))
        gram = {("climatology", "climatology"): truth.climatology_squared}
        if self._has_gfs:
            gram |= {("gfs", "gfs"): truth.gfs_squared, ("climatology", "gfs"): truth.climatology_gfs}
        if self._persistence is not None:
            means = PersistenceSums(*self.means(self.persistence_sums(), weighting))
            gram |= {("persistence", "persistence"): means.squared}
            gram |= {("climatology", "persistence"): means.climatology}
            if self._has_gfs:
                gram |= {("gfs", "persistence"): means.gfs}
        errors: dict[str, float | None] = {
            name: gram.get((name, name)) for name in ("climatology", "gfs", "persistence")
        }
        return truth, errors | {"blend": best_blend(gram)}

    def means(self, table: Table, weighting: Weighting) -> list[float]:
        """Return the weighted means of a table of sums, column by column."""
        rows, columns = self.shape
        if self._latitudes is None:
            weights = row_weights(rows, weighting)
        else:
            shares = (area_weights if weighting == "area" else cosine_weights)(self._latitudes)
            weights = shares / shares.sum()
        return [value / columns for value in kernel.weigh(table, weights)]

    def _widen(self) -> None:
        """Convert to float64, so that a forecast with more digits is not rounded."""
        self._kind = np.dtype(np.float64)
        self._truth, self._climatology, self._gfs = map(
            self._plain, (self._truth, self._climatology, self._gfs)
        )
        if self._persistence is not None:
            self._persistence = self._plain(self._persistence)

    def _plain(self, field: Values) -> Values:
        return np.ascontiguousarray(field, self._kind).view(np.ndarray)


class Comparison:
    """Sums of one forecast of a field."""

    def __init__(self, references: References, table: Table) -> None:
        self._references = references
        self._table = table
        rows, columns = references.shape
        # Sums with all row weights 1; a NaN or an infinity anywhere stays visible in them.
        self._mean_error = kernel.weigh(table, _ones(rows))[0] / (rows * columns)

    @property
    def is_finite(self) -> bool:
        """Whether every value of the forecast is finite; the reference fields must be."""
        return math.isfinite(self._mean_error)

    @property
    def minimum(self) -> float:
        return float(self._table[:, -2].min())

    @property
    def maximum(self) -> float:
        return float(self._table[:, -1].max())

    def components(self, measures: Measures = "gaia-2.9") -> FieldComponents:
        """Return all measures in the way that `measures` names."""
        weighting = WEIGHTINGS[measures]
        truth, errors = self._references.errors(weighting)
        means = self._references.means(self._table, weighting)
        sums = ForecastSums(*means[: len(ForecastSums._fields)])
        skilled = sums.squared
        if measures == "gaia-2.9":
            corrected = sums.squared - 2 * self._mean_error * sums.error + self._mean_error**2
            skilled = max(corrected, 0.0)
        anomalies = _Moments.of_anomalies(sums, truth)
        has_gfs = errors["gfs"] is not None
        return FieldComponents(
            rmse=math.sqrt(sums.squared),
            mse=sums.squared,
            mae=sums.absolute,
            bias=sums.error,
            error_sd=math.sqrt(max(sums.squared - sums.error**2, 0.0)),
            acc=anomalies.correlation(),
            acc_uncentred=anomalies.uncentred_correlation(),
            skill_climatology=skill(skilled, errors["climatology"]),
            skill_gfs=skill(skilled, errors["gfs"]),
            skill_persistence=skill(sums.squared, errors["persistence"]),
            skill_blend=skill(sums.squared, errors["blend"]),
            activity=anomalies.activity(),
            pattern_correlation=_Moments.of_patterns(sums, truth).correlation() if has_gfs else None,
            clone_distance=sums.gfs_distance if has_gfs else None,
            mse_climatology=truth.climatology_squared,
            mse_gfs=errors["gfs"],
            mse_persistence=errors["persistence"],
            mse_blend=errors["blend"],
        )


def field_components(
    forecast: NDArray[np.floating],
    truth: NDArray[np.floating],
    climatology: NDArray[np.floating],
    baseline: NDArray[np.floating] | None = None,
    persistence: NDArray[np.floating] | None = None,
    measures: Measures = "gaia-2.9",
) -> FieldComponents:
    """Measure one field of a forecast against the truth.

    Parameters
    ----------
    forecast, truth, climatology, baseline, persistence : float array, shape (lat, lon)
        As for `References`; `baseline` is the GFS forecast. All values are finite.
    measures
        Way to measure.
    """
    return References(truth, climatology, baseline, persistence).compare(forecast).components(measures)


def skill(mse: float, mse_reference: float | None) -> float | None:
    """Return ``1 - mse / mse_reference``; None if there is no reference or it is perfect.

    Examples
    --------
    >>> skill(1.0, 4.0), skill(4.0, 4.0), skill(1.0, 0.0)
    (0.75, 0.0, None)
    """
    return 1.0 - mse / mse_reference if mse_reference is not None and mse_reference > 0 else None


def warm_up() -> None:
    """Compute the weights of every grid, and run every compiled pass once."""
    for latitudes, _ in GRIDS.values():
        field = np.zeros((latitudes, 2), np.float32)
        references = References(field, field, field, field)
        references.sums()
        for _ in range(2):
            compared = references.compare(field)
            for measures in WEIGHTINGS:
                compared.components(measures)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Means, mean squares and mean product of two fields."""

    mean: float
    other_mean: float
    square: float
    other_square: float
    product: float

    @classmethod
    def of_anomalies(cls, sums: ForecastSums, truth: TruthSums) -> _Moments:
        """Return the moments of f - c and o - c; the square of the error, their difference, gives their product."""
        square, other = sums.anomaly_squared, truth.climatology_squared
        product = (square + other - sums.squared) / 2
        return cls(sums.error - truth.climatology, -truth.climatology, square, other, product)

    @classmethod
    def of_patterns(cls, sums: ForecastSums, truth: TruthSums) -> _Moments:
        """Return the moments of f - s and g - s; the clone distance is the size of their difference."""
        square, other = sums.centred_squared, truth.gfs_centred_squared
        product = (square + other - sums.gfs_distance) / 2
        return cls(sums.error + truth.truth, truth.gfs + truth.truth, square, other, product)

    def correlation(self) -> float | None:
        variance, other = self._variance(), self._other_variance()
        if not (variance and other):
            return None
        covariance = self.product - self.mean * self.other_mean
        return min(1.0, max(-1.0, covariance / (math.sqrt(variance) * math.sqrt(other))))

    def uncentred_correlation(self) -> float | None:
        if min(self.square, self.other_square) < LEAST_DEVIATION**2:
            return None
        return min(1.0, max(-1.0, self.product / (math.sqrt(self.square) * math.sqrt(self.other_square))))

    def activity(self) -> float | None:
        other = self._other_variance()
        return math.sqrt(self._variance() / other) if other else None

    def _variance(self) -> float:
        return _variance(self.square, self.mean)

    def _other_variance(self) -> float:
        return _variance(self.other_square, self.other_mean)


def _variance(square: float, mean: float) -> float:
    """Return the variance, or 0 if it is only rounding."""
    variance = square - mean * mean
    return variance if variance > max(_LEAST_SHARE * square, LEAST_DEVIATION**2) else 0.0


@cache
def _ones(rows: int) -> NDArray[np.float64]:
    return np.ones(rows)
