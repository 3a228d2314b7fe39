"""Every Python process of a running validator writes its stacks, confined or not, and goes on with its work."""

from __future__ import annotations

import os
import signal

from gaia.validator.app.meeting.rendezvous import run_directory
from gaia.validator.app.meeting.stack_dumps import dump_path, stacks_of
from tests.support.patience import patience
from tests.support.roles import until
from tests.support.supervised import Start, worker_pid


def test_worker_in_its_sandbox_tells_where_it_is_and_still_answers(start: Start) -> None:
    supervised = start(sandbox="best-effort")
    supervised.submit("a", "test.echo", x=1)
    assert supervised.result("a")["value"]["x"] == 1
    worker, run = worker_pid(supervised), run_directory(supervised.data_dir)

    text = stacks_of(run, worker, patience(10))

    assert "compute_worker.py" in text
    supervised.submit("b", "test.echo", x=2)
    assert supervised.result("b")["value"]["x"] == 2
    assert worker_pid(supervised) == worker


def test_supervisor_and_fork_server_tell_too_and_a_dead_worker_leaves_no_file(start: Start) -> None:
    supervised = start()
    worker, run = worker_pid(supervised), run_directory(supervised.data_dir)
    until(lambda: dump_path(run, worker).exists(), "the worker's file")
    fork_server = int((run / "fork_server").read_text())
    supervisor = supervised.family()[0].pid

    assert "supervisor.py" in stacks_of(run, supervisor, patience(10))
    assert "forkserver.py" in stacks_of(run, fork_server, patience(10))
    os.kill(worker, signal.SIGKILL)

    until(lambda: not dump_path(run, worker).exists(), "the file to go")
