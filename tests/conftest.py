"""What every test starts from: no settings of the person who runs it, nothing that another test left behind."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gaia.validator.utils.config import Settings, names_of
from tests.support.guard import ProcessState, no_suicide

# As many examples as a developer's, so that .ci/run takes as long as the tests that it stands for.
settings.register_profile("ci", deadline=None, max_examples=50, print_blob=True)
settings.register_profile("developer", deadline=None, max_examples=50)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

VARIABLES = frozenset(variable for name in Settings.model_fields for variable in names_of(name))

_BEFORE = pytest.StashKey[ProcessState]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """No test, nor its fixtures, ends the run by a signal that nobody handles."""
    with no_suicide():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Note how the process is."""
    item.stash[_BEFORE] = ProcessState.now()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail the test, by name, that left the process other than it was, and mend that for the next."""
    try:
        return (yield)
    finally:
        before = item.stash[_BEFORE]
        if changes := ProcessState.now().changes(before):
            before.restore()
            pytest.fail(f"the test left its process changed: {'; '.join(changes)}", pytrace=False)


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
