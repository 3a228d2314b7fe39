"""Sources of settings: variables of the environment and of a file such as `.env`, and credentials."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_origin

from dotenv.parser import parse_stream
from pydantic import Field
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Variable in which systemd names the folder of a service's credentials."""
HOTKEY_CREDENTIAL = "gaia_hotkey"
"""Credential that is the hotkey's file; the setting gets its path, because only the signer reads it."""
CREDENTIAL_PREFIX = "gaia_"


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


def credentials_folder() -> Path | None:
    """Return the folder of this process's credentials; None: it was given none."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else None


def read_credentials(known: Collection[str]) -> dict[str, str]:
    """Return the credentials of this process by name; those of other programs, without our prefix, are left out.

    Raises
    ------
    ConfigurationError
        If the folder or a credential cannot be read, or a name with our prefix is not among `known`.
    """
    folder = credentials_folder()
    if folder is None:
        return {}
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name.startswith(CREDENTIAL_PREFIX))
    except OSError as error:
        problem = f"{folder} cannot be read ({error.strerror})"
        raise ConfigurationError(FOLDER_VARIABLE, problem, "correct or unset it") from None
    return {name: _content(folder / name, known) for name in names}


def _content(path: Path, known: Collection[str]) -> str:
    name = path.name
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        problem = f"is not a secret of the validator, but {path.parent} contains it{hint}"
        raise ConfigurationError(name, problem, "correct or remove this credential")
    if name == HOTKEY_CREDENTIAL:
        return str(path)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        problem = f"the credential cannot be read ({error.strerror})"
        raise ConfigurationError(name, problem, "give the validator's user the right") from None
    except UnicodeDecodeError:
        raise ConfigurationError(name, "the credential is not text", "correct or remove it") from None


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


def words_for(schema: Mapping[str, Any]) -> str:
    """Return the values that a field's JSON schema allows in words, such as "a whole number from 0 to 65535"."""
    choice = schema["anyOf"][0] if "anyOf" in schema else schema
    if "enum" in choice or "const" in choice:
        return " or ".join(each or "nothing" for each in choice.get("enum", [choice.get("const")]))
    if choice["type"] == "array":
        items = choice["items"]
        kind = "password" if "pattern" in items else items.get("format", items["type"])
        return f"{_PLURALS[kind]} separated by commas"
    kind = _KINDS.get(choice.get("format", choice["type"]), "text")
    if "pattern" in choice:
        starts = choice["pattern"].removeprefix("^").removesuffix("://")
        return f"an address that begins with {starts.replace('s?', '')}:// or {starts.replace('?', '')}://"
    return kind + _limits(choice)


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "path": "a path",
    "date-time": "a time such as 2026-01-31T00:00Z",
}
_PLURALS = {"integer": "whole numbers", "number": "numbers", "string": "names", "password": "addresses"}


def _limits(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    if least is not None:
        return f" of at least {least:g}"
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']:g}"
    return ""


def _split(text: str) -> list[Any]:
    """Return the items of a list written as JSON or separated by commas."""
    try:
        value = json.loads(text)
        return value if isinstance(value, list) else [value]
    except ValueError:
        return [item.strip() for item in text.strip("[] ").split(",") if item.strip()]
