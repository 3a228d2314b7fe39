"""Prepares strangers' text for pages: no address, no path, no invisible character."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_LONGEST: Final = 400
_UNSEEN: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_HIDDEN: Final = (
    (re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+"), "[address]"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "[address]"),
    (re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"), "[address]"),
    (re.compile(r"\b(?=[\w.-]*[A-Za-z])(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+:\d{2,5}\b(?!:)"), "[address]"),
    (re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"), "[address]"),
    (re.compile(r"(?<![\w./-])(?:[A-Za-z0-9-]+\.){2,}[A-Za-z]{2,}\b"), "[address]"),
    (re.compile(r"(?<![\w./])~?/[\w.@+-]+(?:/[\w.@+-]*)+"), "[path]"),
)


def seen(text: str) -> str:
    r"""Return text with invisible characters replaced by a mark.

    >>> seen("a\x00b\u202ec")
    'a\ufffdb\ufffdc'
    """
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(char) in _UNSEEN else char for char in text)


def visible(text: str) -> str:
    """Return text without invisible characters, cut with a mark after 400 characters.

    >>> visible("5" * 401)[-3:]
    '55…'
    """
    return seen(text[:_LONGEST]) + ("…" if len(text) > _LONGEST else "")


def public(text: str) -> str:
    """Return a reason that anybody may read: addresses and absolute paths are replaced by words.

    >>> public("no answer from https://10.0.0.1:8080/x in 5 s"), public("2t/.zarray is no object")
    ('no answer from [address] in 5 s', '2t/.zarray is no object')
    """
    for pattern, word in _HIDDEN:
        text = pattern.sub(word, text)
    return visible(text)
