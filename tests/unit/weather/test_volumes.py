"""What the settings cost is worked out from them; the figures here can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from gaia.tasks.defined_tasks.weather.volumes import CHUNK_SHARE, Volumes, expected_volumes
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_max_bytes
from gaia.validator.utils.config import Settings

POINTS = 721 * 1440
COARSE = 181 * 360
ONE: dict[str, Any] = {"day1_fields": ["2t"], "final_fields": ["2t"]}
"""One field in place of 5 and 69."""


def volumes(miners: int = 1, **settings: Any) -> Volumes:
    return expected_volumes(Settings(**settings).weather, miners)


def test_miners_send_each_field_of_each_lead_once_a_run() -> None:
    default, few = volumes(), volumes(**ONE)

    assert default.miner_bytes_a_day_at_most == (5 * 1 + 69 * 10) * chunk_max_bytes("0.25")
    assert few.miner_bytes_a_day_at_most == (1 + 10) * chunk_max_bytes("0.25")
    assert few.miner_bytes_a_day == int(11 * chunk_max_bytes("0.25") * CHUNK_SHARE)


def test_cost_is_linear_in_miners_but_not_that_of_the_truth() -> None:
    one, many = volumes(1), volumes(256)

    assert many.miner_bytes_a_day_at_most == 256 * one.miner_bytes_a_day_at_most
    assert many.database_bytes_a_day == 256 * one.database_bytes_a_day
    assert (many.era5_bytes_a_day, many.gfs_bytes_a_day) == (one.era5_bytes_a_day, one.gfs_bytes_a_day)


def test_no_miner_sends_more_than_its_budget() -> None:
    assert volumes(miner_budget_mib=10).miner_bytes_a_day == 10 << 20


def test_runs_of_following_days_share_their_truth() -> None:
    """Ten leads at multiples of a day need one new time of ERA5 a day: one job a kind of field."""
    assert volumes().cds_requests_a_day == 2
    assert volumes(**ONE).cds_requests_a_day == 1
    assert volumes(**ONE).era5_bytes_a_day == 2 * POINTS


def test_leads_between_the_days_need_times_of_their_own() -> None:
    assert volumes(final_lead_hours=[24, 48, 54]).cds_requests_a_day == 4


def test_test_mode_opens_one_run_for_each_cycle() -> None:
    assert volumes(test_mode=True).runs_a_day == 4


def test_plain_rules_need_gfs_at_every_lead() -> None:
    assert volumes(rule_set="gaia-next").gfs_bytes_a_day > 50 * volumes().gfs_bytes_a_day


def test_shadow_rules_write_as_many_rows_as_their_share() -> None:
    plain, shadowed, other = (
        volumes(**of_it).database_bytes_a_day
        for of_it in (
            {"forecast_steps": 80},
            {"forecast_steps": 80, "shadow_rule_set": "gaia-next", "shadow_share": 0.5},
            {},
        )
    )
    manifests = 2 * (plain - other)

    assert shadowed - manifests == pytest.approx(1.5 * (plain - manifests), abs=2)


def test_database_grows_as_with_256_miners_it_was_measured_to_grow() -> None:
    """`scripts/bench.py growth` writes 69 fields of 10 leads: 0.147 GiB a day."""
    assert volumes(256).database_bytes_a_day == pytest.approx(0.147 * 2**30, rel=0.05)


def test_coarse_grid_costs_as_much_less_as_it_has_fewer_points() -> None:
    fine, coarse = volumes(), volumes(grid_degrees="1.0")

    assert coarse.era5_bytes_a_day / fine.era5_bytes_a_day == pytest.approx(COARSE / POINTS)
    assert coarse.cpu_s_a_day / fine.cpu_s_a_day == pytest.approx(COARSE / POINTS)


def test_kept_inputs_stay_for_their_days() -> None:
    kept, longer = volumes(keep_inputs_days=10), volumes(keep_inputs_days=11)

    assert longer.spool_disk_bytes - kept.spool_disk_bytes == pytest.approx(
        volumes().miner_bytes_a_day, abs=2
    )


def test_without_kept_inputs_one_lead_waits_on_the_disk() -> None:
    assert volumes(**ONE).spool_disk_bytes == int(chunk_max_bytes("0.25") * CHUNK_SHARE)


def test_late_era5_keeps_references_longer() -> None:
    """Day-1 fields wait for the end of their run; a day more of waiting is a day more on the disk."""
    prompt, late = volumes(**ONE), volumes(**ONE, era5_delay_days=6)

    day1 = 2 * 4 * POINTS + 2 * int(0.75 * POINTS) + (4 * POINTS + 4 * POINTS)
    assert late.references_disk_bytes - prompt.references_disk_bytes == pytest.approx(day1, abs=2)
