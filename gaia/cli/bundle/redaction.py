"""Removes secrets from everything that goes into a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.utils.secrecy import HIDDEN, forms_of, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORTEST = 4
"""Letters of a secret that is looked for; a shorter one would be found in other words."""


class Redactor:
    """Replaces known secrets wherever they occur, and what has the shape of a secret.

    Parameters
    ----------
    secrets
        Secrets that are known, such as those of the settings.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {form for secret in secrets for form in forms_of(secret) if len(form) >= _SHORTEST}
        # The longest first, because one secret may be a part of another.
        self._secrets = sorted(found, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return without_secrets(text)
