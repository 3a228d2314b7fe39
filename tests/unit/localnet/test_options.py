"""The calendar of a local subnet, and the settings its validator reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gaia.localnet.options import (
    Options,
    process_environment,
    slowness_of,
    validator_environment,
    validator_settings,
)
from gaia.localnet.population import Behaviour
from gaia.validator.utils.config import load_settings
from gaia.validator.utils.settings.contract import LEADS_HOURS
from tests.support.localnet import ADDRESSES


def test_clock_starts_a_minute_before_the_first_run_opens() -> None:
    assert Options().clock_start == datetime(2026, 3, 25, 17, 59, tzinfo=UTC)


def test_clock_ends_after_era5_of_the_last_lead_of_the_last_run() -> None:
    options = Options(days=3)
    last_due = (
        datetime(2026, 3, 27, tzinfo=UTC) + timedelta(hours=LEADS_HOURS[-1]) + timedelta(days=5, hours=6)
    )

    assert last_due < options.clock_end < last_due + timedelta(days=1)


def test_options_survive_the_way_to_the_services(tmp_path: Path) -> None:
    options = Options(miners=7, days=2, grid="0.25", seed=9, recast={3: Behaviour.DRIP}, metrics_port=19090)
    options.save(tmp_path)

    assert Options.load(tmp_path) == options


def test_validator_reads_exactly_the_settings_that_were_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = validator_settings(tmp_path, Options(days=2, grid="0.25", metrics_port=19090), ADDRESSES)
    for name, value in validator_environment(tmp_path, settings.model_dump(exclude_unset=True)).items():
        monkeypatch.setenv(name, value)

    read = load_settings(env_file=None)

    assert read.model_dump() == settings.model_dump()
    assert read.metrics_port == 19090
    assert read.last_run == datetime(2026, 3, 26, tzinfo=UTC)
    assert read.cds_key.get_secret_value() == ADDRESSES.cds_key


@pytest.mark.parametrize(("load", "slowness"), [(0.0, 1.0), (4.0, 1.0), (6.0, 2.0), (99.0, 5.0)])
def test_miners_have_longer_on_a_busy_machine(load: float, slowness: float) -> None:
    assert slowness_of(load, 2) == slowness


def test_children_inherit_no_setting_of_the_person_and_have_a_home_of_their_own(tmp_path: Path) -> None:
    mine = {"PATH": "/bin", "GAIA_NETUID": "3", "BURN_RATE": "0", "HOME": "/home/me", "PYTHONPATH": "/extra"}

    environment = process_environment(tmp_path, mine)

    assert environment["PATH"] == "/bin"
    assert environment["HOME"] == str(tmp_path / "home")
    assert environment["PYTHONPATH"].endswith("/extra")
    assert not {"GAIA_NETUID", "BURN_RATE"} & set(environment)


def test_coverage_reaches_the_children(tmp_path: Path) -> None:
    environment = process_environment(tmp_path, {"COVERAGE_PROCESS_START": "x", "COVERAGE_FILE": "y"})

    assert environment["COVERAGE_PROCESS_START"] == "x"
