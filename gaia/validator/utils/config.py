"""Reads all sections of the settings from the environment, and describes them to the operator."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import PrivateAttr, SecretStr, ValidationError

from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.proxies import PROXIES
from gaia.validator.utils.secrecy import HIDDEN, hold, secrets_in_url, shown_url
from gaia.validator.utils.setting_sources import (
    HOTKEY_CREDENTIAL,
    HandedSettings,
    Variables,
    place_of,
    read_credentials,
    read_env_file,
    words_for,
)
from gaia.validator.utils.settings.background import BackgroundSettings
from gaia.validator.utils.settings.backup import BackupSettings
from gaia.validator.utils.settings.chain import ChainSettings
from gaia.validator.utils.settings.contract import ContractSettings
from gaia.validator.utils.settings.database import DatabaseSettings
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.handed import SignerSettings, StatusSettings, WeatherSettings
from gaia.validator.utils.settings.miners import MinersSettings
from gaia.validator.utils.settings.notify import NotifySettings
from gaia.validator.utils.settings.observation import ObservationSettings
from gaia.validator.utils.settings.pool import PoolSettings
from gaia.validator.utils.settings.schedule import ScheduleSettings
from gaia.validator.utils.settings.sources import SourcesSettings
from gaia.validator.utils.settings.weights import WeightsSettings

Section = TypeVar("Section", bound=HandedSettings)

PREFIX = "GAIA_"
COMMAND_LINE = "command line"
_OF_KEYS = "BT_PW_"
"""Beginning of the names of the SDK's variables with passwords of keys."""
RETIRED = frozenset(
    f"GAIA_{name}"
    for name in ("ASYNC_THRESHOLD", "DISABLE_ASYNC", "SCORING_LRU_MAXSIZE", "SCORING_AGGRESSIVE_LRU_MAXSIZE")
)
"""Variables of the original validator without meaning here; they are ignored, not refused."""


