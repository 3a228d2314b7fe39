"""The words to systemd: each once, none lost, and none without systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaia.validator.app.observation.systemd import ServiceManager


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def receiver(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        yield manager


def heard(manager: socket.socket) -> list[str]:
    said: list[str] = []
    try:
        while True:
            said.append(manager.recv(4096).decode())
    except BlockingIOError:
        return said


def keep_up(manager: ServiceManager, status: str = "running", *, is_stopping: bool = False) -> None:
    manager.keep_up(status, has_started=True, is_alive=lambda: True, is_stopping=is_stopping)


def test_each_change_is_said_once(address: str, receiver: socket.socket) -> None:
    manager = ServiceManager(address)
    for _ in range(3):
        keep_up(manager)
    keep_up(manager, "stopping", is_stopping=True)
    keep_up(manager, "stopping", is_stopping=True)

    assert heard(receiver) == ["READY=1", "STATUS=running", "STOPPING=1", "STATUS=stopping"]


def test_manager_that_listens_later_is_told_then(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ServiceManager(address)
    keep_up(manager)
    keep_up(manager)
    assert caplog.text.count("service_manager_not_told") == 1

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:
        late.bind(address)
        late.setblocking(False)
        keep_up(manager)
        assert heard(late) == ["READY=1", "STATUS=running"]


def test_start_is_said_however_much_came_before_the_manager_listened(address: str) -> None:
    manager = ServiceManager(address, watchdog_s=1e-9)
    for number in range(100):
        keep_up(manager, f"running {number}")
        manager.reloading()
        manager.reloaded()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:
        late.bind(address)
        late.setblocking(False)
        keep_up(manager, "running 99")
        said = [word.partition("\n")[0] for word in heard(late)]

    assert sorted(said) == ["READY=1", "RELOADING=1", "STATUS=running 99", "WATCHDOG=1"]
    assert said.index("RELOADING=1") < said.index("READY=1")


def test_reload_before_the_start_is_not_said(address: str, receiver: socket.socket) -> None:
    """READY=1 after it would be taken for the end of the start."""
    manager = ServiceManager(address)

    manager.reloading()
    manager.reloaded()

    assert heard(receiver) == []


def test_sign_of_life_of_another_process_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, address: str, receiver: socket.socket
) -> None:
    for pid, expected in ((os.getpid() + 1, 0), (os.getpid(), 1)):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.setenv("WATCHDOG_PID", str(pid))
        keep_up(ServiceManager.of_environment())
        assert heard(receiver).count("WATCHDOG=1") == expected


def test_without_a_manager_nothing_is_kept() -> None:
    manager = ServiceManager("")

    keep_up(manager)
    manager.reloading()

    assert not manager._unsent
