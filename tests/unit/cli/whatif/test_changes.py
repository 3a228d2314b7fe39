"""A change names settings whose effect follows from what is stored; every other setting is refused by name."""

from __future__ import annotations

import pytest

from gaia.cli.whatif.changes import REPLAYABLE, change_of
from gaia.validator.utils.config import Settings, names_of, variable_of
from gaia.validator.utils.errors import ConfigurationError

SETTINGS = Settings(burn_hotkey="5Burn", final_lead_hours=[24, 48, 72])


def test_named_settings_change_and_all_others_stay() -> None:
    change = change_of(SETTINGS, ["GAIA_FINAL_LEAD_HOURS=24", "GAIA_BURN_FRACTION=0.5"], "gaia-next")

    assert change.names == {"final_lead_hours", "burn_fraction", "rule_set"}
    assert (change.after.final_lead_hours, change.after.burn_fraction) == ([24], 0.5)
    assert (change.after.rule_set, change.after.burn_hotkey) == ("gaia-next", "5Burn")
    assert change.contract == {"final_lead_hours": [24]}
    assert change.rescores
    assert change.lines() == [
        "GAIA_BURN_FRACTION 0.75 -> 0.5",
        "GAIA_FINAL_LEAD_HOURS without 48, 72",
        "GAIA_RULE_SET gaia-2.9 -> gaia-next",
    ]


def test_variable_of_the_original_validator_is_accepted_and_an_empty_value_means_the_default() -> None:
    change = change_of(SETTINGS, ["BURN_HOTKEY=", "BURN_RATE=1"], None)

    assert (change.after.burn_hotkey, change.after.burn_fraction) == ("", 1.0)
    assert not change.rescores
    assert change.described() == {"GAIA_BURN_HOTKEY": ("5Burn", ""), "GAIA_BURN_FRACTION": ("0.75", "1.0")}


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - set(REPLAYABLE)))
def test_every_other_setting_is_refused_with_those_that_are_allowed(name: str) -> None:
    for variable in names_of(name):
        with pytest.raises(ConfigurationError) as refused:
            change_of(SETTINGS, [f"{variable}=1"], None)
        assert refused.value.setting == variable
        assert all(variable_of(each) in refused.value.remedy for each in REPLAYABLE)


def test_rule_set_and_its_setting_are_one_change() -> None:
    with pytest.raises(ConfigurationError, match="is given twice"):
        change_of(SETTINGS, ["GAIA_RULE_SET=gaia-2.9"], "gaia-next")


def test_long_list_is_told_in_a_line() -> None:
    (line,) = change_of(Settings(), ["GAIA_FINAL_FIELDS=2t"], None).lines()

    assert line.startswith("GAIA_FINAL_FIELDS without 10u, 10v, msl, t50, t100 and ")
    assert len(line) < 80
