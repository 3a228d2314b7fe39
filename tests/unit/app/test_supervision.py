"""Whom the Supervisor starts, stops and kills, and when it gives up."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from gaia.validator.app.supervision import (
    FORK_SERVER_DIED,
    READY_WITHIN_S,
    Child,
    Death,
    Halt,
    Kill,
    Limits,
    Role,
    Start,
    Stop,
    look_again_s,
    plan,
    wants_standby,
)
from gaia.validator.utils.errors import ExitCode

LIMITS = Limits(soft_mib=100, hard_mib=200, drain_timeout_s=10, recycle_grace_s=300)
ALL = {Role.SIGNER: 1, Role.DATABASE: 1, Role.ENGINE: 1, Role.WORKER: 2}


def a_child(role: Role, seat: int = 0, **facts: Any) -> Child:
    defaults = {"pid": 100 * (1 + list(Role).index(role)) + seat, "started_at": 0.0, "is_ready": True}
    return Child(role=role, seat=seat, **{**defaults, **facts})


def a_death(role: Role, seat: int = 0, **facts: Any) -> Death:
    defaults = {"at": 0.0, "lived_s": 1.0, "was_ready": True, "exit_code": 1, "was_planned": False}
    return Death(role=role, seat=seat, **{**defaults, **facts})


def everyone(**engine: Any) -> list[Child]:
    return [
        a_child(Role.SIGNER),
        a_child(Role.DATABASE),
        a_child(Role.ENGINE, **engine),
        a_child(Role.WORKER),
        a_child(Role.WORKER, seat=1),
    ]


def test_plan_starts_everyone_but_the_engine_while_the_database_is_not_ready() -> None:
    commands = plan([], [], ALL, LIMITS, now=0)

    assert commands == [
        Start(Role.SIGNER, 0),
        Start(Role.DATABASE, 0),
        Start(Role.WORKER, 0),
        Start(Role.WORKER, 1),
    ]


def test_plan_starts_the_engine_once_the_database_is_ready() -> None:
    children = [child for child in everyone() if child.role is not Role.ENGINE]

    assert plan(children, [], ALL, LIMITS, now=0) == [Start(Role.ENGINE, 0)]


def test_plan_starts_the_engine_at_once_where_the_database_is_not_ours() -> None:
    assert plan([], [], {Role.ENGINE: 1}, LIMITS, now=0) == [Start(Role.ENGINE, 0)]


@pytest.mark.parametrize(
    ("children", "wanted", "is_wanted"),
    [
        pytest.param([], ALL, True, id="no database yet"),
        pytest.param([a_child(Role.DATABASE, is_ready=False)], ALL, True, id="the database recovers"),
        pytest.param([a_child(Role.DATABASE)], ALL, False, id="the engine starts at once"),
        pytest.param([], {Role.ENGINE: 1}, False, id="the database is not ours"),
        pytest.param(
            [a_child(Role.DATABASE, is_ready=False), a_child(Role.ENGINE, is_ready=False)],
            ALL,
            False,
            id="the engine loads",
        ),
        pytest.param([a_child(Role.ENGINE)], {Role.ENGINE: 1}, True, id="the engine is at work"),
        pytest.param([], {Role.DATABASE: 1}, False, id="no engine is wanted"),
    ],
)
def test_engine_loads_beside_another_and_while_the_first_waits_for_the_database(
    children: list[Child], wanted: dict[Role, int], *, is_wanted: bool
) -> None:
    assert wants_standby(children, wanted, is_fork_server_loading=False) is is_wanted


def test_next_engine_loads_after_signer_and_fork_server_but_the_first_beside_them() -> None:
    working = [a_child(Role.DATABASE), a_child(Role.ENGINE)]
    signer = a_child(Role.SIGNER, is_ready=False)

    assert not wants_standby([*working, signer], ALL, is_fork_server_loading=False)
    assert not wants_standby(working, ALL, is_fork_server_loading=False), (
        "a signer that died is about to load"
    )
    assert not wants_standby([*working, a_child(Role.SIGNER)], ALL, is_fork_server_loading=True)
    assert wants_standby([*working, a_child(Role.SIGNER)], ALL, is_fork_server_loading=False)
    assert wants_standby([signer], ALL, is_fork_server_loading=True)


def test_plan_leaves_a_healthy_family_alone() -> None:
    assert plan(everyone(), [], ALL, LIMITS, now=1000) == []


@pytest.mark.parametrize(
    "facts", [{"kill_at": 1e9}, {"kill_at": 1e9, "is_killed": True}, {"is_killed": True}]
)
def test_seat_is_free_only_once_its_holder_is_reaped(facts: dict[str, Any]) -> None:
    assert plan(everyone(**facts), [], ALL, LIMITS, now=5) == []


@pytest.mark.parametrize(
    "facts", [{"private_mib": 101.0}, {"due": "max_jobs"}, {"due": "idle"}, {"started_at": -3601.0}]
)
def test_worker_that_should_be_replaced_serves_until_its_successor_is_admitted(facts: dict[str, Any]) -> None:
    limits = replace(LIMITS, age_s=3600)
    worker = a_child(Role.WORKER, **facts)
    successor = a_child(Role.WORKER, pid=900, started_at=1.5, is_ready=False)
    wanted = {Role.WORKER: 1}

    assert plan([worker], [], wanted, limits, now=1.0) == [Start(Role.WORKER, 0)]
    assert plan([worker, successor], [], wanted, limits, now=2.0) == []
    assert plan([worker, replace(successor, is_ready=True)], [], wanted, limits, now=2.5) == []
    admitted = replace(successor, is_ready=True, is_admitted=True)
    assert plan([worker, admitted], [], wanted, limits, now=3.0) == [
        Stop(worker.pid, 300, "its successor is admitted")
    ]
    leaving = replace(worker, kill_at=1e9)
    assert plan([leaving, admitted], [], wanted, limits, now=4.0) == []


def test_memory_is_kept_for_so_many_successors_at_once() -> None:
    due = [a_child(Role.WORKER, seat=seat, due="max_jobs") for seat in range(4)]

    assert plan(due, [], {Role.WORKER: 4}, LIMITS, now=0) == [Start(Role.WORKER, 0)]
    assert len(plan(due, [], {Role.WORKER: 4}, replace(LIMITS, extra_workers=3), now=0)) == 3


def test_seat_whose_worker_leaves_and_whose_successor_died_is_filled_at_once() -> None:
    leaving = a_child(Role.WORKER, kill_at=1e9)

    assert plan([leaving], [], {Role.WORKER: 1}, LIMITS, now=0) == [Start(Role.WORKER, 0)]


def test_seat_of_a_killed_worker_is_filled_once_it_is_reaped() -> None:
    assert plan([a_child(Role.WORKER, is_killed=True)], [], {Role.WORKER: 1}, LIMITS, now=0) == []


def test_worker_that_is_large_from_the_start_is_not_replaced_without_end() -> None:
    newborn = a_child(Role.WORKER, private_mib=150.0, started_at=9.5)

    assert plan([newborn], [], {Role.WORKER: 1}, LIMITS, now=10.0) == []


def test_surplus_seat_loses_both_of_its_workers() -> None:
    children = [a_child(Role.WORKER), a_child(Role.WORKER, pid=900, started_at=1.0, is_ready=False)]

    commands = plan(children, [], {}, LIMITS, now=2.0)

    assert [command.pid for command in commands if isinstance(command, Stop)] == [children[0].pid, 900]


def test_worker_above_the_hard_limit_is_killed_though_it_is_leaving() -> None:
    children = [a_child(Role.WORKER, private_mib=201.0, kill_at=1e9)]

    assert Kill(children[0].pid, "private memory above the hard limit") in plan(
        children, [], {Role.WORKER: 1}, LIMITS, now=0
    )


@pytest.mark.parametrize("role", [Role.ENGINE, Role.SIGNER, Role.DATABASE])
def test_children_that_show_no_life_are_killed(role: Role) -> None:
    limits = replace(LIMITS, silence_s={role: 30.0})
    silent = a_child(role, silent_s=30.1)

    assert plan([silent], [], {role: 1}, limits, now=0) == [Kill(silent.pid, "silent")]
    assert plan([replace(silent, silent_s=30.0)], [], {role: 1}, limits, now=0) == []
    assert plan([replace(silent, is_killed=True)], [], {role: 1}, limits, now=0) == []


def test_signer_may_be_silent_for_longer_than_the_engine() -> None:
    limits = replace(LIMITS, silence_s={Role.ENGINE: 30.0, Role.SIGNER: 90.0})
    children = [a_child(role, silent_s=60.0) for role in (Role.ENGINE, Role.SIGNER)]

    assert plan(children, [], {Role.ENGINE: 1, Role.SIGNER: 1}, limits, now=0) == [
        Kill(children[0].pid, "silent")
    ]


def test_database_that_is_killed_for_its_silence_starts_anew_at_once() -> None:
    limits = replace(LIMITS, silence_s={Role.DATABASE: 30.0})
    silent = a_child(Role.DATABASE, silent_s=30.1)
    death = a_death(Role.DATABASE, exit_code=-signal.SIGKILL)

    assert plan([silent], [], {Role.DATABASE: 1}, limits, now=0) == [Kill(silent.pid, "silent")]
    assert plan([], [death], {Role.DATABASE: 1}, limits, now=death.at) == [Start(Role.DATABASE, 0)]


@pytest.mark.parametrize(
    ("private_mib", "look_s"), [(0.0, 0.1), (100.0, 0.05), (180.0, 0.01), (199.9, 0.01), (500.0, 0.01)]
)
def test_memory_is_looked_at_before_the_largest_worker_can_be_above_its_limit(
    private_mib: float, look_s: float
) -> None:
    children = [a_child(Role.WORKER, private_mib=private_mib), a_child(Role.WORKER, seat=1)]

    assert look_again_s(children, LIMITS, poll_s=0.25) == pytest.approx(look_s)
    assert look_again_s(children, LIMITS, poll_s=0.02) == pytest.approx(min(look_s, 0.02))


def test_only_workers_are_limited_in_memory() -> None:
    assert plan(everyone(private_mib=5000.0), [], ALL, LIMITS, now=0) == []


def test_child_that_does_not_stop_in_time_is_killed_once() -> None:
    patient = a_child(Role.ENGINE, kill_at=10.0)
    killed = a_child(Role.ENGINE, kill_at=10.0, is_killed=True)

    assert plan([patient], [], {}, LIMITS, now=9.9) == []
    assert plan([patient], [], {}, LIMITS, now=10.0) == [Kill(patient.pid, "did not stop in time")]
    assert plan([killed], [], {}, LIMITS, now=11.0) == []


@pytest.mark.parametrize("role", list(Role))
def test_child_that_is_not_ready_within_the_time_of_its_role_is_killed(role: Role) -> None:
    child, within_s = a_child(role, is_ready=False), READY_WITHIN_S[role]

    assert plan([child], [], {role: 1}, LIMITS, now=within_s) == []
    assert plan([child], [], {role: 1}, LIMITS, now=within_s + 0.1) == [Kill(child.pid, "not ready in time")]


def test_worker_that_is_stopped_while_it_starts_costs_seconds_and_a_database_that_recovers_has_minutes() -> (
    None
):
    assert READY_WITHIN_S[Role.WORKER] <= 10.0 < 600.0 <= READY_WITHIN_S[Role.DATABASE]


def test_orderly_end_stops_the_engine_then_workers_and_signer_then_the_database() -> None:
    family = everyone()

    stopped = []
    while family:
        pids = {command.pid for command in plan(family, [], {}, LIMITS, now=0) if isinstance(command, Stop)}
        stopped.append({child.role for child in family if child.pid in pids})
        family = [child for child in family if child.pid not in pids]

    assert stopped == [{Role.ENGINE}, {Role.WORKER, Role.SIGNER}, {Role.DATABASE}]


def test_orderly_end_fits_into_the_drain_timeout() -> None:
    graces = {
        role: command.grace_s
        for role in Role
        for command in plan([a_child(role)], [], {}, LIMITS, now=0)
        if isinstance(command, Stop)
    }

    slowest = graces[Role.ENGINE] + max(graces[Role.WORKER], graces[Role.SIGNER]) + graces[Role.DATABASE]
    assert slowest == pytest.approx(LIMITS.drain_timeout_s)


def test_orderly_end_is_given_as_the_reason_of_each_stop() -> None:
    commands = plan([a_child(Role.ENGINE)], [], {}, LIMITS, now=0)

    assert [command.reason for command in commands if isinstance(command, Stop)] == ["stop requested"]


def test_halt_brings_the_sentence_of_the_child_at_fault() -> None:
    death = a_death(Role.SIGNER, exit_code=ExitCode.HOTKEY_MISSING, sentence="X: is missing; make it.")

    (command,) = plan([], [death], {Role.SIGNER: 1}, LIMITS, now=0)

    assert isinstance(command, Halt)
    assert command.sentence == "X: is missing; make it."


def test_surplus_worker_is_stopped() -> None:
    children = [a_child(Role.WORKER), a_child(Role.WORKER, seat=1)]

    commands = plan(children, [], {Role.WORKER: 1}, LIMITS, now=0)

    assert commands == [Stop(children[1].pid, 2.0, "fewer seats are wanted")]


@pytest.mark.parametrize(
    ("deaths", "wait_s"),
    [(1, 0.0), (2, 0.0), (3, 0.1), (4, 0.2), (5, 0.4), (8, 3.2), (9, 5.0), (11, 5.0)],
)
def test_restart_waits_longer_after_each_death_in_a_row(deaths: int, wait_s: float) -> None:
    history = [a_death(Role.ENGINE, at=7.0)] * deaths
    wanted = {Role.ENGINE: 1}

    assert plan([], history, wanted, LIMITS, now=7.0 + wait_s) == [Start(Role.ENGINE, 0)]
    if wait_s:
        assert plan([], history, wanted, LIMITS, now=6.99 + wait_s) == []


def test_worker_that_died_of_its_unit_is_replaced_soon_however_many_did() -> None:
    history = [a_death(Role.WORKER, at=5.0, exit_code=-signal.SIGSEGV)] * 20

    assert plan([], history, {Role.WORKER: 1}, LIMITS, now=5.05) == []
    assert plan([], history, {Role.WORKER: 1}, LIMITS, now=5.1) == [Start(Role.WORKER, 0)]


@pytest.mark.parametrize(
    "forgiven",
    [
        {"was_planned": True},
        {"lived_s": 5.0},
        {"exit_code": -signal.SIGKILL},
        {"exit_code": FORK_SERVER_DIED},
    ],
)
def test_death_that_was_not_the_childs_fault_ends_the_count(forgiven: dict[str, Any]) -> None:
    history = [a_death(Role.ENGINE)] * 11 + [a_death(Role.ENGINE, **forgiven)]

    assert plan([], history, {Role.ENGINE: 1}, LIMITS, now=0) == [Start(Role.ENGINE, 0)]


def test_worker_that_has_served_its_units_is_replaced_at_once() -> None:
    history = [a_death(Role.WORKER, exit_code=0)] * 20

    assert plan([], history, {Role.WORKER: 1}, LIMITS, now=0) == [Start(Role.WORKER, 0)]


def test_child_killed_before_it_was_up_counts_as_a_fault() -> None:
    history = [a_death(Role.ENGINE, was_ready=False, exit_code=-signal.SIGKILL)] * 3

    assert plan([], history, {Role.ENGINE: 1}, LIMITS, now=0) == []


def test_seats_are_counted_apart() -> None:
    history = [a_death(Role.WORKER, seat=0)] * 4

    assert plan([], history, {Role.WORKER: 2}, LIMITS, now=0) == [Start(Role.WORKER, 1)]


def test_engine_that_dies_again_and_again_ends_the_validator() -> None:
    history = [a_death(Role.ENGINE)] * 12

    assert plan(everyone(), history, ALL, LIMITS, now=0) == [
        Halt(ExitCode.CRASH_LOOP, "io_engine died 12 times in a row")
    ]


def test_workers_killed_by_their_units_never_end_the_validator() -> None:
    history = [a_death(Role.WORKER, exit_code=-signal.SIGSEGV)] * 50

    assert plan([], history, {Role.WORKER: 1}, LIMITS, now=5.0) == [Start(Role.WORKER, 0)]


def test_workers_that_cannot_even_start_end_the_validator() -> None:
    history = [a_death(Role.WORKER, was_ready=False)] * 12

    (command,) = plan([], history, {Role.WORKER: 1}, LIMITS, now=0)

    assert command == Halt(ExitCode.CRASH_LOOP, "compute_worker died 12 times in a row")


@pytest.mark.parametrize("code", sorted(set(ExitCode) - {ExitCode.OK, ExitCode.CRASH}))
def test_configuration_error_of_a_child_ends_the_validator_with_its_code(code: ExitCode) -> None:
    history = [a_death(Role.SIGNER, exit_code=int(code))]

    (command,) = plan([], history, {Role.SIGNER: 1}, LIMITS, now=0)

    assert command == Halt(code, "chain_signer met a configuration error")


def test_engine_without_database_is_restarted_where_the_database_is_ours() -> None:
    history = [a_death(Role.ENGINE, exit_code=ExitCode.DATABASE_UNREACHABLE)]
    others = [child for child in everyone() if child.role is not Role.ENGINE]

    assert plan(others, history, ALL, LIMITS, now=0) == [Start(Role.ENGINE, 0)]


def test_exit_code_of_a_child_that_was_told_to_stop_ends_nothing() -> None:
    history = [a_death(Role.WORKER, exit_code=ExitCode.BAD_SETTING, was_planned=True)]

    assert plan([], history, {Role.WORKER: 1}, LIMITS, now=0) == [Start(Role.WORKER, 0)]


def test_orderly_end_is_not_disturbed_by_earlier_deaths() -> None:
    history = [a_death(Role.ENGINE, exit_code=ExitCode.HOTKEY_MISSING)]

    assert plan([], history, {}, LIMITS, now=0) == []
