"""Asks whether a newer release exists; it tells the operator, and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import structlog

from gaia.validator.core.background.web import exchange
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.version import version

log = structlog.get_logger(__name__)

_TIMEOUT_S = 20.0
_RELEASE = re.compile(r"v?(\d{1,6}(?:\.\d{1,6}){1,3})")


class UpdateCheck:
    """Compares our version with the one at `update_url`.

    The address answers with a version such as 4.1.0 or v4.1.0 alone, or with the JSON of a
    release: of GitHub (`tag_name`), of PyPI (`info.version`), or with a `version`.

    Parameters
    ----------
    update_url
        The address; "": nothing is asked.
    show
        Called with whether a newer release is known.
    """

    def __init__(self, update_url: str, show: Callable[[bool], None], own_version: str | None = None) -> None:
        self._url = update_url
        self._show = show
        self._own = own_version or version()
        self._told = ""

    async def check_for_updates(self) -> None:
        """Ask once; show whether there is a newer release, and log each once.

        Raises
        ------
        TransientError
            If the address does not answer with a version.
        """
        if not self._url:
            return
        page = await exchange("GET", self._url, what="the address of releases", timeout_s=_TIMEOUT_S)
        if page.status != 200:
            raise TransientError(f"the address of releases answered {page.status}")
        newest = released(page.content)
        is_newer = _numbers(newest) > _numbers(self._own)
        self._show(is_newer)
        if is_newer and newest != self._told:
            self._told = newest
            log.info("update_available", newest=newest, running=self._own)


def released(content: bytes) -> str:
    """Return the version that an answer names.

    Raises
    ------
    TransientError
        If it names none.

    Examples
    --------
    >>> released(b"v4.1.0"), released(b'{"tag_name": "v4.2.0"}'), released(b'{"info": {"version": "4.3"}}')
    ('4.1.0', '4.2.0', '4.3')
    """
    text = content.decode("utf-8", "replace").strip()
    try:
        told = json.loads(text) if text.startswith("{") else text
    except ValueError:
        told = ""
    found = _RELEASE.fullmatch(_named(told))
    if found is None:
        raise TransientError("the address of releases names no version")
    return found[1]


def _named(told: Any) -> str:
    if isinstance(told, dict):
        info = told.get("info")
        told = told.get("tag_name") or told.get("version") or (isinstance(info, dict) and info.get("version"))
    return told if isinstance(told, str) else ""


def _numbers(release: str) -> tuple[int, ...]:
    """Return a version's numbers without final zeros, so that 4.1 and 4.1.0 are equal; () if it has none."""
    found = _RELEASE.match(release)
    numbers = [int(number) for number in found[1].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
