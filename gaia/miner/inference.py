"""The interface of a weather model, and a persistence model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Analysis = Callable[[datetime], Mapping[str, Field]]
"""Initial time -> initial state, by field name."""


class ForecastField(NamedTuple):
    """One field of a forecast."""

    lead_hours: int
    name: str
    """A field name of `weather.variables`, such as "2t" or "z500"."""
    values: Field
    """(lat 90..-90, lon 0..360-d), SI units."""


class ForecastModel(Protocol):
    """A weather model; it runs in threads, and one instance may serve several forecasts at once."""

    def forecast(self, init_time: datetime, lead_hours: Sequence[int]) -> Iterable[ForecastField]:
        """Yield every field of every lead, in any order."""
        ...


class Persistence:
    """Persistence: forecasts the state at the initial time for every lead.

    Parameters
    ----------
    analysis
        Source of the initial state.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def forecast(self, init_time: datetime, lead_hours: Sequence[int]) -> Iterable[ForecastField]:
        state = self._analysis(init_time)
        for lead in lead_hours:
            for name, values in state.items():
                yield ForecastField(lead, name, values)


def analyses_in(folder: Path, shape: tuple[int, int]) -> Analysis:
    """Return a reader of `folder`/<YYYYMMDDHH>/<field>.f32, raw little-endian float32 of `shape`.

    The reader raises `FileNotFoundError` for a missing time.
    """

    def analysis(init_time: datetime) -> dict[str, Field]:
        state = folder / f"{init_time.astimezone(UTC):%Y%m%d%H}"
        files = sorted(state.glob("*.f32"))
        if not files:
            raise FileNotFoundError(f"no analysis in {state}")
        return {file.stem: np.fromfile(file, "<f4").reshape(shape) for file in files}

    return analysis
