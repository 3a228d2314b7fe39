"""The pack of real fields: what the script writes, the reader gets back."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gaia.localnet.weather.pack import WeatherPack, unpacked
from tests.support.repository import SCRIPTS

SCRIPT = SCRIPTS / "generate" / "weather_pack.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("weather_pack", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_integers_survive_packing_over_their_whole_range(script: ModuleType) -> None:
    rng = np.random.default_rng(1)
    integers = rng.integers(0, 65536, (3, 5, 7), np.uint16)
    integers[0, 0, :4] = 0, 65535, 0, 32768

    assert np.array_equal(unpacked(script.packed(integers), (3, 5, 7)), integers)


def test_values_come_back_within_half_a_rounding_step(script: ModuleType, tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(280, 20, (2, 4, 6)).astype(np.float32)

    script.write_pack(tmp_path / "pack.zip", {"2t": (values, 0.01)})
    pack = WeatherPack(tmp_path / "pack.zip")

    assert pack.fields == ("2t",)
    assert np.abs(pack.frames("2t") - values).max() < 0.0051


def test_same_frames_make_the_same_pack(script: ModuleType, tmp_path: Path) -> None:
    frames = {"msl": (np.full((1, 2, 2), 1e5), 1.0)}

    for name in ("one", "two"):
        script.write_pack(tmp_path / name, frames)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_frames_are_turned_north_first_and_eastwards_from_0(script: ModuleType) -> None:
    lat, lon = np.array([-90.0, 0.0, 90.0]), np.array([-180.0, -90.0, 0.0, 90.0])
    frames = np.arange(12.0).reshape(1, 3, 4)

    assert script.oriented(frames, lat, lon)[0].tolist() == [[10, 11, 8, 9], [6, 7, 4, 5], [2, 3, 0, 1]]


def test_source_with_gaps_is_refused(script: ModuleType) -> None:
    frames = np.full((1, 2, 1), np.nan)

    with pytest.raises(ValueError, match="cover the globe"):
        script.oriented(frames, np.array([90.0, -90.0]), np.array([0.0]))


def test_field_that_is_not_packed_is_unknown() -> None:
    with pytest.raises(KeyError):
        WeatherPack().frames("q500")
