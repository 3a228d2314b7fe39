"""The table of variables agrees with the protocol, the settings and itself."""

from __future__ import annotations

import pytest

from gaia.tasks.defined_tasks.weather.variables import (
    LEVELS_HPA,
    VARIABLES,
    field_name,
    level_weights,
    split_field,
)
from gaia.validator.utils import config


def test_every_field_of_the_settings_is_known() -> None:
    for field in config.ALL_FIELDS:
        assert field_name(*split_field(field)) == field


def test_levels_are_those_of_the_settings() -> None:
    assert LEVELS_HPA == config.LEVELS_HPA


@pytest.mark.parametrize("name", ["", "z", "z5", "z501", "z0500", "2t500", "x500", "500", "t²"])
def test_a_name_that_is_no_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no such field"):
        split_field(name)


def test_level_weights_are_those_of_the_scoring_document() -> None:
    weights = level_weights()

    published = ".0263 .0526 .0526 .0526 .0526 .0789 .1053 .1053 .1053 .1316 .1184 .0789 .0395"
    assert [round(weights[level], 4) for level in LEVELS_HPA] == [float(text) for text in published.split()]
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-15)


def test_level_weights_do_not_depend_on_order() -> None:
    assert level_weights([850, 500]) == level_weights([500, 850]) == {500: 0.5, 850: 0.5}


def test_a_single_level_weighs_one_and_no_level_nothing() -> None:
    assert level_weights([500]) == {500: 1.0}
    assert level_weights([]) == {}


def test_limits_and_source_names_are_filled_in() -> None:
    for variable in VARIABLES.values():
        assert variable.minimum < variable.maximum
        assert ("{level}" in variable.gfs_idx_name) is variable.has_levels
        assert variable.grib_short_names
