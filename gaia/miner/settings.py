"""Settings of the reference miner: names, meanings, limits and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError

from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.setting_sources import HandedSettings, Variables, at_home
from gaia.validator.utils.setting_sources import setting as _setting

PREFIX = "MINER_"
_LEAST_SECRET = 32


def _separated(value: Any) -> Any:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _long_enough(secret: SecretStr) -> SecretStr:
    if 0 < len(secret.get_secret_value()) < _LEAST_SECRET:
        raise ValueError(f"it must have {_LEAST_SECRET} characters or more")
    return secret


class MinerSettings(HandedSettings):
    """Settings of the miner, read once at start by `load_settings`.

    Each is read from MINER_<NAME>, else from its aliases, the variables of the original miner.
    """

    host: str = _setting("0.0.0.0", "Address to listen on.")  # noqa: S104 - validators come from anywhere
    port: int = _setting(33334, "Port to listen on. 0 takes any free one.", "PORT", ge=0, le=65535)
    http: bool = _setting(False, "Serve plain HTTP, for use behind a proxy that ends TLS.")
    directory: Annotated[Path, AfterValidator(at_home)] = _setting(
        Path("miner_forecasts"),
        "Folder of the forecasts. Initial states are read from analyses/<YYYYMMDDHH>/<field>.f32 in it.",
        "MINER_FORECAST_DIR",
    )
    grid: Literal["0.25", "1.0"] = _setting(
        "0.25", "Grid spacing of the forecasts, in degrees.", "GAIA_GRID_DEGREES"
    )
    steps: int = _setting(40, "Number of lead times in a forecast, six hours apart.", ge=1)
    model: str = _setting("", "Factory of a ForecastModel, as module:function. Empty: persistence.")
    validators: Annotated[frozenset[str], BeforeValidator(_separated)] = _setting(
        frozenset(), "Hotkeys of the validators that get answers, separated by commas. Empty: all."
    )
    token_minutes: float = _setting(
        120.0, "Minutes for which an access token is valid.", "WEATHER_ACCESS_TOKEN_EXPIRE_MINUTES", gt=0
    )
    jwt_secret_key: Annotated[SecretStr, AfterValidator(_long_enough)] = _setting(
        SecretStr(""),
        "Key of the access tokens, at least 32 characters. Empty: a random key for this process.",
    )
    wallet_name: str = _setting("default", "Name of the wallet that holds the hotkey.", "WALLET_NAME")
    wallet_hotkey: str = _setting("default", "Name of the hotkey inside the wallet.", "HOTKEY_NAME")
    wallet_path: Annotated[Path, AfterValidator(at_home)] = _setting(
        Path("~/.bittensor/wallets"),
        "Folder that contains the wallets.",
        "WALLET_PATH",
        validate_default=True,
    )
    hotkey_uri: str = _setting("", "Development key, such as //Alice, used instead of a wallet.")


def load_settings(environment: Mapping[str, str], **overrides: Any) -> MinerSettings:
    """Read the settings: the command line wins over the environment.

    An empty variable counts as not set.

    Parameters
    ----------
    environment
        Variables, such as those of the process.
    overrides
        Values by field name, as given on the command line; None means not given.

    Raises
    ------
    ConfigurationError
        If a value is not allowed; the error names its option or variable.
    """
    variables = Variables(MinerSettings, "environment", environment, names_of)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return MinerSettings(**(variables() | given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    source = option_of(name) if name in given else variables.origins().get(name, "").rpartition(" ")[2]
    is_secret = isinstance(MinerSettings.model_fields[name].default, SecretStr)
    value = "this value" if is_secret else f'"{str(first["input"])[:80]}"'
    raise ConfigurationError(source, f"{value} is not allowed ({first['msg']})", "correct or remove it")


def names_of(name: str) -> list[str]:
    """Return the variables from which the field `name` is read: ours, then the original miner's."""
    extra: Any = MinerSettings.model_fields[name].json_schema_extra
    return [PREFIX + name.upper(), *extra["aliases"]]


def option_of(name: str) -> str:
    """Return the command-line option of the field `name`."""
    return "--" + name.replace("_", "-")


def help_of(name: str) -> str:
    """Return the help text of the field `name`: its meaning, default and variables."""
    field = MinerSettings.model_fields[name]
    default = f" Default: {field.default}." if field.default else ""
    return f"{field.description}{default} [{', '.join(names_of(name))}]"
