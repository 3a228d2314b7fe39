"""A Supervisor that is gone when the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.roles import Supervised
from tests.support.supervised import Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Supervisor with the given options; it is gone when the test ends."""
    started: list[Supervised] = []

    def begin(**options: Any) -> Supervised:
        started.append(Supervised(tmp_path, **options))
        return started[-1].start()

    yield begin
    for supervised in started:
        supervised.destroy()
