"""Handlers score what is whole, blame whoever is at fault, and never skip a point."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from gaia.tasks.defined_tasks.weather.rules import Component
from gaia.tasks.defined_tasks.weather.units import DescribeForecast
from gaia.tasks.defined_tasks.weather.validator.measures import field_components
from gaia.tasks.defined_tasks.weather.validator.scoring import handle_day1_scoring
from gaia.tasks.defined_tasks.weather.validator.zarr_example import require_comparable
from gaia.validator.utils.errors import MinerFault, TransientError
from tests.support.forecast_stores import SHAPE, Values, a_field, a_store, packed, put, reference_files
from tests.support.weather_handlers import describe_forecast, part_of, score_day1, score_era5_final

FIELDS = {"2t": a_field(0), "z500": a_field(1, mean=55_000.0, spread=1500.0)}


def other(seed: int) -> dict[str, Values]:
    return {"2t": a_field(seed), "z500": a_field(seed + 50, mean=55_000.0, spread=1500.0)}


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def make(fields: dict[str, Values] = FIELDS) -> dict[str, Any]:
        return a_store(tmp_path / "spool", fields) | {
            "truth": reference_files(tmp_path / "truth", other(10)),
            "climatology": reference_files(tmp_path / "climatology", other(20)),
            "baseline": reference_files(tmp_path / "baseline", other(30)),
        }

    return make


def test_day1_gives_every_measure_of_every_field(request_of: Callable[..., dict[str, Any]]) -> None:
    value = score_day1(request_of())

    components = {row["field"]: Component(**row) for row in value["components"]}
    expected = field_components(FIELDS["z500"], other(10)["z500"], other(20)["z500"], other(30)["z500"])
    assert components.keys() == FIELDS.keys()
    for name in expected.__slots__:
        assert getattr(components["z500"], name) == getattr(expected, name)
    assert components["2t"].lead_hours == 12


def test_fields_are_known_by_the_digest_the_miner_promised(
    request_of: Callable[..., dict[str, Any]],
) -> None:
    request = request_of()

    value = score_day1(request)

    assert value["field_digests"]["2t"] == request["digests"]["2t/1.0.0"]


def test_final_needs_no_baseline(request_of: Callable[..., dict[str, Any]]) -> None:
    payload = request_of()
    del payload["baseline"]

    row = score_era5_final(payload)["components"][0]

    assert row["skill_climatology"] is not None
    assert (row["skill_gfs"], row["pattern_correlation"], row["clone_distance"]) == (None, None, None)


def test_day1_without_a_baseline_is_our_mistake(request_of: Callable[..., dict[str, Any]]) -> None:
    payload = request_of()
    del payload["baseline"]

    with pytest.raises(TransientError, match="baseline"):
        score_day1(payload)


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf, 1e38, -1.0], ids=["nan", "inf", "-inf", "huge", "cold"]
)
def test_one_value_that_cannot_be_weather_is_the_miners_fault(
    request_of: Callable[..., dict[str, Any]], value: float
) -> None:
    doped = FIELDS["2t"].copy()
    doped[0, 0] = value

    with pytest.raises(MinerFault, match="2t at lead 12 h"):
        score_day1(request_of({"2t": doped, "z500": FIELDS["z500"]}))


def test_a_forecast_that_lacks_a_field_is_the_miners_fault(
    request_of: Callable[..., dict[str, Any]],
) -> None:
    payload = request_of({"2t": FIELDS["2t"]}) | {"fields": ["2t", "z500"]}

    with pytest.raises(MinerFault, match="not in the manifest"):
        score_day1(payload)


@pytest.mark.parametrize("kind", ["truth", "climatology", "baseline"])
@pytest.mark.parametrize("damage", ["gone", "short", "long", "nan"])
def test_our_own_damage_is_found_before_the_miner_is_blamed(
    request_of: Callable[..., dict[str, Any]], kind: str, damage: str
) -> None:
    payload = request_of({"2t": np.full(SHAPE, np.nan, np.float32)})
    path = Path(payload[kind]["2t"])
    content = path.read_bytes()
    match damage:
        case "gone":
            path.unlink()
        case "short":
            path.write_bytes(content[:-4])
        case "long":
            path.write_bytes(content + b"\0" * 4)
        case _:
            path.write_bytes(np.float32(np.nan).tobytes() + content[4:])

    with pytest.raises(TransientError, match=f"{kind} of 2t"):
        score_day1(payload)


def test_diagnosis_says_what_a_rejected_forecast_holds(request_of: Callable[..., dict[str, Any]]) -> None:
    values = np.full(SHAPE, 300.0, np.float32)
    values[: SHAPE[0] // 2] = np.nan
    payload = request_of({"2t": values, "z500": FIELDS["z500"]})

    described = describe_forecast(part_of(payload, DescribeForecast))["fields"]

    assert described["2t"] == {
        "finite_fraction": pytest.approx(91 / 181),
        "minimum": 300.0,
        "maximum": 300.0,
        "mean": 300.0,
        "plausible": False,
        "problem": None,
    }
    assert described["z500"]["plausible"] is True


def test_diagnosis_of_what_cannot_be_read_names_the_problem(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    payload = request_of({"2t": FIELDS["2t"], "z500": np.full(SHAPE, np.nan, np.float32)})
    put(tmp_path / "spool", payload["digests"], "2t/1.0.0", packed(FIELDS["2t"][:90]))

    described = describe_forecast(part_of(payload, DescribeForecast))["fields"]

    assert "blosc" in described["2t"]["problem"]
    assert described["2t"]["minimum"] is None
    assert (described["z500"]["finite_fraction"], described["z500"]["problem"]) == (0.0, None)


def test_the_example_of_the_rollout_plan_stands_word_for_word() -> None:
    example = Path(__file__).with_name("test_scoring_handler.py").read_bytes()

    digest = "1b506d049338a4508ebecc10fd66477e8c24dd0d09f66745f51d26caa1e23f63"
    assert hashlib.sha256(example).hexdigest() == digest


def a_dataset(name: str, values: Any, **coords: Any) -> xr.Dataset:
    coords = coords or {"lat": [60.0, 0.0], "lon": [0.0]}
    return xr.Dataset({name: (("lat", "lon"), np.asarray(values, float))}, coords)


def stored(tmp_path: Path, **datasets: xr.Dataset) -> list[str]:
    for name, dataset in datasets.items():
        dataset.to_zarr(tmp_path / name, mode="w")
    return [str(tmp_path / name) for name in ("miner", "gfs", "clim")]


def test_zarr_stores_are_measured_with_and_without_climatology(tmp_path: Path) -> None:
    forecast, truth = a_dataset("2t", [[272.0], [280.0]]), a_dataset("2t", [[270.0], [281.0]])
    paths = stored(tmp_path, miner=forecast, gfs=truth)

    without = handle_day1_scoring(*paths)
    stored(tmp_path, clim=a_dataset("2t", [[265.0], [283.0]]))
    scores = handle_day1_scoring(*paths)

    assert without.keys() == {"day1_rmse_2t", "day1_mae_2t", "day1_bias_2t"}
    assert scores["day1_rmse_2t"] == pytest.approx(((0.5 * 2.0**2 + 1.0**2) / 1.5) ** 0.5)
    assert scores["day1_mae_2t"] == pytest.approx((0.5 * 2.0 + 1.0) / 1.5)
    assert scores["day1_bias_2t"] == pytest.approx((0.5 * 2.0 - 1.0) / 1.5)
    assert scores["day1_acc_2t"] == pytest.approx(1.0)


def test_zarr_stores_of_a_level_variable_are_averaged_before_the_root(tmp_path: Path) -> None:
    values = np.full((2, 1, 1), 50_000.0)
    truth = xr.Dataset({"z": (("level", "lat", "lon"), values)}, {"lat": [0.0], "lon": [0.0]})
    forecast = truth + xr.DataArray([3.0, 4.0], dims="level")

    scores = handle_day1_scoring(*stored(tmp_path, miner=forecast, gfs=truth))

    assert scores["day1_rmse_z"] == pytest.approx(((9 + 16) / 2) ** 0.5)


def test_zarr_analysis_that_is_not_there_or_holds_nothing_of_ours_is_not_the_miners_fault(
    tmp_path: Path,
) -> None:
    unknown = a_dataset("rain", [[1.0], [2.0]])
    paths = stored(tmp_path, miner=unknown, gfs=unknown)

    with pytest.raises(TransientError, match="no field of ours"):
        handle_day1_scoring(*paths)
    with pytest.raises(TransientError, match="cannot be opened"):
        handle_day1_scoring(paths[0], str(tmp_path / "nowhere"), "")


@pytest.mark.parametrize(
    ("forecast", "reason"),
    [
        (a_dataset("msl", [[1e5], [1e5]]), "lacks 2t"),
        (a_dataset("2t", [[275.0]], lat=[60.0], lon=[0.0]), "requested grid"),
        (a_dataset("2t", [[275.0], [275.0]], lat=[0.0, 60.0], lon=[0.0]), "requested grid"),
        (a_dataset("2t", [[275.0], [275.0]]).transpose("lon", "lat"), "requested grid"),
        (a_dataset("2t", [[275.0], [np.nan]]), "not finite"),
    ],
    ids=["no field", "one point", "flipped", "transposed", "nan"],
)
def test_what_cannot_be_compared_point_for_point_is_refused(forecast: xr.Dataset, reason: str) -> None:
    truth = a_dataset("2t", [[274.0], [274.0]])

    with pytest.raises(MinerFault, match=reason):
        require_comparable(forecast, truth, "2t")


def test_damaged_truth_is_found_before_the_miner_is_blamed() -> None:
    nothing = xr.Dataset()

    with pytest.raises(TransientError, match="incomplete"):
        require_comparable(nothing, a_dataset("2t", [[np.nan], [274.0]]), "2t")


def test_zarr_forecast_outside_all_weather_is_refused(tmp_path: Path) -> None:
    forecast, truth = a_dataset("2t", [[2720.0], [280.0]]), a_dataset("2t", [[270.0], [281.0]])

    with pytest.raises(MinerFault, match="outside"):
        handle_day1_scoring(*stored(tmp_path, miner=forecast, gfs=truth))
