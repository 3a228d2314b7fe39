"""Settings as far as this release accepts them, for programs that say everything that it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gaia.validator.app.startup.reading import require_known_fields
from gaia.validator.utils.config import (
    Settings,
    credentials_of,
    explained,
    given_credentials,
    names_of,
    names_refused,
    surroundings,
)
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.setting_sources import Variables, read_env_file

if TYPE_CHECKING:
    from gaia.validator.utils.settings.contract import ContractSettings

ENVIRONMENT = "the environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What this release makes of the settings that an operator gave."""

    settings: Settings
    """The settings without those that are refused."""
    refused: tuple[ConfigurationError, ...]
    """One sentence for each variable, value or file that is refused; no secret is repeated."""
    given: Mapping[str, Mapping[str, str | None]]
    """Place -> variables that are written there, of other programs too."""


def accepted_settings(env_file: Path) -> Accepted:
    """Return what this release accepts of the environment, the credentials and `env_file`.

    Where `read_settings` raises the first refusal, this returns all of them.
    """
    refused: list[ConfigurationError] = []
    in_file: Mapping[str, str | None] = {}
    credentials: Mapping[str, str] = {}
    try:
        in_file = read_env_file(env_file)
    except ConfigurationError as error:
        refused.append(error)
    try:
        credentials = given_credentials()
    except ConfigurationError as error:
        refused.append(error)
    given: Mapping[str, Mapping[str, str | None]] = {ENVIRONMENT: surroundings(), str(env_file): in_file}
    places = (
        Variables(Settings, str(env_file), in_file, names_of),
        Variables(Settings, "credential", credentials, credentials_of),
        Variables(Settings, "environment", given[ENVIRONMENT], names_of),
    )
    settings, values_refused = agreeing(
        {name: value for place in places for name, value in place().items()},
        {name: origin for place in places for name, origin in place.origins().items()},
    )
    settings.hold_secrets()
    return Accepted(
        settings=settings.read_from(env_file),
        refused=(
            *refused,
            *(error for where, variables in given.items() for error in names_refused(variables, where)),
            *values_refused,
            *_fields_refused(settings.contract),
        ),
        given=given,
    )


def agreeing(
    values: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> tuple[Settings, list[ConfigurationError]]:
    """Return the settings with all of `values` that are allowed together, and why the others are not.

    A setting may need a secret, which is never published, or another release may have published it.

    Parameters
    ----------
    values
        Field -> value; of two that do not agree, the first is kept.
    origins
        Field -> place and variable, for the sentences; None: the usual variables.
    """
    try:
        return Settings(**values), []
    except ValidationError:
        pass  # found out below, one by one
    kept: dict[str, Any] = {}
    refused: dict[str, ConfigurationError] = {}
    waiting = dict(values)
    for _ in range(2):  # a setting may need one that follows it
        for name, value in list(waiting.items()):
            try:
                Settings(**kept, **{name: value})
            except ValidationError as error:
                refused[name] = explained(error, origins or {})
                continue
            kept[name] = waiting.pop(name)
            refused.pop(name, None)
    return Settings(**kept), list(refused.values())


def _fields_refused(contract: ContractSettings) -> list[ConfigurationError]:
    try:
        require_known_fields(contract)
    except ConfigurationError as error:
        return [error]
    return []
