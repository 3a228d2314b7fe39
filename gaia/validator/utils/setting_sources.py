"""Sources of settings: variables of the environment and of a file such as `.env`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_origin

from dotenv.parser import parse_stream
from pydantic import Field
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class HandedSettings(BaseSettings):
    """An immutable group of settings; if constructed in code, it holds only its arguments and defaults."""

    heading: ClassVar[str] = ""
    """Title of this group on the pages for operators."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the arguments as the only source; a loader passes the values of the environment."""
        return (init_settings,)


class Variables(PydanticBaseSettingsSource):
    """Source of settings: the variables of one place.

    Parameters
    ----------
    settings_cls
        Class whose fields are looked up.
    where
        Name of the place for operators.
    variables
        Values by variable; an empty value counts as not set.
    names_of
        Returns the variables of a field, most important first.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        where: str,
        variables: Mapping[str, str | None],
        names_of: Callable[[str], Sequence[str]],
    ) -> None:
        super().__init__(settings_cls)
        self._where = where
        self._variables = variables
        self._names_of = names_of

    def __call__(self) -> dict[str, Any]:
        """Return field -> value of every field that is set here."""
        fields = self.settings_cls.model_fields
        return {name: self.get_field_value(fields[name], name)[0] for name in self.origins()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value for pydantic to validate, its variable, and False: it needs no decoding."""
        variable = self._variable(field_name)
        text = self._variables.get(variable) or ""
        return (_split(text) if get_origin(field.annotation) is list else text.strip()), variable, False

    def origins(self) -> dict[str, str]:
        """Return field -> place and variable of every field that is set here."""
        found = {name: self._variable(name) for name in self.settings_cls.model_fields}
        return {name: f"{self._where} {variable}" for name, variable in found.items() if variable}

    def _variable(self, name: str) -> str:
        return next((each for each in self._names_of(name) if self._variables.get(each)), "")


def read_env_file(path: Path | None) -> dict[str, str | None]:
    """Return the values of NAME=value lines, without expanding dollar signs; a missing file counts as empty.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a line has another form.
    """
    if path is None or not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"cannot be read ({error})", "correct or remove it") from None
    for binding in bindings:
        if binding.error:
            problem = f"line {binding.original.line} is not of the form NAME=value"
            raise ConfigurationError(str(path), problem, "correct or remove that line")
    return {binding.key: binding.value for binding in bindings if binding.key is not None}


def place_of(env_file: Path) -> Path:
    """Return the absolute path of a file of settings, without links in its folder; the file may be a link."""
    return env_file.parent.resolve() / env_file.name


def setting(default: Any, description: str, *aliases: str, **limits: Any) -> Any:
    """Return a field that is read from <PREFIX><NAME>, else from `aliases`, the original's variables."""
    return Field(default, description=description, json_schema_extra={"aliases": list(aliases)}, **limits)


def broken_rule(name: str, problem: str, remedy: str) -> PydanticCustomError:
    """Return the error for a value of the field `name` that conflicts with other settings."""
    return PydanticCustomError(
        "rule", "{problem}; {remedy}", {"name": name, "problem": problem, "remedy": remedy}
    )


def at_home(path: Path) -> Path:
    """Return `path` with ~ replaced by the home folder, because no shell does that in `.env`.

    Raises
    ------
    ValueError
        If the user has no home.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _split(text: str) -> list[Any]:
    """Return the items of a list written as JSON or separated by commas."""
    try:
        value = json.loads(text)
        return value if isinstance(value, list) else [value]
    except ValueError:
        return [item.strip() for item in text.strip("[] ").split(",") if item.strip()]
