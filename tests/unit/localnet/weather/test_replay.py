"""The replayed weather: real frames on any date, forecasts of a known skill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from gaia.localnet.weather.errors import growth, pattern, root_mean_square
from gaia.localnet.weather.replay import FIRST_FRAME, GFS_ERROR_12H, WeatherReplay, refined
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field

Frame = npt.NDArray[np.floating]

INIT_TIME = datetime(2026, 3, 26, tzinfo=UTC)


@pytest.fixture(scope="module")
def replay() -> WeatherReplay:
    return WeatherReplay()


def mse_skill(replay: WeatherReplay, forecast: Frame, valid_time: datetime, field: str) -> float:
    truth = replay.truth(valid_time, field, "1.0")
    climatology = replay.climatology(field, "1.0")
    return 1 - (root_mean_square(forecast - truth) / root_mean_square(climatology - truth)) ** 2


def test_every_packed_field_is_weather_on_the_whole_grid(replay: WeatherReplay) -> None:
    for field in replay.fields:
        variable = VARIABLES[split_field(field)[0]]

        truth = replay.truth(INIT_TIME, field, "1.0")

        assert truth.shape == (181, 360)
        assert truth.dtype == np.float32
        assert variable.minimum < truth.min() < truth.max() < variable.maximum


def test_pack_holds_the_surface_and_two_levels(replay: WeatherReplay) -> None:
    assert set(replay.fields) == {"2t", "10u", "10v", "msl", "z500", "t500", "z850", "t850"}


def test_equator_is_warmer_than_the_poles(replay: WeatherReplay) -> None:
    rows = replay.climatology("2t", "1.0").mean(axis=1)

    assert rows[90] > rows[0] + 20
    assert rows[90] > rows[180] + 20


def test_weather_plays_forward_and_then_backward(replay: WeatherReplay) -> None:
    def frame(step: int) -> Frame:
        return replay.truth(FIRST_FRAME + step * timedelta(hours=6), "2t", "1.0")

    assert np.array_equal(frame(23), frame(24))
    assert np.array_equal(frame(20), frame(27))
    assert np.array_equal(frame(-1), frame(0))
    assert np.array_equal(frame(5), frame(5 + 48))


@pytest.mark.parametrize("field", ["2t", "z500"])
def test_no_scored_lead_repeats_the_weather_of_its_initial_time(replay: WeatherReplay, field: str) -> None:
    for step in range(48):
        init_time = FIRST_FRAME + step * timedelta(hours=6)
        now = replay.truth(init_time, field, "1.0")
        for lead_hours in range(12, 241, 12):
            later = replay.truth(init_time + timedelta(hours=lead_hours), field, "1.0")
            assert not np.array_equal(now, later)


def test_weather_between_two_frames_is_their_mean(replay: WeatherReplay) -> None:
    between = replay.truth(FIRST_FRAME + timedelta(hours=3), "msl", "1.0")

    first, second = (replay.truth(FIRST_FRAME + n * timedelta(hours=6), "msl", "1.0") for n in (0, 1))
    assert np.allclose(between, (first + second) / 2, atol=0.02)


def test_upper_air_turns_eastwards(replay: WeatherReplay) -> None:
    first = replay.truth(FIRST_FRAME, "z500", "1.0")
    cycle_later = replay.truth(FIRST_FRAME + 8 * timedelta(hours=6), "z500", "1.0")

    assert np.array_equal(cycle_later, np.roll(first, 24, axis=1))


def test_refinement_keeps_the_coarse_points_and_the_poles() -> None:
    coarse = np.arange(181 * 360, dtype=np.float32).reshape(181, 360)

    fine = refined(coarse, "0.25")

    assert fine.shape == (721, 1440)
    assert np.array_equal(fine[::4, ::4], coarse)
    assert fine[0, 2] == (coarse[0, 0] + coarse[0, 1]) / 2
    assert fine[2, 0] == (coarse[0, 0] + coarse[1, 0]) / 2
    assert fine[0, -2] == (coarse[0, -1] + coarse[0, 0]) / 2


def test_grid_that_cannot_be_refined_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot refine"):
        refined(np.zeros((50, 100), np.float32), "1.0")


def test_same_seed_gives_the_same_bits(replay: WeatherReplay) -> None:
    again = WeatherReplay()

    ours = replay.graded_forecast(INIT_TIME, 24, "10u", "1.0", "miner", 0.8)

    assert np.array_equal(ours, again.graded_forecast(INIT_TIME, 24, "10u", "1.0", "miner", 0.8))
    assert not np.array_equal(ours, replay.graded_forecast(INIT_TIME, 24, "10u", "1.0", "other", 0.8))


@pytest.mark.parametrize("field", sorted(GFS_ERROR_12H))
def test_gfs_errs_by_a_realistic_amount_at_12_hours(replay: WeatherReplay, field: str) -> None:
    truth = replay.truth(INIT_TIME + timedelta(hours=12), field, "1.0")

    error = replay.gfs_forecast(INIT_TIME, 12, field, "1.0") - truth

    assert root_mean_square(error) == pytest.approx(GFS_ERROR_12H[field], rel=1e-3)


def test_error_is_proportional_to_the_scale(replay: WeatherReplay) -> None:
    one, half = (replay.error("s", "msl", 48, "1.0", scale) for scale in (1.0, 0.5))

    assert np.allclose(half, one / 2, rtol=1e-5)


def test_error_is_one_value_at_each_pole_and_smooth(replay: WeatherReplay) -> None:
    error = replay.error("s", "2t", 24, "1.0")

    assert np.ptp(error[0]) < 1e-5
    assert np.ptp(error[-1]) < 1e-5
    assert np.abs(np.diff(error, axis=1)).max() < 1.0


def test_patterns_of_neighbouring_leads_resemble_each_other() -> None:
    first, near, far = (pattern("s", lead, "1.0").ravel() for lead in (12, 24, 240))

    assert np.corrcoef(first, near)[0, 1] > 0.9
    assert abs(np.corrcoef(first, far)[0, 1]) < 0.5


def test_patterns_of_different_seeds_do_not() -> None:
    one, other = (pattern(seed, 12, "1.0").ravel() for seed in ("a", "b"))

    assert abs(np.corrcoef(one, other)[0, 1]) < 0.3


def test_errors_grow_towards_the_natural_variability() -> None:
    fractions = [growth(lead, 0.15) for lead in range(0, 400, 12)]

    assert fractions == sorted(fractions)
    assert growth(12, 0.15) == pytest.approx(0.15)
    assert growth(240, 0.15) == pytest.approx(0.9)
    assert fractions[-1] < 1


@pytest.mark.parametrize("field", ["2t", "10u", "10v", "msl"])
def test_best_honest_forecast_beats_climatology_on_the_tenth_day(replay: WeatherReplay, field: str) -> None:
    for day in range(4):
        init_time = INIT_TIME + timedelta(days=day)
        forecast = replay.graded_forecast(init_time, 240, field, "1.0", "best", 0.7)
        assert mse_skill(replay, forecast, init_time + timedelta(hours=240), field) > 0.2


@pytest.mark.parametrize("field", ["2t", "msl"])
def test_persistence_is_worse_than_gfs_on_day_1(replay: WeatherReplay, field: str) -> None:
    valid_time = INIT_TIME + timedelta(hours=12)

    gfs = mse_skill(replay, replay.gfs_forecast(INIT_TIME, 12, field, "1.0"), valid_time, field)
    persistence = mse_skill(replay, replay.persistence(INIT_TIME, field, "1.0"), valid_time, field)

    assert persistence < gfs - 0.3


def test_gfs_forecast_of_lead_0_is_its_analysis_close_to_the_truth(replay: WeatherReplay) -> None:
    analysis = replay.gfs_analysis(INIT_TIME, "2t", "1.0")

    assert np.array_equal(analysis, replay.gfs_forecast(INIT_TIME, 0, "2t", "1.0"))
    assert 0 < root_mean_square(analysis - replay.truth(INIT_TIME, "2t", "1.0")) < 0.6
