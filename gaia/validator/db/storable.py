"""Converts strangers' texts and values to a form and size that the database accepts."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

LONGEST_TEXT: Final = 2_000
"""Largest number of characters of a text; our own reasons have a few hundred, the rest is a quotation."""
_MOST_MEMBERS: Final = 200
_DEEPEST: Final = 4


def storable_text(text: str) -> str:
    r"""Return `text` cut to `LONGEST_TEXT`, with characters that PostgreSQL refuses (NUL, surrogates) replaced.

    Otherwise a miner could make its own row unwritable, and could not be rejected.

    >>> storable_text("no\x00pe")
    'no\ufffdpe'
    """
    whole = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return whole if len(whole) <= LONGEST_TEXT else whole[: LONGEST_TEXT - 3] + "..."


def storable(value: Any, depth: int = 0) -> Any:
    """Return a value for jsonb with storable texts, bounded lists and objects, and bounded depth."""
    if isinstance(value, str):
        return storable_text(value)
    if depth == _DEEPEST and isinstance(value, Mapping | list | tuple):
        return "..."
    if isinstance(value, Mapping):
        members = list(value.items())[:_MOST_MEMBERS]
        return {storable_text(str(name)): storable(member, depth + 1) for name, member in members}
    if isinstance(value, list | tuple):
        return [storable(member, depth + 1) for member in value[:_MOST_MEMBERS]]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value
