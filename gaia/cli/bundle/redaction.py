"""Removes secrets from everything that goes into a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from gaia.validator.app.logging_config import without_secrets

if TYPE_CHECKING:
    from gaia.validator.utils.config import Settings

_HIDDEN = "***"
_SHORTEST = 4
"""Letters of a secret that is looked for; a shorter one would be found in other words."""


class Redactor:
    """Replaces the secrets of these settings wherever they occur, and what has the shape of a secret.

    Parameters
    ----------
    settings
        Settings whose secrets are known.
    """

    def __init__(self, settings: Settings) -> None:
        found = {form for secret in _secrets(settings) for form in _forms(secret) if len(form) >= _SHORTEST}
        # The longest first, because one secret may be a part of another.
        self._secrets = sorted(found, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return without_secrets(text)


def _secrets(settings: Settings) -> list[str]:
    given = [getattr(settings, name) for name in type(settings).model_fields]
    values = [each for value in given for each in (value if isinstance(value, list) else [value])]
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def _forms(secret: str) -> list[str]:
    """Return a secret as it may be written: as it is, as a part of an address, and in an address."""
    forms = [secret, quote(secret, safe=""), repr(secret)[1:-1]]
    try:
        password = urlsplit(secret).password
    except ValueError:
        password = None
    if password:
        forms += [password, unquote(password)]
    return forms