class Settings(
    # pydantic takes the fields of the last base first.
    BackgroundSettings,
    NotifySettings,
    ObservationSettings,
    SourcesSettings,
    MinersSettings,
    ContractSettings,
    ScheduleSettings,
    PoolSettings,
    BackupSettings,
    FilesSettings,
    DatabaseSettings,
    WeightsSettings,
    ChainSettings,
):
    """All settings, read once at start by `load_settings`; components receive only sections.

    Each setting is read from GAIA_<NAME>, else from its aliases, the variables of the original validator.
    """

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _env_file: Path | None = PrivateAttr(default=None)

    @property
    def chain(self) -> ChainSettings:
        return self._section(ChainSettings)

    @property
    def weights(self) -> WeightsSettings:
        return self._section(WeightsSettings)

    @property
    def database(self) -> DatabaseSettings:
        return self._section(DatabaseSettings)

    @property
    def files(self) -> FilesSettings:
        return self._section(FilesSettings)

    @property
    def backup(self) -> BackupSettings:
        return self._section(BackupSettings)

    @property
    def pool(self) -> PoolSettings:
        return self._section(PoolSettings)

    @property
    def schedule(self) -> ScheduleSettings:
        return self._section(ScheduleSettings)

    @property
    def contract(self) -> ContractSettings:
        return self._section(ContractSettings)

    @property
    def miners(self) -> MinersSettings:
        return self._section(MinersSettings)

    @property
    def sources(self) -> SourcesSettings:
        return self._section(SourcesSettings)

    @property
    def observation(self) -> ObservationSettings:
        return self._section(ObservationSettings)

    @property
    def notify(self) -> NotifySettings:
        return self._section(NotifySettings)

    @property
    def background(self) -> BackgroundSettings:
        return self._section(BackgroundSettings)

    @property
    def signer(self) -> SignerSettings:
        return SignerSettings(
            chain=self.chain,
            observation=self.observation,
            drain_timeout_s=self.drain_timeout_s,
            signed_epochs=self.chain.signed_epochs_path(self.data_dir),
            sandbox=self.sandbox,
        )

    @property
    def weather(self) -> WeatherSettings:
        return WeatherSettings(
            contract=self.contract,
            schedule=self.schedule,
            miners=self.miners,
            sources=self.sources,
            weights=self.weights,
            files=self.files,
            pool=self.pool,
        )

    @property
    def status(self) -> StatusSettings:
        return StatusSettings(
            chain=self.chain,
            weights=self.weights,
            database=self.database,
            files=self.files,
            pool=self.pool,
            schedule=self.schedule,
            contract=self.contract,
            sources=self.sources,
            observation=self.observation,
        )

    def describe(self) -> list[tuple[str, str, str]]:
        """Return (environment name, value as text, origin) of every setting; secrets are shown as ***."""
        rows = []
        for name in Settings.model_fields:
            given = COMMAND_LINE if name in self.model_fields_set else "default"
            rows.append((variable_of(name), shown(getattr(self, name)), self._origins.get(name, given)))
        return rows

    def secrets(self) -> Iterator[str]:
        """Yield the values of the secret settings, and the secrets in the addresses of the others."""
        for name in Settings.model_fields:
            value = getattr(self, name)
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, SecretStr) and each.get_secret_value():
                    yield each.get_secret_value()
                elif isinstance(each, str):
                    yield from secrets_in_url(each)

    def secret_variables(self) -> list[str]:
        """Return the variables of the secret settings, of others whose address holds a secret, and of keys' passwords."""
        found = [
            variable
            for name in Settings.model_fields
            if is_secret(name) or HIDDEN in shown(getattr(self, name))
            for variable in names_of(name)
        ]
        return [*found, *(name for name in os.environ if name.startswith(_OF_KEYS))]

    def hold_secrets(self) -> None:
        """Keep these secrets, and those of the environment's proxies, out of what this process writes."""
        hold(self.secrets())
        hold(secret for name in PROXIES for secret in secrets_in_url(os.environ.get(name, "")))

    def changed(self, variables: Mapping[str, str]) -> Settings:
        """Return these settings with other values of some variables; an empty value means the default.

        Raises
        ------
        ConfigurationError
            If a value is not allowed.
        """
        given = Variables(Settings, COMMAND_LINE, variables, names_of)
        named = {name for name in Settings.model_fields if variables.keys() & set(names_of(name))}
        kept = {name: getattr(self, name) for name in self.model_fields_set - named}
        try:
            return Settings(**(kept | given()))
        except ValidationError as error:
            raise explained(error, given.origins()) from None

    def note_origins(self, origins: Mapping[str, str]) -> None:
        """Remember where the values of these fields came from, for `describe`."""
        self._origins.update(origins)

    @property
    def env_file(self) -> Path | None:
        """The file of settings, as an absolute path, whether or not it exists; None: none was looked for."""
        return self._env_file

    def read_from(self, env_file: Path) -> Settings:
        """Return these settings with `env_file` as their file.

        If it lies in another folder than the working one, relative paths count from its folder.
        The same file then means the same validator, wherever a command is run.
        """
        settings = self.model_copy(update=self._beside(env_file))
        settings._env_file = place_of(env_file)  # noqa: SLF001 - it is this class
        return settings

    def _beside(self, env_file: Path) -> dict[str, Path]:
        folder = place_of(env_file).parent
        if folder == Path.cwd():
            return {}
        values = {name: getattr(self, name) for name in Settings.model_fields}
        moved = {
            name: folder / path
            for name, path in values.items()
            if isinstance(path, Path) and not path.is_absolute() and not str(path).startswith("~")
        }
        for name in moved:
            self._origins.setdefault(name, f"default beside {env_file}")
        return moved

    def from_command_line(self) -> set[str]:
        """Return the fields that the command line gave."""
        return {name for name, origin in self._origins.items() if origin == COMMAND_LINE}

    def _section(self, kind: type[Section]) -> Section:
        """Return one section; its values are valid because these are."""
        values = {name: getattr(self, name) for name in kind.model_fields}
        return kind.model_construct(self.model_fields_set & values.keys(), **values)


SECTIONS: tuple[type[HandedSettings], ...] = tuple(
    base for base in reversed(Settings.__bases__) if issubclass(base, HandedSettings)
)
"""Sections in the order in which operators read them."""


