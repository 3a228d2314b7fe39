"""The pages' reader: a failed reading is not repeated at each request."""

from __future__ import annotations

from http import HTTPStatus
from typing import NoReturn

import pytest

from gaia.validator.app.observation.pages import served
from gaia.validator.app.observation.pages.served import StatusPages
from tests.support.patience import patience


class _Settings:
    """Settings that cannot be read, and how often that was tried."""

    def __init__(self) -> None:
        self.tries = 0

    def __call__(self) -> NoReturn:
        self.tries += 1
        raise KeyError("a bug")


def asked(pages: StatusPages, times: int) -> None:
    """Ask for a page, each time after the reading before has ended."""
    for _ in range(times):
        answer = pages.answer("/")
        assert answer is not None
        assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
        if pages._reader is not None:
            pages._reader.join(patience(20))


def test_reading_that_fails_is_tried_again_after_a_while_and_not_at_each_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = _Settings()
    pages = StatusPages(settings)

    asked(pages, 20)
    assert settings.tries == 1

    monkeypatch.setattr(served, "_RETRY_S", 0.0)
    pages._retry_at = 0.0
    asked(pages, 3)
    assert settings.tries == 4
