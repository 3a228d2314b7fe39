"""A field that cannot be what it is called is refused; no weather is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gaia.localnet.archives.grib import era5_file, gfs_file
from gaia.localnet.weather.replay import FIRST_FRAME, STEP, WeatherReplay
from gaia.tasks.defined_tasks.weather.validator.copies.likeness import require_likely
from gaia.validator.utils.errors import OwnFailure, TransientError
from tests.support.gribs import INIT_TIME, VALID_TIME, decode_era5, decode_gfs

REPLAY = WeatherReplay()
FIELDS = REPLAY.fields


def weather(field: str, step: int = 2) -> NDArray[np.float32]:
    return REPLAY.truth(FIRST_FRAME + step * STEP, field, "1.0")


def climatology(field: str) -> NDArray[np.float32]:
    return REPLAY.climatology(field, "1.0")


@pytest.mark.parametrize("field", FIELDS)
def test_all_weather_there_is_passes(field: str) -> None:
    for step in range(24):
        require_likely(field, weather(field, step), climatology(field))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("lead_hours", [0, 12, 120, 240])
def test_forecasts_of_the_local_subnet_pass(field: str, lead_hours: int) -> None:
    for day in range(3):
        init_time = FIRST_FRAME + timedelta(days=day)
        forecast = REPLAY.gfs_forecast(init_time, lead_hours, field, "1.0")
        require_likely(field, forecast, climatology(field))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("warmer", [-1, 1])
def test_a_globe_far_from_its_climatology_passes(field: str, warmer: int) -> None:
    usual = climatology(field)
    require_likely(field, weather(field) + warmer * 0.15 * usual.std(), usual)


@pytest.mark.parametrize("field", FIELDS)
def test_a_constant_field_is_refused(field: str) -> None:
    with pytest.raises(TransientError, match="cannot have mean"):
        require_likely(field, np.full((181, 360), climatology(field).mean()), climatology(field))


@pytest.mark.parametrize(
    ("field", "other"),
    [("t500", "t850"), ("t850", "t500"), ("z500", "z850"), ("z850", "z500"), ("2t", "t500")],
)
def test_another_level_is_refused(field: str, other: str) -> None:
    with pytest.raises(TransientError, match="cannot have mean"):
        require_likely(field, weather(other), climatology(field))


@pytest.mark.parametrize(
    ("field", "factor", "offset"),
    [
        ("z500", 1 / 9.80665, 0.0),
        ("2t", 1.0, -273.15),
        ("t850", 1.8, -459.67),
        ("msl", 0.01, 0.0),
        ("10u", 1.94384, 0.0),
        ("10v", 1.94384, 0.0),
    ],
)
def test_another_unit_is_refused(field: str, factor: float, offset: float) -> None:
    with pytest.raises(TransientError, match="cannot have mean"):
        require_likely(field, weather(field) * factor + offset, climatology(field))


@pytest.mark.parametrize("field", ["2t", "msl", "t500", "t850", "z500", "z850"])
def test_a_field_upside_down_is_refused(field: str) -> None:
    for step in range(24):
        with pytest.raises(TransientError, match=r"upside down|cannot have mean"):
            require_likely(field, weather(field, step)[::-1], climatology(field))


def test_high_up_a_warming_may_turn_the_hemispheres_round() -> None:
    usual = climatology("t850")

    require_likely("t50", usual[::-1], usual)
    with pytest.raises(TransientError, match="upside down"):
        require_likely("t300", usual[::-1], usual)


def test_moisture_high_up_may_be_the_same_all_over() -> None:
    usual = climatology("t850")

    require_likely("q50", np.full_like(usual, 3e-6), usual)
    with pytest.raises(TransientError, match="cannot have mean"):
        require_likely("q850", np.full_like(usual, 3e-6), usual)


@pytest.mark.parametrize("source", ["gfs", "era5"])
def test_handlers_hold_fields_against_the_climatology_they_are_given(tmp_path: Path, source: str) -> None:
    usual = tmp_path / "t850.f32"
    climatology("t850").astype("<f4").tofile(usual)

    def decode(values: NDArray[np.float32], **payload: Any) -> dict[str, Any]:
        if source == "gfs":
            content = gfs_file({"t850": values}, INIT_TIME, 12).content
            return decode_gfs(tmp_path, content, ["t850"], **payload)
        return decode_era5(tmp_path, era5_file([("t850", VALID_TIME, values)]), ["t850"], **payload)

    given = {"climatology": {"t850": str(usual), "z500": "not asked for"}}
    assert list(decode(weather("t850"), **given)["fields"]) == ["t850"]
    assert list(decode(weather("t500"))["fields"]) == ["t850"]
    with pytest.raises(TransientError, match="t850 cannot have mean 258"):
        decode(weather("t500"), **given)
    usual.write_bytes(b"cut")
    with pytest.raises(OwnFailure):
        decode(weather("t850"), **given)
