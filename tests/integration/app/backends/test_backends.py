"""One suite for every `ComputeBackend`: what passes it may stand behind the IO-Engine.

`local` is the pool of local workers, `dask` a cluster on loopback. What the queue that both obey promises is in
tests/unit/app/pool/test_job_queue.py.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gaia.validator.app.pool.protocols import Capability
from gaia.validator.utils import errors
from tests.support.backend_handlers import RETRY_AT
from tests.support.backends import MEMORY_MIB, WORKERS, eventually, lines_in, lines_of
from tests.support.compute import MOST_WAITING, Compute, everywhere, where
from tests.support.forecast_stores import a_field, a_store, reference_files
from tests.support.patience import Deadline
from tests.support.roles import has_ended
from tests.support.weather_handlers import score_day1

OURS = (
    "TransientError",
    "DeadlineExceeded",
    "NotYetAvailable",
    "MinerFault",
    "MinerUnreachable",
    "QuarantinedError",
    "UnknownHandler",
    "ConfigurationError",
)


@everywhere
async def test_every_unit_is_run_once_and_answered_once(compute: Compute) -> None:
    book = compute.folder / "book"
    names = [f"job{number}" for number in range(30)]

    answers = await asyncio.gather(
        *(compute.run(name, "test.note", payload={"book": str(book), "line": name}) for name in names)
    )

    assert [answer.value for answer in answers] == [{"line": name} for name in names]
    assert [(answer.job_id, answer.attempt) for answer in answers] == [
        (compute.job_id(name), 1) for name in names
    ]
    assert sorted(lines_of(book)) == sorted(names)
    assert (compute.pool.queue_depth, compute.pool.busy) == (0, 0)


@everywhere
async def test_all_who_ask_for_one_job_get_its_one_result(compute: Compute) -> None:
    book = compute.folder / "book"

    answers = await asyncio.gather(
        *(compute.run("job", "test.note", payload={"book": str(book), "line": "x"}) for _ in range(5))
    )

    assert all(answer == answers[0] for answer in answers)
    assert lines_of(book) == ["x"]


@everywhere
async def test_answer_tells_what_the_unit_cost(compute: Compute) -> None:
    answer = await compute.run("job", "test.echo", payload={"x": 1})

    assert answer.value == {"x": 1, "pid": answer.worker_pid}
    assert answer.wall_s > 0
    assert answer.peak_rss_bytes > 0


@everywhere
async def test_every_error_of_ours_survives_the_way_back(compute: Compute) -> None:
    answers = [await compute.run(f"job-{kind}", "test.fail", payload={"kind": kind}) for kind in OURS]

    raised = {}
    for kind, answer in zip(OURS, answers, strict=True):
        assert answer.attempt == 1
        assert answer.failure is not None
        raised[kind] = answer.failure.exception()
    assert {kind: type(error) for kind, error in raised.items()} == {
        kind: getattr(errors, kind) for kind in OURS
    }
    not_yet, configuration = raised.pop("NotYetAvailable"), raised.pop("ConfigurationError")
    assert {str(error) for error in raised.values()} == {"by design"}
    assert isinstance(not_yet, errors.NotYetAvailable)
    assert not_yet.retry_at == RETRY_AT
    assert isinstance(configuration, errors.ConfigurationError)
    assert (configuration.setting, configuration.exit_code) == ("GAIA_NETUID", errors.ExitCode.HOTKEY_MISSING)


@everywhere
async def test_bug_in_a_handler_is_a_failure_that_names_it(compute: Compute) -> None:
    answer = await compute.run("job", "test.fail", payload={"kind": "ZeroDivisionError"})

    assert answer.failure is not None
    assert (answer.failure.error_type, answer.failure.message) == ("ZeroDivisionError", "by design")


@everywhere
async def test_handler_that_nobody_wrote_is_a_failure(compute: Compute) -> None:
    answer = await compute.run("job", "weather.score.by_hand")

    assert answer.failure is not None
    assert isinstance(answer.failure.exception(), errors.UnknownHandler)


@everywhere
async def test_value_that_no_message_carries_is_a_failure(compute: Compute) -> None:
    answer = await compute.run("job", "test.unsendable")

    assert answer.failure is not None
    assert answer.failure.error_type == "TypeError"
    assert (await compute.run("next", "test.echo")).succeeded


@everywhere
async def test_payload_that_no_message_carries_is_a_failure(compute: Compute) -> None:
    answer = await compute.run("job", "test.echo", payload={"x": object()})

    assert answer.failure is not None
    assert answer.failure.error_type == "TypeError"
    assert (await compute.run("next", "test.echo")).succeeded


@everywhere
async def test_unit_of_a_worker_that_is_killed_runs_again(compute: Compute) -> None:
    started, gate = compute.folder / "started", compute.folder / "gate"
    asked = compute.ask("job", "test.gated", payload={"started": str(started), "gate": str(gate)})
    victim = int((await lines_in(started, 1))[0])

    os.kill(victim, signal.SIGKILL)
    second = int((await lines_in(started, 2))[1])
    gate.touch()

    answer = await asked
    assert answer.value == {"pid": second}
    assert second != victim
    assert answer.attempt == 2


@everywhere
async def test_unit_that_crashed_twice_may_still_succeed(compute: Compute) -> None:
    book = compute.folder / "book"

    answer = await compute.run("job", "test.die_until", payload={"book": str(book), "times": 2})

    assert (answer.succeeded, answer.attempt) == (True, 3)
    assert len(lines_of(book)) == 3


@everywhere
async def test_unit_that_killed_three_workers_is_quarantined_and_others_go_on(compute: Compute) -> None:
    poison = compute.ask("poison", "test.segfault")
    food = [compute.ask(f"food{number}", "test.echo") for number in range(6)]

    answer = await poison

    assert answer.failure is not None
    assert isinstance(answer.failure.exception(), errors.QuarantinedError)
    assert answer.failure.message.startswith("test.segfault killed 3 workers")
    assert answer.attempt == 3
    assert [(each.succeeded, each.attempt) for each in await asyncio.gather(*food)] == [(True, 1)] * 6


@everywhere
async def test_deadline_ends_native_code_that_holds_the_interpreter(compute: Compute) -> None:
    started = compute.folder / "started"
    # Its deadline is to find it at work, not in a queue before workers that are still coming up.
    await compute.run("warm", "test.echo")
    asked = compute.ask("job", "test.hang_natively", timeout_s=2.0, payload={"started": str(started)})
    victim = int((await lines_in(started, 1))[0])

    answer = await asked

    assert answer.failure is not None
    assert isinstance(answer.failure.exception(), errors.DeadlineExceeded)
    await eventually(lambda: has_ended(victim), "the worker to be ended", timeout_s=5.0)
    assert (await compute.run("next", "test.echo")).succeeded
    assert len(lines_of(started)) == 1


@everywhere
async def test_unit_that_waits_until_its_deadline_is_answered_and_never_run(compute: Compute) -> None:
    await compute.occupy()
    book = compute.folder / "book"

    answer = await compute.run("late", "test.note", timeout_s=0.2, payload={"book": str(book), "line": "x"})
    await compute.release()

    assert answer.failure is not None
    assert "waiting for a worker" in answer.failure.message
    assert (await compute.run("next", "test.echo")).succeeded
    assert lines_of(book) == []


@everywhere
async def test_cancelled_unit_is_ended_where_it_runs(compute: Compute) -> None:
    started = compute.folder / "started"
    asked = compute.ask("job", "test.hang_natively", payload={"started": str(started)})
    victim = int((await lines_in(started, 1))[0])

    asked.cancel()

    await eventually(lambda: has_ended(victim), "the worker to be ended")
    assert (await compute.run("next", "test.echo")).succeeded
    assert len(lines_of(started)) == 1


@everywhere
async def test_cancelled_unit_that_waits_is_never_run(compute: Compute) -> None:
    await compute.occupy()
    book = compute.folder / "book"
    asked = compute.ask("job", "test.note", payload={"book": str(book), "line": "x"})
    await eventually(lambda: compute.pool.queue_depth == 1, "the unit to wait")

    asked.cancel()
    await eventually(lambda: compute.pool.queue_depth == 0, "the unit to be forgotten")
    await compute.release()

    assert (await compute.run("next", "test.echo")).succeeded
    assert lines_of(book) == []


@everywhere
async def test_urgent_units_go_first_and_equals_in_order(compute: Compute) -> None:
    await compute.occupy()
    book = compute.folder / "book"
    asked = []
    for name, priority in (("c", 200), ("a", 10), ("d", 200), ("b", 100)):
        payload = {"book": str(book), "line": name}
        asked.append(compute.ask(name, "test.note", priority=priority, payload=payload))
        await asyncio.sleep(0)
    await eventually(lambda: compute.pool.queue_depth == len(asked), "all to wait")

    compute.gates[0].touch()  # one worker only, so that they run one after another
    await asyncio.gather(*asked)

    assert lines_of(book) == ["a", "b", "c", "d"]


@everywhere
async def test_full_queue_makes_callers_wait(compute: Compute) -> None:
    await compute.occupy()
    # The units themselves wait for the gate, because a worker's successor may come at any time and take one.
    held = {"started": str(compute.folder / "held"), "gate": str(compute.gates[0])}
    asked = [compute.ask(f"job{number}", "test.gated", payload=held) for number in range(3 * MOST_WAITING)]
    await eventually(lambda: compute.pool.queue_depth == MOST_WAITING, "the queue to be full")
    for _ in range(10):
        await asyncio.sleep(0)
    depth = compute.pool.queue_depth

    await compute.release()

    assert depth == MOST_WAITING
    assert all(answer.succeeded for answer in await asyncio.gather(*asked))
    assert compute.pool.queue_depth == 0


@where(Capability.MEMORY_LIMIT)
async def test_allocation_beyond_the_limit_is_a_failure_and_the_worker_lives(compute: Compute) -> None:
    answer = await compute.run("job", "test.allocate", payload={"mib": 4 * MEMORY_MIB})

    assert answer.failure is not None
    assert answer.failure.error_type == "MemoryError"
    assert answer.attempt == 1
    assert not has_ended(answer.worker_pid)
    assert (await compute.run("next", "test.allocate", payload={"mib": 1})).succeeded


@where(Capability.RECYCLE)
async def test_workers_are_replaced_after_their_share_of_units(compute: Compute) -> None:
    pids: set[int] = set()
    jobs, until = itertools.count(), Deadline(20.0)

    # A worker serves beyond its share until its successor is ready, and that takes as long as the machine lets it.
    while len(pids) <= WORKERS and not until.has_passed:
        pids.add((await compute.run(f"job{next(jobs)}", "test.echo")).worker_pid)

    assert len(pids) > WORKERS


@everywhere
async def test_scores_are_the_same_to_the_last_bit(compute: Compute) -> None:
    request = a_scoring_request(compute.folder)
    expected = score_day1(request)

    answer = await compute.run("job", "weather.score.day1", payload=request)

    assert msgspec.msgpack.encode(answer.unwrap()) == msgspec.msgpack.encode(expected)


@where(Capability.SANDBOX)
async def test_unit_has_no_network(compute: Compute) -> None:
    answer = await compute.run("job", "test.phone_home")

    assert answer.failure is not None
    assert answer.failure.error_type == "PermissionError"


def a_scoring_request(folder: Path) -> dict[str, Any]:
    """The payload of `weather.score.day1` for two fields of a forecast."""

    def fields(seed: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        return {"2t": a_field(seed), "z500": a_field(seed + 1, mean=55_000.0, spread=1500.0)}

    return a_store(folder / "spool", fields(0)) | {
        role: reference_files(folder / role, fields(10 * number))
        for number, role in enumerate(("truth", "climatology", "baseline"), start=1)
    }
