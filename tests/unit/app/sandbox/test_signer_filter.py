"""What a confined signer still can do, and what it cannot: in a process of its own, because it is for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gaia.validator.app.sandbox import confine
from gaia.validator.app.sandbox.confine import Survey, confine_signer
from gaia.validator.utils.errors import ConfigurationError, ExitCode

_PROGRAM = """
import ctypes, os, resource, socket, subprocess, sys, threading
from gaia.validator.app.sandbox.confine import confine_signer

assert confine_signer("required")
did = []
def tried(name, deed):
    try:
        deed()
    except OSError as error:
        did.append(f"{name}: {error.errno}")
    else:
        did.append(f"{name}: done")
libc = ctypes.CDLL(None, use_errno=True)
def ptrace():
    if libc.ptrace(16, os.getppid(), None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
def read_parent():
    if libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
tried("fork", os.fork)
tried("program", lambda: subprocess.run([sys.executable, "-c", ""]))
tried("become", lambda: os.execv(sys.executable, [sys.executable, "-c", ""]))
tried("trace", ptrace)
tried("memory", read_parent)
done = threading.Event()
threading.Thread(target=done.set).start()
assert done.wait(30)
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
print(" ".join(did))
"""


def test_confined_signer_keeps_threads_and_network_but_runs_and_reads_nobody() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)

    assert ended.stderr == ""
    assert ended.stdout.split() == [
        "fork:",
        "1",
        "program:",
        "1",
        "become:",
        "1",
        "trace:",
        "1",
        "memory:",
        "1",
    ]


def test_signer_is_left_alone_where_the_operator_wants_no_sandbox() -> None:
    assert not confine_signer("off")


def test_kernel_without_filters_ends_a_signer_that_requires_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "survey", lambda: Survey(landlock=0, seccomp=False, broker=False))

    assert not confine_signer("best-effort")
    with pytest.raises(ConfigurationError, match="GAIA_SANDBOX: .*no filter for the signer") as raised:
        confine_signer("required")
    assert raised.value.exit_code is ExitCode.SANDBOX_UNAVAILABLE
