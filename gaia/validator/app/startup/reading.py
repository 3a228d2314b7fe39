"""Reads the settings, and rejects names of fields that the weather task does not know."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaia.tasks.defined_tasks.weather.variables import ALL_FIELDS
from gaia.validator.utils.config import Settings, load_settings, variable_of
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.setting_sources import place_of

if TYPE_CHECKING:
    from gaia.validator.utils.settings.contract import ContractSettings


_USUAL_FILE = Path(".env")


def named_file(path: Path | None) -> Path:
    """Return the file of settings that `--env-file` names; None: `.env` in the working folder, if it exists.

    Raises
    ------
    ConfigurationError
        If a file is named that does not exist.
    """
    if path is not None and not path.exists():
        raise ConfigurationError("--env-file", f"there is no file {path}", "name the file of settings")
    return path or _USUAL_FILE


def read_again(env_file: Path | None) -> Settings:
    """Return what the environment and the file of the running validator say now; None: it named no file."""
    return read_settings(env_file or _USUAL_FILE)


def sources_of(env_file: Path) -> str:
    """Return a sentence that says which file of settings is read."""
    path = place_of(env_file)
    read = (
        f"from the environment and {path}" if path.exists() else f"from the environment; there is no {path}"
    )
    return f"Settings come {read}."


def read_settings(env_file: Path | None = _USUAL_FILE, **overrides: Any) -> Settings:
    """Return the settings of a validator, with the names of fields checked.

    Relative paths count from the folder of `env_file`.

    Raises
    ------
    ConfigurationError
        If a setting is not allowed, or names a field that does not exist.
    """
    settings = load_settings(env_file, **overrides)
    require_known_fields(settings.contract)
    return settings if env_file is None else settings.read_from(env_file)


def require_known_fields(contract: ContractSettings) -> None:
    """Raise for an unknown field, and suggest a similar name."""
    for name in ("day1_fields", "final_fields"):
        unknown = [field for field in getattr(contract, name) if field not in ALL_FIELDS]
        if unknown:
            close = difflib.get_close_matches(unknown[0], ALL_FIELDS, n=1)
            hint = f"did you mean {close[0]}?" if close else "names look like 2t, msl, z500"
            raise ConfigurationError(
                variable_of(name), f'"{unknown[0]}" is not a known field', f"correct it ({hint})"
            )
