"""The engine that waits: it takes over where it can, and where it cannot, another is started."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.roles import Supervised, has_ended, until

Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Supervisor with the given options; it is gone when the test ends."""
    started: list[Supervised] = []

    def begin(**options: Any) -> Supervised:
        started.append(Supervised(tmp_path, workers=0, **options))
        return started[-1].start()

    yield begin
    for supervised in started:
        supervised.destroy()


def engine_of(supervised: Supervised) -> int:
    """Wait for the engine, and return its pid."""
    return int(until(lambda: supervised.board().processes.get("io_engine"), "the engine"))


def standby_of(supervised: Supervised, other_than: int = 0) -> int:
    """Wait for the child that is spawned and has no role yet, and return its pid."""

    def waiting() -> int | None:
        assert supervised.process is not None
        with_a_role = {*supervised.board().processes.values(), other_than}
        for one in psutil.Process(supervised.process.pid).children():
            try:
                if one.pid not in with_a_role and "spawn_main" in " ".join(one.cmdline()):
                    return one.pid
            except psutil.NoSuchProcess:
                continue
        return None

    return int(until(waiting, "a standby"))


def successor_of(supervised: Supervised, engine: int) -> int:
    """Wait for another engine than that, and return its pid."""
    return int(until(lambda: _other(supervised.board().processes.get("io_engine"), engine), "an engine"))


def _other(pid: int | None, than: int) -> int | None:
    return None if pid == than else pid


def test_standby_is_the_next_engine_and_another_waits_for_the_one_after(start: Start) -> None:
    supervised = start()
    for _ in range(3):
        engine, standby = engine_of(supervised), standby_of(supervised)

        os.kill(engine, signal.SIGKILL)

        assert successor_of(supervised, engine) == standby
    assert supervised.end()[0] == 0


def test_standby_that_was_killed_is_replaced(start: Start) -> None:
    supervised = start()
    engine = engine_of(supervised)
    standby = standby_of(supervised)

    os.kill(standby, signal.SIGKILL)

    another = standby_of(supervised, other_than=standby)
    os.kill(engine, signal.SIGKILL)
    assert successor_of(supervised, engine) == another


def test_stopped_standby_is_ended_and_an_engine_started_without_it(start: Start) -> None:
    supervised = start()
    engine, standby = engine_of(supervised), standby_of(supervised)
    os.kill(standby, signal.SIGSTOP)

    os.kill(engine, signal.SIGKILL)

    assert successor_of(supervised, engine) != standby
    until(lambda: has_ended(standby), "the stopped one to be ended")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_standby_does_not_outlive_its_supervisor(start: Start, number: signal.Signals) -> None:
    supervised = start()
    engine_of(supervised)
    standby = standby_of(supervised)
    assert supervised.process is not None

    os.kill(supervised.process.pid, number)

    until(lambda: has_ended(standby), "the standby to end", timeout_s=5.0)


def test_new_settings_need_a_new_standby(start: Start) -> None:
    supervised = start()
    engine_of(supervised)
    standby = standby_of(supervised)
    assert supervised.process is not None

    supervised.change(log_level="DEBUG")
    os.kill(supervised.process.pid, signal.SIGHUP)

    until(lambda: has_ended(standby), "the standby with the old settings to end")
    assert standby_of(supervised, other_than=standby) != standby


def test_standby_that_died_is_named_in_the_log(start: Start) -> None:
    supervised = start()
    engine_of(supervised)
    standby = standby_of(supervised)

    os.kill(standby, signal.SIGKILL)

    standby_of(supervised, other_than=standby)
    _, _, errors = supervised.end()
    (line,) = (json.loads(line) for line in errors.splitlines() if "standby_died" in line)
    assert (line["pid"], line["exit_code"], line["level"]) == (standby, -signal.SIGKILL, "warning")
