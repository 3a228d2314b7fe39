"""Names the sums that the kernel makes of one row, in their order."""

from __future__ import annotations

from typing import NamedTuple

LANES = 16
"""Partial sums of a row: lane 3 takes columns 3, 19, 35 ..."""


class TruthSums(NamedTuple):
    """Sums without the forecast: o is the truth, c climatology, g the GFS forecast, s one value of the truth.

    Subtracting s keeps the sums of fields far from zero small, and therefore exact.
    """

    truth: float
    """o - s"""
    climatology: float
    """c - o"""
    gfs: float
    """g - o"""
    climatology_squared: float
    gfs_squared: float
    climatology_gfs: float
    """(c - o)(g - o)"""
    gfs_centred_squared: float
    """(g - s)^2"""


class PersistenceSums(NamedTuple):
    """Sums with p, the truth at the initial time."""

    squared: float
    """(p - o)^2"""
    climatology: float
    """(p - o)(c - o)"""
    gfs: float
    """(p - o)(g - o)"""


class ForecastSums(NamedTuple):
    """Sums with one forecast f."""

    error: float
    """f - o"""
    absolute: float
    squared: float
    anomaly_squared: float
    """(f - c)^2"""
    gfs_distance: float
    """(f - g)^2"""
    centred_squared: float
    """(f - s)^2"""
