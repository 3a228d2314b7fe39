"""A forecast is verified file by file, and the handlers are found by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gaia.tasks.defined_tasks.weather.units import VerifyForecast
from gaia.tasks.defined_tasks.weather.validator.handlers import HANDLERS, resolve
from gaia.validator.utils.errors import MinerFault, TransientError, UnknownHandler, rebuild
from tests.support.forecast_stores import Values, a_field, a_store, metadata_of, packed, put
from tests.support.weather_handlers import forecast_verify, part_of


def spooled(directory: Path, fields: dict[str, Values]) -> dict[str, Any]:
    """Write a store that holds `fields`; return what is needed to verify it."""
    return part_of(a_store(directory, fields), VerifyForecast)


def test_a_true_forecast_is_counted(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field(), "z500": a_field(1)})

    verified = forecast_verify(payload)

    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert verified == {"verified": 4, "bytes": size}


def test_metadata_alone_can_be_verified_before_any_chunk_is_fetched(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field()})
    payload["digests"] = {"2t/.zarray": payload["digests"]["2t/.zarray"]}

    assert forecast_verify(payload)["verified"] == 1


def test_files_that_are_no_array_are_hashed_only(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field()})
    put(tmp_path, payload["digests"], ".zgroup", b'{"zarr_format": 2}')
    put(tmp_path, payload["digests"], "2t/.zattrs", b"anything")

    assert forecast_verify(payload)["verified"] == 4


def test_a_swapped_file_is_the_miners_fault(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field()})
    (tmp_path / "2t/1.0.0").write_bytes(packed(a_field(5)))

    with pytest.raises(MinerFault, match="promised"):
        forecast_verify(payload)


def test_metadata_with_code_in_it_is_the_miners_fault(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field()})
    hostile = {**metadata_of("2t"), "filters": [{"id": "pickle"}]}
    put(tmp_path, payload["digests"], "2t/.zarray", json.dumps(hostile).encode())

    with pytest.raises(MinerFault, match="filters"):
        forecast_verify(payload)


def test_a_chunk_that_is_no_field_is_the_miners_fault(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field()})
    put(tmp_path, payload["digests"], "2t/1.0.0", b"not a frame of blosc at all")

    with pytest.raises(MinerFault, match="blosc"):
        forecast_verify(payload)


def test_a_chunk_without_its_metadata_is_the_miners_fault(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field()})
    del payload["digests"]["2t/.zarray"]

    with pytest.raises(MinerFault, match="zarray is not in the manifest"):
        forecast_verify(payload)


def test_a_file_missing_from_our_spool_is_tried_again(tmp_path: Path) -> None:
    payload = spooled(tmp_path, {"2t": a_field()})
    (tmp_path / "2t/.zarray").unlink()

    with pytest.raises(TransientError, match="spool"):
        forecast_verify(payload)


def test_a_handler_nobody_wrote_is_named_in_the_error() -> None:
    with pytest.raises(UnknownHandler, match=r"weather\.score\.luck"):
        resolve("weather.score.luck")
    assert isinstance(rebuild("UnknownHandler", ""), UnknownHandler)


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_every_handler_can_be_imported(name: str) -> None:
    assert callable(resolve(name))
