"""Errors keep their meaning on the way through a process boundary."""

import pickle
from datetime import UTC, datetime

import pytest

from gaia.validator.utils import errors
from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    GaiaError,
    NotYetAvailable,
    OwnFailure,
    TransientError,
)
from gaia.validator.utils.ipc_types import Failure

PLAIN = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, GaiaError)
    and kind not in (GaiaError, ConfigurationError, NotYetAvailable)
]


@pytest.mark.parametrize("kind", PLAIN)
def test_error_arrives_as_the_kind_it_was(kind: type[GaiaError]) -> None:
    error = Failure.of(kind("why")).exception()

    assert type(error) is kind
    assert str(error) == "why"


def test_snooze_arrives_with_its_time() -> None:
    retry_at = datetime(2026, 3, 31, 6, tzinfo=UTC)

    error = Failure.of(NotYetAvailable("ERA5", retry_at)).exception()

    assert isinstance(error, NotYetAvailable)
    assert error.retry_at == retry_at


def test_bug_of_another_process_is_worth_a_retry_and_keeps_its_name() -> None:
    error = Failure.of(ZeroDivisionError("division by zero")).exception()

    assert type(error) is TransientError
    assert "ZeroDivisionError: division by zero" in str(error)


def test_want_of_memory_in_a_worker_is_a_failure_of_ours() -> None:
    assert type(Failure.of(MemoryError("60 MiB")).exception()) is OwnFailure


def test_configuration_error_is_one_sentence_with_setting_and_remedy() -> None:
    error = ConfigurationError("GAIA_METRICS_PORT", "port 1 is taken", "choose another", ExitCode.PORT_BUSY)

    assert str(error) == "GAIA_METRICS_PORT: port 1 is taken; choose another."
    assert pickle.loads(pickle.dumps(error)).exit_code is ExitCode.PORT_BUSY


def test_exit_codes_are_distinct() -> None:
    assert len({int(code) for code in ExitCode}) == len(ExitCode.__members__)
