"""Reference fields: what is decoded, how it is oriented, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gaia.localnet.archives.grib import era5_file, gfs_file
from gaia.tasks.defined_tasks.weather.validator.physical_units import STANDARD_GRAVITY
from gaia.tasks.defined_tasks.weather.validator.reading.climatology_store import ClimatologyReader
from gaia.tasks.defined_tasks.weather.validator.reference import digest_of
from gaia.validator.utils.errors import TransientError
from tests.support.gribs import (
    INIT_TIME,
    VALID_TIME,
    a_field,
    altered,
    decode_era5,
    decode_gfs,
    stored,
)
from tests.support.weather_handlers import gfs_compute


def test_fields_come_out_north_first_in_float32_with_their_digests(tmp_path: Path) -> None:
    content = gfs_file({"2t": a_field(), "u250": a_field(20.0)}, INIT_TIME, 12).content

    value = decode_gfs(tmp_path, content, ["2t", "u250"])

    assert np.abs(stored(value, "2t") - a_field()).max() < 1e-3
    assert np.abs(stored(value, "u250") - a_field(20.0)).max() < 1e-3
    file = Path(value["fields"]["2t"]["path"])
    assert value["fields"]["2t"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert value["digest"] == digest_of({n: e["sha256"] for n, e in value["fields"].items()})


def test_height_of_gfs_becomes_geopotential(tmp_path: Path) -> None:
    content = gfs_file({"z500": a_field(5500.0 * STANDARD_GRAVITY)}, INIT_TIME, 12).content

    value = decode_gfs(tmp_path, content, ["z500"])

    assert stored(value, "z500")[0, 0] == pytest.approx(53936.6, abs=0.2)


def test_era5_holds_geopotential_as_it_is(tmp_path: Path) -> None:
    content = era5_file([("z500", VALID_TIME, a_field(54000.0)), ("msl", VALID_TIME, a_field(1e5))])

    value = decode_era5(tmp_path, content, ["msl", "z500"])

    assert stored(value, "z500")[0, 0] == pytest.approx(54000.0, abs=0.1)
    assert stored(value, "msl")[0, 0] == pytest.approx(1e5, abs=0.2)


def test_rows_from_south_to_north_are_turned(tmp_path: Path) -> None:
    content = altered(
        era5_file([("2t", VALID_TIME, a_field())]),
        flip=True,
        jScansPositively=1,
        latitudeOfFirstGridPointInDegrees=-90.0,
        latitudeOfLastGridPointInDegrees=90.0,
    )

    value = decode_era5(tmp_path, content, ["2t"])

    assert np.abs(stored(value, "2t") - a_field()).max() < 1e-3


def test_messages_of_other_fields_are_passed_over(tmp_path: Path) -> None:
    fields = {"2t": a_field(), "t850": a_field(), "t500": a_field()}
    content = gfs_file(fields, INIT_TIME, 12).content
    unknown = altered(gfs_file({"t850": a_field()}, INIT_TIME, 12).content, parameterNumber=6)

    value = decode_gfs(tmp_path, unknown + content, ["t500"])

    assert list(value["fields"]) == ["t500"]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"lead_hours": 18}, "not of 2026-03-25T00 for 2026-03-25T18"),
        ({"init_time": "2026-03-24T12:00:00+00:00", "lead_hours": 24}, "of 2026-03-25T00"),
        ({"grid": "0.25"}, "another grid"),
        ({"fields": ["2t", "msl", "10u"]}, "lacks 10u, msl"),
    ],
)
def test_file_that_is_not_what_was_asked_for_is_refused(
    tmp_path: Path, changed: dict[str, Any], complaint: str
) -> None:
    content = gfs_file({"2t": a_field()}, INIT_TIME, 12).content

    with pytest.raises(TransientError, match=complaint):
        decode_gfs(tmp_path, content, changed.pop("fields", ["2t"]), **changed)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"centre": "ecmf"}, "of ecmf"),
        ({"longitudeOfFirstGridPointInDegrees": 10.0}, "another grid"),
        ({"iScansNegatively": 1}, "another grid"),
        ({"scaledValueOfFirstFixedSurface": 80}, "lacks 2t"),
    ],
)
def test_message_with_another_identity_is_refused(
    tmp_path: Path, keys: dict[str, Any], complaint: str
) -> None:
    content = altered(gfs_file({"2t": a_field()}, INIT_TIME, 12).content, **keys)

    with pytest.raises(TransientError, match=complaint):
        decode_gfs(tmp_path, content, ["2t"])


def test_field_held_twice_is_refused(tmp_path: Path) -> None:
    content = gfs_file({"2t": a_field()}, INIT_TIME, 12).content

    with pytest.raises(TransientError, match="twice"):
        decode_gfs(tmp_path, content * 2, ["2t"])


def test_impossible_weather_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="ranges from 20 to 30 K"):
        decode_era5(tmp_path, era5_file([("2t", VALID_TIME, a_field(20.0))]), ["2t"])


def test_era5_of_another_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="ERA5 file holds 2t of 2026-03-25T12"):
        decode_era5(tmp_path, era5_file([("2t", VALID_TIME, a_field())]), ["2t"], INIT_TIME)


def test_cut_file_is_refused(tmp_path: Path) -> None:
    content = era5_file([("2t", VALID_TIME, a_field())])

    with pytest.raises(TransientError, match="cannot be read"):
        decode_era5(tmp_path, content[: len(content) // 2], ["2t"])


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot be read"):
        gfs_compute(
            {
                "grid": "1.0",
                "source_path": str(tmp_path / "none"),
                "fields": ["2t"],
                "init_time": INIT_TIME.isoformat(),
                "lead_hours": 12,
                "out_dir": str(tmp_path),
            }
        )


class Store:
    """A small zarr v2 store, written array by array, uncompressed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.metadata: dict[str, dict[str, Any]] = {}

    def add(
        self, name: str, dimensions: list[str], values: NDArray[Any], chunks: list[int], **more: object
    ) -> None:
        self.metadata[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": dimensions}
        self.metadata[f"{name}/.zarray"] = {
            "shape": list(values.shape),
            "chunks": chunks,
            "dtype": values.dtype.str,
            "compressor": None,
            "filters": None,
            "order": "C",
        } | more
        (self.directory / name).mkdir(parents=True)
        for place in np.ndindex(*(-(-n // c) for n, c in zip(values.shape, chunks, strict=True))):
            part = values[tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunks, strict=True))]
            chunk = np.zeros(chunks, values.dtype)
            chunk[tuple(slice(0, n) for n in part.shape)] = part
            (self.directory / name / ".".join(map(str, place))).write_bytes(chunk.tobytes())

    def reader(self) -> ClimatologyReader:
        (self.directory / ".zmetadata").write_text(json.dumps({"metadata": self.metadata}))
        return ClimatologyReader(self.directory)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two hours and two days of a fine grid, longitude first and latitudes upward."""
    made = Store(tmp_path)
    made.add("hour", ["hour"], np.array([0, 12]), [2])
    made.add("dayofyear", ["dayofyear"], np.array([31, 32]), [2])
    made.add("latitude", ["latitude"], np.linspace(-90, 90, 361), [361])
    made.add("longitude", ["longitude"], np.arange(720) / 2 - 180, [720])
    lon, lat = np.meshgrid(np.arange(720) / 2 - 180, np.linspace(-90, 90, 361), indexing="ij")
    base = (250 + lat / 10 + (lon % 360) / 100).astype("<f4")
    values = np.stack([np.stack([base + 10 * day + 20 * hour for day in (0, 1)]) for hour in (0, 1)])
    dimensions = ["hour", "dayofyear", "longitude", "latitude"]
    made.add("2m_temperature", dimensions, values, [1, 1, 500, 361])
    return made


def test_climatology_in_any_orientation_comes_out_north_first(store: Store) -> None:
    field = store.reader().field("2t", datetime(2026, 2, 1, 18, tzinfo=UTC), "1.0")

    lat, lon = np.linspace(90, -90, 181)[:, None], np.arange(360)[None, :]
    assert np.allclose(field, 280 + lat / 10 + lon / 100, atol=1e-3)


def test_climatology_takes_the_hour_before(store: Store) -> None:
    morning, noon = (
        store.reader().field("2t", datetime(2026, 1, 31, hour, tzinfo=UTC), "1.0") for hour in (11, 12)
    )

    assert np.allclose(noon - morning, 20.0, atol=1e-3)


def test_climatology_that_lacks_the_day_is_refused(store: Store) -> None:
    with pytest.raises(TransientError, match="lacks dayofyear 33"):
        store.reader().field("2t", datetime(2026, 2, 2, tzinfo=UTC), "1.0")


def test_climatology_on_a_coarser_grid_is_refused(store: Store) -> None:
    with pytest.raises(TransientError, match="lacks latitude"):
        store.reader().field("2t", datetime(2026, 2, 1, tzinfo=UTC), "0.25")


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"compressor": {"id": "pickle"}}, "not read here"),
        ({"filters": [{"id": "delta"}]}, "not read here"),
        ({"dtype": "|O"}, "not read here"),
        ({"order": "F"}, "not read here"),
        ({"shape": [2, 2, 720]}, "not read here"),
        ({"compressor": {"id": "blosc", "cname": "lz4"}}, "climatology chunk"),
    ],
)
def test_array_in_an_unexpected_form_is_refused(
    store: Store, changed: dict[str, Any], complaint: str
) -> None:
    store.metadata["2m_temperature/.zarray"] |= changed

    with pytest.raises(TransientError, match=complaint):
        store.reader().field("2t", datetime(2026, 2, 1, tzinfo=UTC), "1.0")


def test_missing_array_chunk_or_store_is_refused(store: Store, tmp_path: Path) -> None:
    moment = datetime(2026, 2, 1, tzinfo=UTC)

    with pytest.raises(TransientError, match="does not describe geopotential"):
        store.reader().field("z500", moment, "1.0")
    (tmp_path / "2m_temperature/0.1.1.0").unlink()
    with pytest.raises(TransientError, match="climatology chunk"):
        store.reader().field("2t", moment, "1.0")
    with pytest.raises(TransientError, match="metadata cannot be read"):
        ClimatologyReader(tmp_path / "none")


def test_coordinates_must_be_lines_and_fields_planes(store: Store) -> None:
    store.metadata["2m_temperature/.zattrs"]["_ARRAY_DIMENSIONS"] = ["hour", "dayofyear", "x", "y"]
    with pytest.raises(TransientError, match="has dimensions"):
        store.reader().field("2t", datetime(2026, 2, 1, tzinfo=UTC), "1.0")

    store.metadata["2m_temperature/.zattrs"]["_ARRAY_DIMENSIONS"] = [
        "hour",
        "dayofyear",
        "longitude",
        "latitude",
    ]
    store.add("grid", ["a", "b"], np.zeros((2, 2)), [2, 2])
    store.metadata["hour/.zarray"] |= {"shape": [1, 2], "chunks": [1, 2]}
    store.metadata["hour/.zattrs"] = {"_ARRAY_DIMENSIONS": ["hour", "x"]}
    with pytest.raises(TransientError, match="coordinate hour"):
        store.reader().field("2t", datetime(2026, 2, 1, tzinfo=UTC), "1.0")


def test_units_scale_and_offset_that_a_store_states_are_honoured(store: Store) -> None:
    moment = datetime(2026, 2, 1, tzinfo=UTC)
    plain = store.reader().field("2t", moment, "1.0")

    store.metadata["2m_temperature/.zattrs"] |= {"units": "K", "scale_factor": 2, "add_offset": -250.0}
    packed = store.reader().field("2t", moment, "1.0")

    assert np.allclose(packed, 2 * plain - 250, atol=1e-3)


@pytest.mark.parametrize("unit", ["degC", "m s**-1", "kelvins"])
def test_climatology_in_another_unit_is_refused(store: Store, unit: str) -> None:
    store.metadata["2m_temperature/.zattrs"]["units"] = unit

    with pytest.raises(TransientError, match=f"in {re.escape(unit)}, not in K"):
        store.reader().field("2t", datetime(2026, 2, 1, tzinfo=UTC), "1.0")


@pytest.mark.parametrize("hours", [[6, 18], [12, 24], [0, 6], [12, 0]])
def test_hours_that_are_not_evenly_spaced_from_midnight_are_refused(tmp_path: Path, hours: list[int]) -> None:
    store = Store(tmp_path)
    store.add("hour", ["hour"], np.array(hours), [2])
    store.add("dayofyear", ["dayofyear"], np.array([32]), [1])
    store.add("latitude", ["latitude"], np.linspace(90, -90, 181), [181])
    store.add("longitude", ["longitude"], np.arange(360.0), [360])
    values = np.full((2, 1, 181, 360), 280, "<f4")
    store.add("2m_temperature", ["hour", "dayofyear", "latitude", "longitude"], values, [1, 1, 181, 360])

    with pytest.raises(TransientError, match="given for the hours"):
        store.reader().field("2t", datetime(2026, 2, 1, 18, tzinfo=UTC), "1.0")


def test_coordinates_longer_than_the_array_are_refused(store: Store) -> None:
    store.metadata["2m_temperature/.zarray"] |= {"shape": [2, 2, 720, 300]}

    with pytest.raises(TransientError, match="300 of 361 latitude"):
        store.reader().field("2t", datetime(2026, 2, 1, tzinfo=UTC), "1.0")
