"""What a look found, or why it found nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Reason why a look found nothing; takes the place of what it would have found."""

    words: str


class Unseen(Exception):
    """A check needs what could not be looked at; the text is the reason."""


def seen(value: T | Trouble) -> T:
    """Return what a look found.

    Raises
    ------
    Unseen
        If it found nothing.
    """
    if isinstance(value, Trouble):
        raise Unseen(value.words)
    return value
