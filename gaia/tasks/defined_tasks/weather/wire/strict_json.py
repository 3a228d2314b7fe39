"""Parses JSON of strangers more strictly than the standard library."""

from __future__ import annotations

import json
from typing import Any


def strict_json(content: bytes) -> Any:
    """Return the parsed `content`, in which no object may repeat a key.

    Parsers differ in which value of a repeated key they take.

    Raises
    ------
    ValueError
        If it is not JSON, or a key is repeated.
    RecursionError
        If it is nested too deeply.

    Examples
    --------
    >>> strict_json(b'{"a": 1}')
    {'a': 1}
    """
    return json.loads(content, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is repeated")
    return members
