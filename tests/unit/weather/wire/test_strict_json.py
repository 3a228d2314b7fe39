"""A stranger's JSON means one thing only, or it is refused."""

from __future__ import annotations

import pytest

from gaia.tasks.defined_tasks.weather.wire.strict_json import strict_json


def test_plain_json_is_read() -> None:
    assert strict_json(b'{"a": [1, {"b": null}], "c": {"b": 2}}') == {"a": [1, {"b": None}], "c": {"b": 2}}


@pytest.mark.parametrize("content", [b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "c": 2, "a": 3}}]'])
def test_a_key_given_twice_is_refused_at_any_depth(content: bytes) -> None:
    with pytest.raises(ValueError, match="a key is repeated"):
        strict_json(content)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{'a': 1}"])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the standard library's words
        strict_json(content)


def test_endless_nesting_ends_in_an_error_that_can_be_caught() -> None:
    with pytest.raises(RecursionError):
        strict_json(b"[" * 100_000)
