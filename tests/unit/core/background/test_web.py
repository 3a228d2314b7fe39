"""Exchanges of the background tasks, beside the event loop that they share."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import pytest

from gaia.validator.core.background import web
from gaia.validator.core.background.web import exchange
from tests.support.webhooks import webhook


async def test_trusted_authorities_are_read_once_and_not_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[threading.Thread] = []
    create = ssl.create_default_context

    def noted(*arguments: Any, **keywords: Any) -> ssl.SSLContext:
        readers.append(threading.current_thread())
        return create(*arguments, **keywords)

    monkeypatch.setattr(ssl, "create_default_context", noted)
    web._trusted.cache_clear()

    async with webhook() as hook:
        pages = [
            await exchange("GET", f"http://127.0.0.1:{hook.port}/", what="a service", timeout_s=10)
            for _ in range(3)
        ]

    assert [page.status for page in pages] == [200, 200, 200]
    assert len(readers) == 1
    assert readers[0] is not threading.main_thread()
