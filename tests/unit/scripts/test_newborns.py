"""The pool's campaign leaves a worker to start before it is a crash loop, and kills it once it is ready."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from campaigns.pool_faults import victims
from campaigns.pool_faults.newborns import Newborns

from gaia.validator.app.supervision import Limits
from gaia.validator.utils.identities import WorkerId

CRASH_LIMIT = Limits(soft_mib=1, hard_mib=2, drain_timeout_s=1, recycle_grace_s=1).crash_limit


def lose(newborns: Newborns, times: int) -> None:
    for pid in range(100, 100 + times):
        newborns.note_end({WorkerId(f"0.{pid}"): pid, WorkerId("1.7"): 7}, pid, at_once=True)


def test_a_seat_that_lost_half_of_a_crash_loop_is_left_to_start() -> None:
    newborns = Newborns()

    lose(newborns, CRASH_LIMIT // 2 - 1)
    assert not newborns.spares("0.9", 9)
    lose(newborns, 1)

    assert newborns.spares("0.9", 9)
    assert not newborns.spares("1.7", 7)


def test_a_worker_that_reached_an_engine_is_killed_and_ends_the_row() -> None:
    newborns = Newborns()
    lose(newborns, 6)
    newborns.note_ready({9})
    assert not newborns.spares("0.9", 9)

    newborns.note_end({WorkerId("0.9"): 9}, 9, at_once=False)
    assert newborns.spares("0.10", 10)
    newborns.note_end({WorkerId("0.9"): 9}, 9, at_once=True)

    assert not newborns.spares("0.10", 10)


def test_a_lost_fork_server_counts_for_each_of_its_seats() -> None:
    newborns = Newborns()
    for _ in range(6):
        newborns.note_lost_fork_server(["0.1", "1.1"])

    assert newborns.spares("0.2", 2)
    assert newborns.spares("1.2", 3)
    assert not newborns.spares("2.1", 4)


def test_workers_of_an_engine_are_those_that_it_holds_a_descriptor_of() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        descriptor = os.pidfd_open(child.pid)
        try:
            assert child.pid in victims.connected_workers(os.getpid())
        finally:
            os.close(descriptor)
            child.communicate(b"\n")

    assert child.pid not in victims.connected_workers(os.getpid())


@pytest.mark.parametrize("engine", [None, 2**22 + 1])
def test_an_engine_that_is_gone_has_no_workers(engine: int | None) -> None:
    assert victims.connected_workers(engine) == set()
