"""Secrets that a service manager hands over as files, such as the credentials of systemd."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from pathlib import Path

from gaia.validator.utils.errors import ConfigurationError

FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Variable in which systemd names the folder of a service's credentials."""
HOTKEY_CREDENTIAL = "gaia_hotkey"
"""Credential that is the hotkey's file; the setting gets its path, because only the signer reads it."""
CREDENTIAL_PREFIX = "gaia_"


def credentials_folder() -> Path | None:
    """Return the folder of this process's credentials; None: it was given none."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else None


def read_credentials(folder: Path | None, known: Collection[str]) -> dict[str, str]:
    """Return the credentials in `folder` by name; those of other programs, without our prefix, are left out.

    Raises
    ------
    ConfigurationError
        If the folder or a credential cannot be read, or a name with our prefix is not among `known`.
    """
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
