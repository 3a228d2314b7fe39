"""The reference miner's settings: where each is read, which values are refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr, ValidationError

from gaia.miner.miner import main
from gaia.miner.settings import MinerSettings, help_of, load_settings, names_of, option_of
from gaia.tasks.defined_tasks.weather.variables import GRIDS
from gaia.validator.utils.errors import ConfigurationError

ORIGINAL = {
    "MINER_HOST": ("host", "::1", "::1"),
    "PORT": ("port", "8080", 8080),
    "MINER_FORECAST_DIR": ("directory", "/var/forecasts", Path("/var/forecasts")),
    "GAIA_GRID_DEGREES": ("grid", "1.0", "1.0"),
    "MINER_MODEL": ("model", "ours:model", "ours:model"),
    "MINER_VALIDATORS": ("validators", "5A, 5B 5C", frozenset({"5A", "5B", "5C"})),
    "WEATHER_ACCESS_TOKEN_EXPIRE_MINUTES": ("token_minutes", "7.5", 7.5),
    "MINER_JWT_SECRET_KEY": ("jwt_secret_key", "k" * 32, SecretStr("k" * 32)),
    "WALLET_NAME": ("wallet_name", "cold", "cold"),
    "HOTKEY_NAME": ("wallet_hotkey", "hot", "hot"),
    "WALLET_PATH": ("wallet_path", "/wallets", Path("/wallets")),
}


@pytest.mark.parametrize("variable", ORIGINAL)
def test_a_name_of_the_original_miner_is_read(variable: str) -> None:
    name, text, value = ORIGINAL[variable]

    assert getattr(load_settings({variable: text}), name) == value


@pytest.mark.parametrize("name", MinerSettings.model_fields)
def test_every_setting_has_a_name_a_meaning_and_a_place_in_the_help(name: str, capsys: Any) -> None:
    assert names_of(name)[0] == f"MINER_{name.upper()}"
    assert str(MinerSettings.model_fields[name].description).endswith(".")
    assert names_of(name)[0] in help_of(name)

    with pytest.raises(SystemExit):
        main(["--help"], {})

    shown = capsys.readouterr().out
    assert (option_of(name) in shown) is (name != "jwt_secret_key")
    assert names_of(name)[0] in shown


def test_the_command_line_wins_over_our_name_and_ours_over_the_original() -> None:
    environment = {"PORT": "1", "MINER_PORT": "2"}

    assert load_settings(environment).port == 2
    assert load_settings(environment, port="3", host=None).port == 3


def test_an_empty_variable_is_not_set_and_a_home_is_written_out() -> None:
    settings = load_settings({"PORT": "", "MINER_DIRECTORY": "~/forecasts"})

    assert settings.port == 33334
    assert settings.directory == Path.home() / "forecasts"
    assert settings.wallet_path == Path.home() / ".bittensor" / "wallets"


def test_made_by_hand_it_looks_nowhere_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("HOST", "elsewhere")

    settings = MinerSettings()

    assert (settings.port, settings.host) == (33334, "0.0.0.0")
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 2


@pytest.mark.parametrize(
    ("environment", "options", "beginning"),
    [
        ({"PORT": "many"}, {}, 'PORT: "many" is not allowed'),
        ({"MINER_PORT": "65536"}, {}, 'MINER_PORT: "65536" is not allowed'),
        ({"PORT": "1"}, {"port": "-1"}, '--port: "-1" is not allowed'),
        ({}, {"grid": "0.5"}, '--grid: "0.5" is not allowed'),
        ({}, {"steps": "0"}, '--steps: "0" is not allowed'),
        ({"MINER_TOKEN_MINUTES": "nan"}, {}, 'MINER_TOKEN_MINUTES: "nan" is not allowed'),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_origin(
    environment: dict[str, str], options: dict[str, str], beginning: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environment, **options)

    assert str(refused.value).startswith(beginning)
    assert "\n" not in str(refused.value)


def test_a_key_that_is_too_short_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="32 characters") as refused:
        load_settings({"MINER_JWT_SECRET_KEY": "sesame"})

    assert "sesame" not in str(refused.value)
    assert "sesame" not in repr(MinerSettings(jwt_secret_key=SecretStr("sesame" * 6)))


def test_grids_are_those_of_the_protocol() -> None:
    assert set(get_args(MinerSettings.model_fields["grid"].annotation)) == set(GRIDS)
