"""Reads the packed ERA5 frames that the local subnet replays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

PACK = Path(__file__).parents[1] / "data" / "era5_1deg.zip"


class _Packed(msgspec.Struct, frozen=True):
    """Scaling of one field: value = integer * `step` + `offset`."""

    shape: tuple[int, ...]
    step: float
    offset: float


class WeatherPack:
    """The fields of one pack, each read on its first use.

    Raises
    ------
    FileNotFoundError
        If the pack is missing; `scripts/generate/weather_pack.py` makes it.
    """

    def __init__(self, path: Path = PACK) -> None:
        self._path = path
        self._header = msgspec.json.decode(self._member("pack.json"), type=dict[str, _Packed])

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, surface first."""
        return tuple(sorted(self._header, key=lambda field: (len(field) > 3, field)))

    def frames(self, field: str) -> npt.NDArray[np.float32]:
        """Return (time, lat, lon), latitudes 90..-90, longitudes from 0 eastwards, in the field's unit.

        Raises
        ------
        KeyError
            If the pack does not hold the field.
        """
        header = self._header[field]
        integers = unpacked(self._member(f"{field}.u16"), header.shape)
        values = integers * header.step + header.offset
        return values.astype(np.float32)

    def _member(self, name: str) -> bytes:
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(name)


def unpacked(content: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    """Return the integers that `packed` of scripts/generate/weather_pack.py has packed."""
    low, high = np.frombuffer(content, np.uint8).reshape(2, *shape).astype(np.uint16)
    folded = (low | (high << 8)).view(np.uint16)
    difference = (folded >> 1) ^ (0 - (folded & 1)).astype(np.uint16)
    return np.cumsum(difference, axis=2, dtype=np.uint16)
