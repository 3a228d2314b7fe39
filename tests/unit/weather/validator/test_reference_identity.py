"""A message is taken for a field only if everything it says of itself fits, and no point is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest

from gaia.localnet.archives.grib import era5_file, gfs_file
from gaia.tasks.defined_tasks.weather.validator.physical_units import STANDARD_GRAVITY
from gaia.validator.utils.errors import TransientError
from tests.support.gribs import INIT_TIME, VALID_TIME, a_field, altered, decode_era5, decode_gfs, stored

GEOPOTENTIAL = a_field(5500.0 * STANDARD_GRAVITY)
MISSING = 9999.0


def gfs_message(lead_hours: int = 12) -> bytes:
    return gfs_file({"z500": GEOPOTENTIAL}, INIT_TIME, lead_hours).content


def era5_message(field: str = "2t") -> bytes:
    return era5_file([(field, VALID_TIME, a_field())])


def with_points_missing(content: bytes, points: int, **keys: object) -> bytes:
    """Return a message whose first `points` are marked as missing, in the way `keys` choose."""
    message = eccodes.codes_new_from_message(content)
    values = eccodes.codes_get_values(message)
    values[:points] = MISSING
    for key, value in {**keys, "missingValue": MISSING}.items():
        eccodes.codes_set(message, key, value)
    eccodes.codes_set_values(message, values)
    result: bytes = eccodes.codes_get_message(message)
    eccodes.codes_release(message)
    return result


@pytest.mark.parametrize("packing", ["grid_complex", "grid_complex_spatial_differencing"])
def test_points_that_packing_marks_as_missing_are_refused(tmp_path: Path, packing: str) -> None:
    content = with_points_missing(gfs_message(), 5000, packingType=packing, missingValueManagementUsed=1)

    with pytest.raises(TransientError, match="z500 with 5000 points missing"):
        decode_gfs(tmp_path, content, ["z500"])


def test_points_that_a_bitmap_leaves_out_are_refused(tmp_path: Path) -> None:
    content = with_points_missing(gfs_message(), 5000, bitmapPresent=1, packingType="grid_simple")

    with pytest.raises(TransientError, match="z500 with 5000 points missing"):
        decode_gfs(tmp_path, content, ["z500"])


@pytest.mark.parametrize(
    "keys",
    [
        {"missingValueManagementUsed": 1},
        {"bitmapPresent": 1, "packingType": "grid_simple"},
    ],
)
def test_marks_of_missing_points_of_which_there_are_none_do_no_harm(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    content = with_points_missing(gfs_message(), 0, **keys)

    value = decode_gfs(tmp_path, content, ["z500"])

    assert np.abs(stored(value, "z500") - GEOPOTENTIAL).max() < 1.0


def test_a_value_that_happens_to_be_9999_is_weather(tmp_path: Path) -> None:
    heights = np.linspace(9990.0, 10010.0, 181 * 360).reshape(181, 360).astype(np.float32)
    content = gfs_file({"z300": heights * STANDARD_GRAVITY}, INIT_TIME, 12).content

    value = decode_gfs(tmp_path, content, ["z300"])

    assert np.isfinite(stored(value, "z300")).all()


@pytest.mark.parametrize("template", [1, 2, 8, 11, 12])
def test_gfs_of_an_ensemble_or_over_a_period_is_refused(tmp_path: Path, template: int) -> None:
    content = altered(gfs_message(), productDefinitionTemplateNumber=template)

    with pytest.raises(TransientError, match=f"over a period .template {template}"):
        decode_gfs(tmp_path, content, ["z500"])


@pytest.mark.parametrize(("lead_hours", "kind"), [(12, 0), (12, 3), (12, 4), (0, 4)])
def test_gfs_of_another_kind_of_run_is_refused(tmp_path: Path, lead_hours: int, kind: int) -> None:
    content = altered(gfs_message(lead_hours), typeOfProcessedData=kind)

    with pytest.raises(TransientError, match="z500 of dataType"):
        decode_gfs(tmp_path, content, ["z500"], lead_hours=lead_hours)


@pytest.mark.parametrize("kind", [0, 1])
def test_gfs_at_its_start_may_be_called_analysis_or_forecast(tmp_path: Path, kind: int) -> None:
    content = altered(gfs_message(0), typeOfProcessedData=kind)

    assert list(decode_gfs(tmp_path, content, ["z500"], lead_hours=0)["fields"]) == ["z500"]


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("class", "od", "class od"),
        ("type", "fc", "type fc"),
        ("type", "em", "type em"),
        ("stream", "enda", "stream enda"),
        ("stream", "moda", "stream moda"),
        ("expver", "0002", "expver 0002"),
        ("perturbationNumber", 3, "number 3"),
        ("deleteLocalDefinition", 1, "class unknown"),
    ],
)
def test_field_of_ecmwf_that_is_not_the_reanalysis_is_refused(
    tmp_path: Path, key: str, value: int | str, complaint: str
) -> None:
    keys: dict[str, Any] = {key: value}
    content = altered(era5_message(), **keys)

    with pytest.raises(TransientError, match=complaint):
        decode_era5(tmp_path, content, ["2t"])


@pytest.mark.parametrize("version", ["0001", "0005"])
def test_version_of_era5_is_recorded(tmp_path: Path, version: str) -> None:
    content = altered(era5_message(), expver=version)

    value = decode_era5(tmp_path, content, ["2t"])

    assert value["fields"]["2t"]["expver"] == version


def test_gfs_has_no_version_to_record(tmp_path: Path) -> None:
    assert set(decode_gfs(tmp_path, gfs_message(), ["z500"])["fields"]["z500"]) == {"path", "sha256"}


HALF_GLOBE = {
    "latitudeOfLastGridPointInDegrees": 0.0,
    "longitudeOfLastGridPointInDegrees": 179.5,
    "iDirectionIncrementInDegrees": 0.5,
    "jDirectionIncrementInDegrees": 0.5,
}


@pytest.mark.parametrize(
    "keys",
    [
        HALF_GLOBE,
        {"longitudeOfLastGridPointInDegrees": 360.0},
        {"latitudeOfLastGridPointInDegrees": -89.0},
        {"iDirectionIncrementInDegrees": 2.0},
        {"jDirectionIncrementInDegrees": 0.5},
    ],
)
@pytest.mark.parametrize(
    "decode",
    [
        lambda folder, keys: decode_gfs(folder, altered(gfs_message(), **keys), ["z500"]),
        lambda folder, keys: decode_era5(folder, altered(era5_message(), **keys), ["2t"]),
    ],
)
def test_grid_with_the_right_first_corner_but_another_extent_is_refused(
    tmp_path: Path, keys: dict[str, float], decode: Callable[[Path, dict[str, float]], object]
) -> None:
    with pytest.raises(TransientError, match="on another grid"):
        decode(tmp_path, keys)


@pytest.mark.parametrize("keys", [{"yearOfCentury": 0, "month": 0}, {"day": 0}, {"hour": 25}])
def test_date_that_is_none_is_refused_by_name(tmp_path: Path, keys: dict[str, Any]) -> None:
    content = altered(era5_message(), **keys)

    with pytest.raises(TransientError):
        decode_era5(tmp_path, content, ["2t"])


def test_fields_are_named_by_what_they_hold(tmp_path: Path) -> None:
    first = decode_gfs(tmp_path, gfs_message(), ["z500"])["fields"]["z500"]
    before = Path(first["path"]).read_bytes()

    other = gfs_file({"z500": GEOPOTENTIAL + 100}, INIT_TIME, 12).content
    second = decode_gfs(tmp_path, other, ["z500"])["fields"]["z500"]

    assert first["path"] != second["path"]
    assert Path(first["path"]).read_bytes() == before
