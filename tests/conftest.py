"""What every test starts from: no settings of the person who runs it, no logging of another test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gaia.validator.utils.config import Settings, names_of

settings.register_profile("ci", deadline=None, print_blob=True)
settings.register_profile("developer", deadline=None, max_examples=50)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

VARIABLES = frozenset(variable for name in Settings.model_fields for variable in names_of(name))


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES & os.environ.keys():
        monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(), *map(logging.getLogger, ("application", "performance", "security"))]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture
def a_settings(tmp_path: Path) -> Settings:
    """Settings of a validator whose files are all below `tmp_path`."""
    return Settings(data_dir=tmp_path / "data", metrics_port=0)
