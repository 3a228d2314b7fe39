"""Refusals of a source: its own words, their reason, and how long to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from gaia.validator.utils.errors import NotYetAvailable, TransientError
from gaia.validator.utils.secrecy import without_secrets

LONGEST_ASKED_WAIT: Final = timedelta(hours=6)
"""Longest wait that a source can impose on us."""

_SHORTEST_ASKED_WAIT = timedelta(seconds=1)
_READ_BYTES = 8192
_LONGEST_WORDS = 300
_SAID = ("detail", "message", "error_description", "traceback")
"""Members of a JSON answer that contain sentences, in the Climate Data Store's order."""

_MARKUP = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<[^<>]*>")
_MARKUP_TITLE = re.compile(r"(?is)<title\b[^<>]*>([^<]*)")
_WAIT = re.compile(
    r"(?i)\b(?:wait|retry|again)\b[^\d.;]{0,40}(\d{1,6})\s*(s|sec|m|min|h)(?:onds?|utes?|ours?|rs?|s)?\b"
)
_UNITS: Mapping[str, timedelta] = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}


class Reason(StrEnum):
    """Reason of a refusal."""

    KEY = "key"
    LICENCE = "licence"
    COST = "cost"
    DAILY = "daily"
    QUEUE = "queue"
    BUSY = "busy"
    MOVED = "moved"
    BLOCKED = "blocked"
    OTHER = "other"

    @property
    def needs_operator(self) -> bool:
        """Whether waiting alone is unlikely to help."""
        return self in (Reason.KEY, Reason.LICENCE, Reason.COST, Reason.MOVED, Reason.BLOCKED)


_MEANINGS: Mapping[Reason, str] = {
    Reason.KEY: "does not accept our key",
    Reason.LICENCE: "asks for a licence to be accepted",
    Reason.COST: "finds the request too large",
    Reason.DAILY: "has reached its daily limit for our requests",
    Reason.QUEUE: "has too many requests queued",
    Reason.BUSY: "is busy or out of order",
    Reason.MOVED: "has moved",
    Reason.BLOCKED: "blocks us",
    Reason.OTHER: "does not serve us",
}

_CLAIMS: Mapping[Reason, re.Pattern[str]] = {
    Reason.LICENCE: re.compile(r"(?i)licen[cs]e|terms of use"),
    Reason.DAILY: re.compile(r"(?i)\bdaily\b|\b(?:per|a) day\b"),
    Reason.QUEUE: re.compile(r"(?i)\bqueued?\b|temporarily limited"),
    Reason.COST: re.compile(r"(?i)\bcost limits?\b|request is too large|reduce your selection"),
}
_KEY = re.compile(r"(?i)\bkeys?\b|\btokens?\b|authenticat|unauthori[sz]ed|credentials?\b")


class SourceRefusal(TransientError):
    """A source answers, but refuses to serve us at present.

    Parameters
    ----------
    wait
        Wait that the source asks for; None if it does not say.
    """

    def __init__(self, message: str, reason: Reason, wait: timedelta | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.wait = wait


class Overdue(NotYetAvailable):
    """A source lacks data that it usually publishes hours earlier; the operator should look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Text of an answer for people, printable and short."""

    title: str
    text: str
    is_markup: bool

    def __str__(self) -> str:
        said = ": ".join(dict.fromkeys(filter(None, (self.title, self.text))))
        return said[:_LONGEST_WORDS] or "without a reason"


def words_of(content: bytes) -> Words:
    """Return the text in the body of an answer: JSON of an API, an HTML page, or plain text.

    Examples
    --------
    >>> str(words_of(b'{"title": "licences not accepted", "detail": "visit the site", "status": 403}'))
    'licences not accepted: visit the site'
    >>> str(words_of(b"<html><head><title>403 Forbidden</title></head><h1>nginx</h1></html>"))
    '403 Forbidden: 403 Forbidden nginx'
    >>> str(words_of(b""))
    'without a reason'
    """
    text = content[:_READ_BYTES].decode(errors="replace").replace("\ufffd", " ")
    if text.lstrip().startswith("<"):
        title = _MARKUP_TITLE.search(text)
        return Words(
            title=_printable(title[1] if title else ""),
            text=_printable(_MARKUP.sub(" ", text)),
            is_markup=True,
        )
    try:
        said: Any = msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return Words(title="", text=_printable(text), is_markup=False)
    title_said = said.get("title") or said.get("error") or ""
    sentences = [said[name] for name in _SAID if isinstance(said.get(name), str)]
    return Words(
        title=_printable(title_said if isinstance(title_said, str) else ""),
        text=_printable(": ".join(sentences)) or ("" if title_said else _printable(text)),
        is_markup=False,
    )


def refusal_of(
    source: str, status: int, headers: Mapping[str, str], content: bytes, asked: str
) -> SourceRefusal:
    """Return the error that an unexpected status means.

    The key is at fault only if the answer's title says so, or an answer of 401 says so
    anywhere. The words of the answer also identify a licence, a limit or a block.
    """
    words = words_of(content)
    reason = _reason(status, words)
    told = f"{status} to {asked}"
    if reason is Reason.MOVED:
        told += f" with the new address {_printable(headers.get('location', ''))[:_LONGEST_WORDS]!r}"
    return SourceRefusal(
        f"{source} {_MEANINGS[reason]}: it answered {told}: {words}", reason, _asked_wait(headers, words)
    )


def _reason(status: int, words: Words) -> Reason:
    # Footers of pages mention licences and the like on any page.
    said = words.title if words.is_markup else f"{words.title} {words.text}"
    for reason, pattern in _CLAIMS.items():
        if pattern.search(said):
            return reason
    if status in (401, 403):
        about_key = _KEY.search(said if status == 401 else words.title)
        return Reason.KEY if about_key else Reason.BLOCKED
    if 300 <= status < 400:
        return Reason.MOVED
    return Reason.BUSY if status == 429 or status >= 500 else Reason.OTHER


def _asked_wait(headers: Mapping[str, str], words: Words) -> timedelta | None:
    wait = _retry_after(headers)
    if wait is None and (found := _WAIT.search(words.text)):
        wait = int(found[1]) * _UNITS[found[2][0].lower()]
    return None if wait is None else min(max(wait, _SHORTEST_ASKED_WAIT), LONGEST_ASKED_WAIT)


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return timedelta(seconds=min(int(said[:9]), int(LONGEST_ASKED_WAIT.total_seconds())))
    moments = []
    for text in (said, headers.get("date", "")):
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            moment = None
        moments.append(moment)
    until, now = moments
    if until is None:
        return None
    now = now or datetime.now(UTC)
    return until.replace(tzinfo=until.tzinfo or UTC) - now.replace(tzinfo=now.tzinfo or UTC)


def _printable(text: str) -> str:
    # A source may repeat our key in its answer.
    known = without_secrets(text)
    shown = "".join(character if character.isprintable() else " " for character in known)
    return " ".join(shown.split())[: 2 * _LONGEST_WORDS]
