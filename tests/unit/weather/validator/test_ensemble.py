"""Ensembles score what the definition says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.validator import metrics
from gaia.tasks.defined_tasks.weather.validator.ensemble import crps, crps_of_points


def on_globe(values, *dims):
    rows, columns = values.shape[-2:]
    coords = {"lat": np.linspace(90, -90, rows), "lon": np.arange(columns) * 360.0 / columns}
    return xr.DataArray(values, coords, (*dims, "lat", "lon"))


def an_ensemble(seed, members=10, shape=(7, 12)):
    rng = np.random.default_rng(seed)
    truth = 280.0 + 10.0 * rng.normal(size=shape)
    return on_globe(truth + 2.0 * rng.normal(size=(members, *shape)), "member"), on_globe(truth)


def by_definition(members, observed, fair):
    count = len(members)
    pairs = count * (count - 1) if fair else count * count
    spread = math.fsum(abs(a - b) for a in members for b in members) / (2 * pairs)
    return math.fsum(abs(x - observed) for x in members) / count - spread


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), members=st.integers(2, 12), fair=st.booleans())
def test_every_point_scores_what_the_definition_says(seed, members, fair):
    ensemble, truth = an_ensemble(seed, members, (2, 3))

    score = crps_of_points(ensemble, truth, fair=fair)

    for row, column in np.ndindex(2, 3):
        given_ = ensemble.values[:, row, column].tolist()
        expected = by_definition(given_, float(truth[row, column]), fair)
        assert float(score[row, column]) == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_one_member_scores_its_absolute_error():
    ensemble, truth = an_ensemble(2, members=1)

    assert float(crps(ensemble, truth, fair=False)) == pytest.approx(
        float(metrics.mae(ensemble.isel(member=0), truth))
    )
    with pytest.raises(ValueError, match="two members"):
        crps(ensemble, truth)


def test_the_order_of_members_and_dimensions_does_not_matter():
    ensemble, truth = an_ensemble(3)

    turned = ensemble.isel(member=slice(None, None, -1)).transpose("lat", "member", "lon")

    assert float(crps(turned, truth)) == pytest.approx(float(crps(ensemble, truth)), rel=1e-13)


def test_an_ensemble_on_other_points_is_refused():
    ensemble, truth = an_ensemble(4)

    with pytest.raises(ValueError, match="one grid"):
        crps(ensemble.assign_coords(lon=ensemble["lon"] + 1), truth)


@pytest.mark.parametrize("missing", ["ensemble", "truth"])
def test_a_missing_value_is_never_skipped(missing):
    given_ = dict(zip(("ensemble", "truth"), an_ensemble(5), strict=True))
    given_[missing][..., 3, 4] = np.nan

    assert np.isnan(crps(given_["ensemble"], given_["truth"]))