def load_settings(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the settings; the command line wins over the environment, credentials, and `env_file`, in this order.

    An empty value counts as not set. Lists are written as `a,b` or as JSON.

    Parameters
    ----------
    env_file
        File of NAME=value lines; a missing file counts as empty.
    overrides
        Values by field name, as given on the command line; None means not given.

    Raises
    ------
    ConfigurationError
        If a value is not allowed, or a name that begins with GAIA_ is not a setting; likewise of credentials.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for place in reversed(_places(env_file)):
        values |= place()
        origins |= place.origins()
    origins |= dict.fromkeys(given, COMMAND_LINE)
    try:
        settings = Settings(**(values | given))
    except ValidationError as error:
        raise explained(error, origins) from None
    settings.note_origins(origins)
    settings.hold_secrets()
    return settings


def surroundings() -> dict[str, str]:
    """Return a copy of the environment, for programs that tell where a value comes from."""
    return dict(os.environ)


def shown(value: Any) -> str:
    """Return `value` in the form of `.env`; a secret that is set is ***, also inside an address."""
    match value:
        case None:
            return ""
        case SecretStr():
            return HIDDEN if value.get_secret_value() else ""
        case bool():
            return str(value).lower()
        case list() if any(isinstance(item, SecretStr) for item in value):
            return HIDDEN
        case list():
            return ",".join(map(shown, value))
        case datetime():
            return value.isoformat()
        case _:
            return shown_url(str(value))


def is_secret(name: str) -> bool:
    """Return whether the field `name` holds a secret, or several."""
    return SecretStr.__name__ in str(Settings.model_fields[name].annotation)


def variable_of(name: str) -> str:
    """Return the environment variable of the field `name`."""
    return PREFIX + name.upper()


def names_of(name: str) -> list[str]:
    """Return the variables from which the field `name` is read: ours, then the original validator's."""
    return [variable_of(name), *_schemas()[name]["aliases"]]


def credentials_of(name: str) -> list[str]:
    """Return the credentials from which the field `name` is read; only secrets have one."""
    if name == "hotkey_file":
        return [HOTKEY_CREDENTIAL]
    return [variable_of(name).lower()] if is_secret(name) else []


def given_credentials() -> dict[str, str]:
    """Return the credentials of this process by name, as `read_credentials` does; of the hotkey the path."""
    return read_credentials([each for name in Settings.model_fields for each in credentials_of(name)])


def allowed(name: str) -> str:
    """Return the allowed values of the field `name` in words, such as "a whole number from 0 to 65535"."""
    return words_for(_schemas()[name])


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = Settings.model_json_schema()["properties"]
    return schemas


def _places(env_file: Path | None) -> list[Variables]:
    """Return the sources of variables, most important first; raise for GAIA_ names that are not settings."""
    from_file = read_env_file(env_file)
    for error in (*names_refused(os.environ, "the environment"), *names_refused(from_file, str(env_file))):
        raise error
    return [
        Variables(Settings, "environment", os.environ, names_of),
        Variables(Settings, "credential", given_credentials(), credentials_of),
        Variables(Settings, str(env_file), from_file, names_of),
    ]


def names_refused(source: Mapping[str, str | None], where: str) -> Iterator[ConfigurationError]:
    """Yield the error for each variable of a place that has our prefix and is no setting."""
    known = {variable for name in Settings.model_fields for variable in names_of(name)}
    for variable in source:
        if not variable.upper().startswith(PREFIX) or variable in known | RETIRED:
            continue
        close = difflib.get_close_matches(variable.upper(), known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        yield ConfigurationError(
            variable, f"is not a setting, but {where} contains it{hint}", "correct or remove it"
        )


def explained(error: ValidationError, origins: Mapping[str, str]) -> ConfigurationError:
    """Return the first error as one sentence that names the variable; `origins` as in `Variables.origins`."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "rule":
        context = first["ctx"]
        return ConfigurationError(variable_of(context["name"]), context["problem"], context["remedy"])
    name = str(first["loc"][0])
    if name not in Settings.model_fields:
        return ConfigurationError(variable_of(name), "is not a setting", "remove it")
    origin = origins.get(name, "")
    variable = origin.split()[-1] if " " in origin and origin != COMMAND_LINE else variable_of(name)
    value = "this value" if is_secret(name) else f'"{shown(first["input"])[:80]}"'
    return ConfigurationError(variable, f"{value} is not allowed", f"use {allowed(name)}")
