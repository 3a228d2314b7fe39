"""What msgspec and pydantic read of annotations at run time is there at run time."""

from __future__ import annotations

import importlib
import typing

import msgspec
import pydantic
import pytest

from tests.support.repository import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "gaia").rglob("*.py")
    if path.stem not in {"__init__", "__main__"}
)


@pytest.mark.parametrize("name", MODULES)
def test_annotations_that_a_library_reads_can_be_resolved(name: str) -> None:
    module = importlib.import_module(name)
    own = [kind for kind in vars(module).values() if getattr(kind, "__module__", "") == name]

    for kind in own:
        if isinstance(kind, type) and issubclass(kind, (msgspec.Struct, pydantic.BaseModel)):
            _resolve(kind, set())


def _resolve(hint: object, seen: set[type]) -> None:
    """Resolve the annotations of a class of ours, of those that its fields hold, and so on."""
    for part in typing.get_args(hint):
        _resolve(part, seen)
    if isinstance(hint, type) and hint.__module__.startswith("gaia.") and hint not in seen:
        seen.add(hint)
        for inner in typing.get_type_hints(hint).values():
            _resolve(inner, seen)
