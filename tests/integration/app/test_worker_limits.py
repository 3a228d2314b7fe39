"""A worker at one of its limits is replaced, killed or goes on, and loses no unit."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.support.roles import has_ended, until
from tests.support.supervised import Start, pid_of, worker_pid


def test_worker_is_replaced_after_its_last_unit_by_one_that_is_ready(start: Start) -> None:
    supervised = start(worker_max_jobs=2)
    worker_pid(supervised)
    served: set[int] = set()

    for number in itertools.count():
        supervised.submit(f"job{number}", "test.echo")
        answer = supervised.result(f"job{number}")
        served.add(answer["value"]["pid"])
        # At no time is there none: whoever leaves has a successor by then.
        assert supervised.board().workers
        assert answer["attempt"] == 1
        if len(served) == 3:
            break

    assert "worker_died" not in supervised.end()[2]


def test_worker_above_the_soft_limit_is_replaced_without_losing_a_unit(start: Start) -> None:
    supervised = start(worker_soft_limit_mib=300, worker_hard_limit_mib=2000)
    supervised.submit("a", "test.memory", mib=400, keep=True)
    fat = supervised.result("a")["value"]["pid"]

    until(lambda: has_ended(fat), "the worker to be replaced")

    supervised.submit("b", "test.echo")
    answer = supervised.result("b")
    assert answer["attempt"] == 1
    assert answer["value"]["pid"] != fat


def test_worker_that_the_engine_wants_to_retire_is_replaced_and_loses_no_unit(start: Start) -> None:
    supervised = start()
    retired = worker_pid(supervised)
    (supervised.inbox / "retire").touch()

    until(lambda: has_ended(retired), "the worker to be replaced")

    supervised.submit("a", "test.echo")
    answer = supervised.result("a")
    assert answer["attempt"] == 1
    assert answer["value"]["pid"] != retired
    assert "worker_died" not in supervised.end()[2]


def test_worker_above_the_hard_limit_is_killed(start: Start) -> None:
    # The kernel refuses what goes beyond the limit; what the worker had before counts for the Supervisor alone.
    supervised = start(worker_soft_limit_mib=1000, worker_hard_limit_mib=300)
    supervised.submit("a", "test.memory", mib=290, seconds=60.0)

    failure = supervised.result("a")["failure"]
    assert failure.startswith("QuarantinedError: test.memory killed 3 workers: attempt 1: memory in ")
    assert failure.count("memory in compute_worker") == 3
    # A worker that gets no core in its last moment leaves no stack.
    assert failure.count(" in memory < ") >= 1


def test_unit_that_allocates_too_much_gets_an_error_and_its_worker_lives(start: Start) -> None:
    supervised = start(worker_soft_limit_mib=1000, worker_hard_limit_mib=500)
    supervised.submit("a", "test.memory", mib=5000)

    assert supervised.result("a")["failure"].startswith("MemoryError")
    assert supervised.board().restarts == {}


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_workers_load_no_network_library_and_start_with_one_thread(start: Start, start_method: str) -> None:
    supervised = start(start_method=start_method)
    supervised.submit("a", "test.modules")

    value = supervised.result("a")["value"]

    assert not set(value["modules"]) & {"httpx", "asyncpg", "uvloop", "bittensor", "aiohttp"}
    assert value["threads"] == 1
    if start_method == "forkserver":
        assert {"numpy", "xarray", "zarr", "eccodes"} <= set(value["modules"])


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_worker_has_no_variable_that_holds_a_secret(start: Start, method: str) -> None:
    supervised = start(
        start_method=method,
        withheld=("GAIA_DATABASE_PASSWORD", "HTTPS_PROXY"),
        environment={
            "GAIA_DATABASE_PASSWORD": "hush",
            "HTTPS_PROXY": "http://me:hush@proxy",
            "OTHER": "told",
        },
    )

    given = Path(f"/proc/{worker_pid(supervised)}/environ").read_bytes()

    assert b"OTHER=told" in given
    assert b"hush" not in given
    engine = pid_of(supervised, "io_engine")
    assert b"hush" in Path(f"/proc/{engine}/environ").read_bytes()
