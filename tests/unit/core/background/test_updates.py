"""Newer releases: what is asked, what is told, and that nothing is when no address is set."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background.updates import UpdateCheck, released
from gaia.validator.core.background.web import MOST_BYTES
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.version import version
from tests.support.liar import Lie, lying


class Releases:
    """An address of releases that answers as a test says."""

    def __init__(self, *answers: Lie) -> None:
        self.answers = list(answers)

    def __call__(self, _method: str, _path: str, _headers: Mapping[str, str]) -> Lie:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    ("answer", "is_newer"),
    [
        (b"4.0.1", True),
        (b"v5.0\n", True),
        (b'{"tag_name": "v4.1.0", "prerelease": false}', True),
        (b'{"info": {"version": "4.10"}}', True),
        (b'{"version": "4.0"}', False),
        (b"4.0.0", False),
        (b"3.99.9", False),
    ],
)
async def test_release_is_noted_only_if_it_is_newer_than_ours(answer: bytes, *, is_newer: bool) -> None:
    shown: list[bool] = []
    async with lying(Releases(Lie(body=answer))) as server:
        await UpdateCheck(f"{server.url}/newest", shown.append, "4.0.0").check_for_updates()

    assert shown == [is_newer]


async def test_release_is_told_once_and_the_next_one_again() -> None:
    with capture_logs() as logs:
        async with lying(Releases(Lie(body=b"4.1"), Lie(body=b"4.1"), Lie(body=b"4.2"))) as server:
            check = UpdateCheck(server.url, lambda _: None, "4.0.0")
            for _ in range(3):
                await check.check_for_updates()

    assert [(line["event"], line["newest"], line["running"]) for line in logs] == [
        ("update_available", "4.1", "4.0.0"),
        ("update_available", "4.2", "4.0.0"),
    ]


async def test_version_that_runs_is_compared_also_if_no_package_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> NoReturn:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    shown: list[bool] = []
    async with lying(Releases(Lie(body=version().encode()))) as server:
        await UpdateCheck(server.url, shown.append).check_for_updates()

    assert shown == [False]


async def test_release_that_was_installed_is_no_longer_noted() -> None:
    shown: list[bool] = []
    async with lying(Releases(Lie(body=b"4.1"))) as server:
        await UpdateCheck(server.url, shown.append, "4.0.0").check_for_updates()
        await UpdateCheck(server.url, shown.append, "4.1.0").check_for_updates()

    assert shown == [True, False]


async def test_nothing_is_asked_if_no_address_is_set() -> None:
    shown: list[bool] = []

    await UpdateCheck("", shown.append).check_for_updates()

    assert shown == []


@pytest.mark.parametrize(
    "lie",
    [
        Lie(body=b"<html>4.1</html>"),
        Lie(body=b'{"message": "Not Found"}'),
        Lie(body=b'{"tag_name": '),
        Lie(body=b"[4, 1]"),
        Lie(404, b"4.1"),
        Lie(302, headers={"Location": "http://127.0.0.1:9/"}),
        Lie(body=b"4.1" + b" " * MOST_BYTES),
    ],
)
async def test_answer_that_names_no_version_is_a_failure_and_changes_nothing(lie: Lie) -> None:
    shown: list[bool] = []
    async with lying(Releases(lie)) as server:
        with pytest.raises(TransientError):
            await UpdateCheck(server.url, shown.append, "4.0.0").check_for_updates()

    assert shown == []


@pytest.mark.parametrize("told", ["v4", "4.1.0-rc1", "four", "", "4.1; rm -rf /", "1" * 9 + ".0"])
def test_what_is_no_released_version_is_refused(told: str) -> None:
    with pytest.raises(TransientError, match="names no version"):
        released(told.encode())
