"""Builds HTML and SVG in which every text is escaped, and has no invisible character, unless it was built here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final

from gaia.validator.core.site.plain_text import seen

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
_EMPTY: Final = {"meta", "link", "img", "br"}


class Markup(str):
    """Markup that is escaped already; only this module makes it."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]
"""Content of an element: text is escaped, None is left out."""
Attribute = str | int | float | bool | None


def element(name: str, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element with its content.

    An underscore in the name of an attribute becomes a hyphen, and one at its end is dropped. True gives an
    attribute without a value; None and False give none.

    Examples
    --------
    >>> element("a", "<b>", class_="x", href="y.html")
    '<a class="x" href="y.html">&lt;b&gt;</a>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY:
        return Markup(f"<{_checked(name)}{written}>")
    return Markup(f"<{_checked(name)}{written}>{joined(children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Return the contents one after the other."""
    return Markup("".join(_written(child) for child in children))


def document(*children: Child) -> bytes:
    """Return a whole HTML file."""
    return f"<!DOCTYPE html>\n{joined(children)}\n".encode()


def style_sheet(css: str) -> Markup:
    """Return a style element with a sheet of ours.

    Raises
    ------
    ValueError
        If the sheet could end the element.
    """
    if "<" in css:
        raise ValueError("a style sheet must not hold '<'")
    return Markup(f"<style>{css}</style>")


def _written(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return str(child)
    if isinstance(child, str | int):
        return html.escape(seen(str(child)))
    return "".join(_written(each) for each in child)


def _attribute(key: str, value: Attribute) -> str:
    name = _checked(key.rstrip("_").replace("_", "-"))
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(seen(shown))}"'


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an element or attribute")
    return name
