"""Makes realistic forecast errors: smooth, larger where weather varies, growing with lead time."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gaia.tasks.defined_tasks.weather.variables import GRIDS

Field = npt.NDArray[np.float32]

_WAVES = 32
"""Largest total wavenumber of an error; corresponds to about 600 km."""
_PEAK_WAVE = 8.0
"""Total wavenumber of the largest errors, at synoptic scales."""
_PATTERN_PERIOD_HOURS = 960.0
"""Period of the patterns; a pattern becomes unrelated within a quarter of it, 10 days."""

_FIRST_DAY_HOURS = 12.0
_LAST_HOURS = 240.0
_LAST_FRACTION = 0.9
"""Error of GFS at `_LAST_HOURS`, as a fraction of natural variability."""


def pattern(seed: str, lead_hours: float, grid: str) -> npt.NDArray[np.float64]:
    """Return a smooth random field (lat, lon), statistically homogeneous on the sphere.

    It is a sum of spherical harmonics, so the poles are single points. Equal arguments give
    equal bits; neighbouring leads give similar fields.
    """
    angle = 2.0 * math.pi * lead_hours / _PATTERN_PERIOD_HOURS
    first, second = _coefficients(seed)
    coefficients = first * math.cos(angle) + second * math.sin(angle)
    legendre = _legendre(grid)
    lats, lons = GRIDS[grid]
    # einsum, not matmul, because a BLAS may add in another order on another machine.
    waves = np.zeros((lats, lons // 2 + 1), np.complex128)
    waves[:, : _WAVES + 1].real = np.einsum("mjl,ml->jm", legendre, coefficients.real)
    waves[:, : _WAVES + 1].imag = np.einsum("mjl,ml->jm", legendre, coefficients.imag)
    return np.fft.irfft(waves, n=lons, axis=1, norm="forward")


def growth(lead_hours: float, first_fraction: float) -> float:
    """Return the error of GFS as a fraction of natural variability.

    It is logistic in the lead: `first_fraction` at 12 h, 0.9 at 240 h, never above 1.
    """
    start, end = _logit(first_fraction), _logit(_LAST_FRACTION)
    slope = (end - start) / (_LAST_HOURS - _FIRST_DAY_HOURS)
    return 1.0 / (1.0 + math.exp(-(start + slope * (lead_hours - _FIRST_DAY_HOURS))))


def area_weights(lats: int) -> npt.NDArray[np.float64]:
    """Return row weights (lat, 1) with which the mean of weights x field is the global mean."""
    cosines = np.clip(np.cos(np.radians(np.linspace(90.0, -90.0, lats))), 0.0, None)
    weights: npt.NDArray[np.float64] = (cosines / cosines.mean())[:, None]
    return weights


def root_mean_square(field: npt.NDArray[np.floating]) -> float:
    """Return the area-weighted root mean square of (lat, lon)."""
    return math.sqrt(float((area_weights(field.shape[0]) * np.square(field, dtype=np.float64)).mean()))


def _coefficients(seed: str) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
    """Return two independent sets (order m, degree l) with the spectrum of a forecast error."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "little"))
    orders, degrees = np.mgrid[0 : _WAVES + 1, 0 : _WAVES + 1]
    amplitude = degrees / (1.0 + (degrees / _PEAK_WAVE) ** 3)
    amplitude = np.where((degrees >= orders) & (degrees > 0), amplitude, 0.0)
    drawn = rng.standard_normal((4, _WAVES + 1, _WAVES + 1)) * amplitude
    drawn[1::2, 0] = 0.0
    return drawn[0] + 1j * drawn[1], drawn[2] + 1j * drawn[3]


@lru_cache(maxsize=2)
def _legendre(grid: str) -> npt.NDArray[np.float64]:
    """Return normalised associated Legendre functions (order m, lat, degree l)."""
    sines = np.sin(np.radians(np.linspace(90.0, -90.0, GRIDS[grid][0])))
    cosines = np.sqrt(np.clip(1.0 - sines**2, 0.0, None))
    table = np.zeros((_WAVES + 1, sines.size, _WAVES + 1))
    sectoral = np.ones_like(sines)
    for m in range(_WAVES + 1):
        if m:
            sectoral = sectoral * cosines * math.sqrt((2 * m + 1) / (2 * m))
        table[m, :, m] = sectoral
        if m < _WAVES:
            table[m, :, m + 1] = sines * math.sqrt(2 * m + 3) * sectoral
        for degree in range(m + 2, _WAVES + 1):
            a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
            b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
            table[m, :, degree] = a * (sines * table[m, :, degree - 1] - b * table[m, :, degree - 2])
    return table


def _logit(fraction: float) -> float:
    return math.log(fraction / (1.0 - fraction))
