"""GRIB files of made-up fields, and what the handlers make of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
from numpy.typing import NDArray

from tests.support.weather_handlers import gfs_compute, verification_compute

INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
VALID_TIME = INIT_TIME + timedelta(hours=12)


def a_field(mean: float = 280.0, shape: tuple[int, int] = (181, 360)) -> NDArray[np.float32]:
    """A field no two points of which are equal, smallest at the north pole at 0 east."""
    return (mean + np.linspace(0.0, 10.0, shape[0] * shape[1])).reshape(shape).astype(np.float32)


def decode_gfs(folder: Path, content: bytes, fields: list[str], **changed: Any) -> dict[str, Any]:
    (folder / "gfs").write_bytes(content)
    payload = {
        "grid": "1.0",
        "source_path": str(folder / "gfs"),
        "fields": fields,
        "init_time": INIT_TIME.isoformat(),
        "lead_hours": 12,
        "out_dir": str(folder / "fields"),
    }
    return gfs_compute(payload | changed)


def decode_era5(
    folder: Path, content: bytes, fields: list[str], valid_time: datetime = VALID_TIME, **changed: Any
) -> dict[str, Any]:
    (folder / "era5").write_bytes(content)
    return verification_compute(
        {
            "kind": "era5",
            "grid": "1.0",
            "source_path": str(folder / "era5"),
            "fields": fields,
            "valid_time": valid_time.isoformat(),
            "out_dir": str(folder / "fields"),
        }
        | changed
    )


def stored(value: dict[str, Any], name: str) -> NDArray[np.float32]:
    return np.fromfile(value["fields"][name]["path"], "<f4").reshape(181, 360)


def altered(content: bytes, *, flip: bool = False, **keys: object) -> bytes:
    """Return a message with `keys` set, and its rows in opposite order where asked."""
    message = eccodes.codes_new_from_message(content)
    values = eccodes.codes_get_values(message)
    for key, value in keys.items():
        eccodes.codes_set(message, key, value)
    if flip:
        values = values.reshape(181, 360)[::-1].ravel()
    eccodes.codes_set_values(message, values)
    result: bytes = eccodes.codes_get_message(message)
    eccodes.codes_release(message)
    return result
