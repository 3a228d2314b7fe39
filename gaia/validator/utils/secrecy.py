"""Keeps secrets out of what is written: those that this process holds, and what has the shape of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

HIDDEN = "***"
"""What is written in place of a secret."""

_SHORTEST = 8
_SHORTEST_WORD = 12
"""Letters of a secret that is looked for everywhere; a shorter one would be found in other words."""

_NAME = r"(?:password|passwd|secret|token|api_?key|private_?key|symmetric_?key|signature)"
_SHAPES = (
    # Neither an example for the operator, such as user:password@host, nor a port.
    (
        re.compile(r"((?<!\w)\w{1,40}://[^/\s:@\"']*:)(?!password@|\d{1,5}(?:[/?#\s]|$))[^\s\"']{1,300}@"),
        rf"\1{HIDDEN}@",
    ),
    (re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)((?<![\w-])[\w-]*{_NAME}=)[^\s&\"',;]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)(\"[\w-]*{_NAME}\"\s*:\s*\")[^\"]+"), rf"\1{HIDDEN}"),
    # A JSON Web Token, such as miners give.
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"), HIDDEN),
)
_URL_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=[^&#\s]+")


class _Held:
    """The secrets of this process."""

    forms: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None


_held = _Held()


def hold(secrets: Iterable[str]) -> None:
    """Remember secrets of this process, so that `without_secrets` finds them wherever they occur.

    A short secret, or a short one of letters alone, is not looked for, because it may be part of other words.
    """
    found = {form for secret in secrets for form in forms_of(secret) if _is_distinct(form)}
    if found <= _held.forms:
        return
    _held.forms |= found
    # The longest first, because one form may be a part of another.
    longest_first = sorted(_held.forms, key=lambda form: (-len(form), form))
    _held.pattern = re.compile("|".join(map(re.escape, longest_first)))


def without_secrets(text: str) -> str:
    """Return a text of any length with secrets replaced by ***: held ones, and those that their shape shows."""
    if _held.pattern is not None:
        text = _held.pattern.sub(HIDDEN, text)
    for pattern, replacement in _SHAPES:
        text = pattern.sub(replacement, text)
    return text


def shown_url(url: str) -> str:
    """Return an address without its password and without the values of its query.

    >>> shown_url("wss://user:pass@node.example:443/ws?apikey=abc"), shown_url("https://node.example/ws")
    ('wss://user:***@node.example:443/ws?apikey=***', 'https://node.example/ws')
    """
    return _URL_QUERY.sub(rf"\1={HIDDEN}", without_secrets(url)) if "://" in url else without_secrets(url)


def secrets_of_endpoint(url: str) -> Iterator[str]:
    """Yield what may be secret in the address of a node, for which providers give keys in any part but the host."""
    from urllib.parse import unquote, urlsplit

    yield from secrets_in_url(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    yield from (unquote(part) for part in (parts.username or "", *parts.path.split("/")) if part)


def secrets_in_url(url: str) -> Iterator[str]:
    """Yield the password of an address, and the values of its query."""
    # Not at the top, because every program loads this module, and most hold no secret.
    from urllib.parse import parse_qsl, unquote, urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return
    if parts.scheme and parts.password:
        yield from {parts.password, unquote(parts.password)}
    if parts.scheme and parts.query:
        yield from (value for _, value in parse_qsl(parts.query))


def forms_of(secret: str) -> set[str]:
    """Return a secret as it may be written: as it is, in an address, in Python or JSON, in base64."""
    import base64
    import json
    from urllib.parse import quote, quote_plus

    plain = {secret, *secrets_in_url(secret)}
    written = {
        form
        for each in plain
        for form in (each, quote(each, safe=""), quote_plus(each), repr(each)[1:-1], json.dumps(each)[1:-1])
    }
    encoded = {
        code(each.encode()).decode().rstrip("=")
        for each in plain
        for code in (base64.b64encode, base64.urlsafe_b64encode)
    }
    return written | encoded


def _is_distinct(form: str) -> bool:
    return len(form) >= (_SHORTEST_WORD if form.isalpha() else _SHORTEST)
