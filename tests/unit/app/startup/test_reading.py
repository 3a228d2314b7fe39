"""Fields that the weather task does not know are refused before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gaia.tasks.defined_tasks.weather.variables import ALL_FIELDS
from gaia.validator import validator
from gaia.validator.app.startup.reading import read_settings
from gaia.validator.utils.config import load_settings
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from tests.support.repository import ROOT

WRONG = [
    (
        "GAIA_DAY1_FIELDS",
        "2t,z501",
        'GAIA_DAY1_FIELDS: "z501" is not a known field; correct it (did you mean z50?).',
    ),
    (
        "GAIA_FINAL_FIELDS",
        "temperature",
        'GAIA_FINAL_FIELDS: "temperature" is not a known field; correct it (names look like 2t, msl, z500).',
    ),
]


@pytest.mark.parametrize(("variable", "value", "sentence"), WRONG)
def test_name_that_is_no_field_is_told_in_one_sentence(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        read_settings(None)

    assert str(caught.value) == sentence
    assert caught.value.exit_code is ExitCode.BAD_SETTING


@pytest.mark.parametrize(("variable", "value", "sentence"), WRONG)
def test_validator_ends_with_that_sentence(
    variable: str,
    value: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)

    assert validator.main(["--check"]) == ExitCode.BAD_SETTING

    assert capsys.readouterr() == ("", f"{sentence}\n")


def test_every_field_of_the_weather_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_DAY1_FIELDS", ",".join(ALL_FIELDS))

    assert read_settings(None) == load_settings(None)


def test_the_settings_themselves_know_no_weather() -> None:
    show = "import sys, gaia.validator.utils.config; print(*sys.modules)"

    loaded = subprocess.check_output([sys.executable, "-c", show], text=True, cwd=ROOT).split()

    assert not [name for name in loaded if name.startswith("gaia.tasks")]
