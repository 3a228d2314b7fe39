"""Reads pages as a strict parser does."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_EMPTY = {"meta", "link", "img", "br"}


@dataclass
class Page(HTMLParser):
    """One parsed page: what it links to, its text, its tables; an element that is not closed is an error."""

    links: list[str] = field(default_factory=list)
    images: list[dict[str, str | None]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str | None]] = field(default_factory=list)
    text: str = ""
    tables: int = 0
    headed: int = 0
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        given = dict(attrs)
        if tag in ("a", "link"):
            self.links.append(given["href"] or "")
        if tag == "img":
            self.images.append(given)
        if tag == "table":
            self.tables += 1
        if tag == "thead":
            self.headed += 1
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def read(content: bytes) -> Page:
    """Return a page that is well formed."""
    text = content.decode()
    assert text.startswith("<!DOCTYPE html>\n")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page
