"""The processes of a local subnet: ready, failing, stubborn, orphaned."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gaia.localnet.children import Child, ChildFailed, ready_path, say_ready
from gaia.localnet.options import process_environment
from tests.support.patience import Deadline, patience

SERVES = (
    "import time; from pathlib import Path; from gaia.localnet.children import say_ready;"
    "say_ready(Path(), 'miners', {'port': 7}); time.sleep(60)"
)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVES

StartChild = Callable[[str], Child]


@pytest.fixture
async def a_child(tmp_path: Path) -> AsyncIterator[StartChild]:
    started = []

    def build(program: str) -> Child:
        child = Child("miners", tmp_path, [sys.executable, "-c", program], process_environment(tmp_path))
        child.start()
        started.append(child)
        return child

    yield build
    for child in started:
        await child.stop(0.0)


async def test_child_is_ready_once_it_says_where_it_serves(a_child: StartChild) -> None:
    child = a_child(SERVES)

    assert await child.ready(patience(20.0)) == {"port": 7}
    assert await child.stop(patience(5.0))
    assert child.exit_code == -signal.SIGTERM


async def test_child_that_ends_before_it_is_ready_is_reported_with_its_last_words(
    a_child: StartChild,
) -> None:
    child = a_child("import sys; sys.exit('no such port')")

    with pytest.raises(ChildFailed, match="exit code 1\nno such port"):
        await child.ready(patience(20.0))


async def test_child_that_is_not_ready_in_time_is_reported(a_child: StartChild) -> None:
    child = a_child("import time; time.sleep(60)")

    with pytest.raises(ChildFailed, match=r"not ready within 0\.1 s"):
        await child.ready(0.1)


async def test_child_that_does_not_stop_is_killed(a_child: StartChild) -> None:
    child = a_child(STUBBORN)
    await child.ready(patience(20.0))

    assert not await child.stop(0.1)
    assert child.exit_code == -signal.SIGKILL


async def test_child_never_started_is_stopped_already(tmp_path: Path) -> None:
    child = Child("miners", tmp_path, ["true"], {})

    assert await child.stop(1.0)
    assert (child.pid, child.is_running, child.exit_code, child.tail()) == (None, False, None, "")


def test_ready_file_appears_whole(tmp_path: Path) -> None:
    say_ready(tmp_path, "chain", {"url": "ws://127.0.0.1:1"})

    assert ready_path(tmp_path, "chain").read_text() == '{"url": "ws://127.0.0.1:1"}'
    assert [path.name for path in tmp_path.iterdir()] == ["chain.json"]


def test_tethered_process_dies_with_the_one_that_asked_for_it(tmp_path: Path) -> None:
    grandchild = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    program = (
        "import subprocess, sys, time; from gaia.localnet.tether import command;"
        f"subprocess.Popen(command(sys.executable, '-c', {grandchild!r}), start_new_session=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())

    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert _is_gone(pid)


def test_tether_refuses_a_parent_that_is_gone_already() -> None:
    ended = subprocess.run([sys.executable, "-m", "gaia.localnet.tether", "1", "true"])

    assert ended.returncode == 1


def _is_gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = Deadline(within_s)
    while not deadline.has_passed:
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False
