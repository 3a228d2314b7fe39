"""How long the handlers take; figures to compare by, not limits to pass."""

import json
import subprocess
import sys
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from gaia.tasks.defined_tasks.weather.validator.measures import field_components
from tests.support.forecast_stores import Values, a_field, a_store, reference_files
from tests.support.repository import SCRIPTS
from tests.support.weather_handlers import forecast_verify, score_day1, score_era5_final

FIELDS = ["2t", "msl", "10u", "10v"]
MEANS = {"2t": 280.0, "msl": 101_000.0, "10u": 0.0, "10v": 0.0}


def some_fields(seed: int) -> dict[str, Values]:
    return {name: a_field(seed + place, MEANS[name]) for place, name in enumerate(FIELDS)}


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One miner's first day at 1 degree, four fields, with everything it is compared with."""
    folder = tmp_path_factory.mktemp("benchmark")
    request = a_store(folder / "store", some_fields(0))
    references = {
        role: reference_files(folder / role, some_fields(10 * place))
        for place, role in enumerate(("truth", "baseline", "climatology"), start=1)
    }
    return request | references


def test_day1_of_one_miner_is_scored(benchmark: BenchmarkFixture, payload: dict[str, Any]) -> None:
    value = benchmark(score_day1, payload)

    assert len(value["components"]) == len(FIELDS)


def test_one_lead_of_one_miner_is_scored(benchmark: BenchmarkFixture, payload: dict[str, Any]) -> None:
    request = {key: value for key, value in payload.items() if key != "baseline"}

    value = benchmark(score_era5_final, request)

    assert len(value["components"]) == len(FIELDS)


def test_store_of_one_miner_is_verified(benchmark: BenchmarkFixture, payload: dict[str, Any]) -> None:
    request = {key: payload[key] for key in ("store_dir", "digests", "grid", "steps", "step_hours")}

    value = benchmark(forecast_verify, request)

    assert value["verified"] == len(payload["digests"])


def test_one_field_is_measured(benchmark: BenchmarkFixture) -> None:
    fields = [a_field(seed).astype("f4") for seed in range(4)]

    measured = benchmark(field_components, *fields)

    assert measured.rmse > 0


def test_benchmark_of_decoding_prints_the_largest_accepted_cost_and_those_refused() -> None:
    program = SCRIPTS / "bench.py"

    done = subprocess.run(
        [sys.executable, str(program), "decode", "--quick", "--json", "--tries", "2"],
        capture_output=True,
        text=True,
        check=True,
    )

    result = json.loads(done.stdout)
    assert 1.0 < result["ratios"]["worst_accepted"] < 100.0
    assert result["refused"]["shared_stream_all_empty_blocks"] > 1_000.0
    assert result["figures"]["searched"] == 2
