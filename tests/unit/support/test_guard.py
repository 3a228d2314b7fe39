"""A test that would end the run, or change its process for the tests after it, fails by its own name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.guard import ProcessState
from tests.support.repository import ROOT

CONFTEST = (
    "from tests.conftest import pytest_runtest_protocol, pytest_runtest_setup, pytest_runtest_teardown\n"
)
CULPRITS = """
import asyncio, os, resource, signal

def test_signals_itself():
    os.kill(os.getpid(), signal.SIGTERM)

def test_presses_ctrl_c():
    signal.raise_signal(signal.SIGINT)

def test_signals_its_group():
    os.killpg(0, signal.SIGTERM)

def test_signals_everybody():
    os.kill(0, signal.SIGTERM)

def test_leaves_a_handler():
    signal.signal(signal.SIGTERM, lambda *_: None)

def test_ignores_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)

def test_blocks_a_signal():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

def test_leaves_an_alarm():
    signal.setitimer(signal.ITIMER_REAL, 3600)

def test_leaves_the_folder():
    os.chdir("/")

def test_leaves_a_mask():
    os.umask(0o007)

def test_leaves_a_limit():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

def test_leaves_a_policy():
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())

def test_closes_a_stream():
    os.close(0)

def test_is_harmless():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    os.kill(os.getpid(), 0)
    assert seen
    if os.fork() == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.wait()[1] == signal.SIGKILL
"""


def test_culprits_are_named_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_them.py").write_text(CULPRITS)
    options = [
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
        "-rA",
    ]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )

    verdicts = {
        name: word for word, name in re.findall(r"^(FAILED|ERROR) \S*::(\w+)", done.stdout, re.MULTILINE)
    }
    named = set(re.findall(r"def (test_\w+)", CULPRITS)) - {"test_is_harmless"}
    assert set(verdicts) == named, done.stdout
    assert {name for name, word in verdicts.items() if word == "FAILED"} == {
        "test_signals_itself",
        "test_presses_ctrl_c",
        "test_signals_its_group",
        "test_signals_everybody",
    }
    assert "the handler of SIGTERM is" in done.stdout
    assert "to ourselves would end the test run" in done.stdout
    assert done.returncode == 1


def test_state_of_a_process_is_put_back(tmp_path: Path) -> None:
    before = ProcessState.now()
    os.chdir(tmp_path)
    os.umask(0o007)

    assert len(ProcessState.now().changes(before)) == 2
    before.restore()

    assert ProcessState.now().changes(before) == []
