"""What the Supervisor shows: it answers exactly while no engine does, and its figures never fall."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.observation import public_state
from gaia.validator.app.observation.family import SUPERVISOR, Family
from gaia.validator.app.observation.public_state import PublicState
from gaia.validator.app.supervision import Child, Role
from tests.support.patience import patience

ENGINE = Child(role=Role.ENGINE, seat=0, pid=os.getpid(), started_at=0.0, is_ready=True)
STARTING = Family(wanted={Role.ENGINE: 1})
RUNNING = Family(children=[ENGINE], wanted={Role.ENGINE: 1}, has_started=True)


class World:
    """A PublicState with a listening socket, and the family that it sees."""

    def __init__(self, data_dir: Path) -> None:
        rendezvous.make_private(rendezvous.run_directory(data_dir))
        self.data_dir = data_dir
        self.family = STARTING
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.state = PublicState({"version": "1"}, lambda: self.family, self.selector, data_dir)

    def accepts(self) -> bool:
        self.state.keep_up()
        return any(key.fileobj is self.listener for key in self.selector.get_map().values())

    def close(self) -> None:
        self.state.close()
        self.selector.close()
        self.listener.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_clients_are_accepted_while_no_engine_serves_and_left_to_it_while_one_does(world: World) -> None:
    world.state.serve(world.listener)

    assert world.accepts()
    world.family = RUNNING
    assert not world.accepts()
    world.family = Family(children=[replace(ENGINE, silent_s=9.0)], wanted={Role.ENGINE: 1})
    assert not world.accepts()
    world.family = Family(children=[replace(ENGINE, silent_s=10.0)], wanted={Role.ENGINE: 1})
    assert world.accepts()
    world.family = Family()
    assert world.accepts()


def test_without_a_socket_nothing_is_measured_or_written(world: World) -> None:
    world.state.keep_up()
    world.state.measure()

    assert not rendezvous.metrics_page_path(rendezvous.board_path(world.data_dir)).exists()


def test_page_for_the_engine_is_what_the_supervisor_answers(world: World) -> None:
    world.family = Family(helpers={SUPERVISOR: os.getpid()})
    world.state.serve(world.listener)

    answered = world.state.measured()

    assert rendezvous.metrics_page_path(rendezvous.board_path(world.data_dir)).read_bytes() == answered
    assert b'gaia_child_up{role="supervisor"} 1' in answered


def test_page_that_cannot_be_written_is_logged_once_until_it_can(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    page = rendezvous.metrics_page_path(rendezvous.board_path(world.data_dir))
    page.mkdir()
    world.state.serve(world.listener)
    for _ in range(3):
        world.state.measure()
    page.rmdir()
    world.state.measure()
    page.unlink()
    page.mkdir()
    world.state.measure()
    page.rmdir()

    assert caplog.text.count("metrics_not_written") == 2


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd listens with; its address is in the environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(patience(5))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        yield manager


def waiting(manager: socket.socket) -> list[str]:
    """Return what was said and not yet read."""
    said: list[str] = []
    manager.setblocking(False)
    try:
        while True:
            said += manager.recv(4096).decode().splitlines()
    except BlockingIOError:
        return said


def test_engine_whose_loop_hangs_gets_no_sign_of_life_to_systemd(
    receiver: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_state, "LOOP_STUCK_AFTER_S", 0.2)
    world = World(tmp_path)
    world.family = RUNNING
    heart = Heart(rendezvous.heartbeat_path(tmp_path))
    heart.beat()
    world.state.keep_up()
    assert waiting(receiver) == ["READY=1", "STATUS=running", "WATCHDOG=1"]

    time.sleep(0.3)
    world.state.keep_up()
    assert waiting(receiver) == []

    heart.beat()
    world.state.keep_up()
    assert waiting(receiver) == ["WATCHDOG=1"]
    heart.close()
    world.close()


def test_loop_of_the_supervisor_counts_while_there_is_no_engine(
    receiver: socket.socket, tmp_path: Path
) -> None:
    world = World(tmp_path)

    world.state.keep_up()

    assert waiting(receiver) == ["STATUS=starting: io_engine is missing", "WATCHDOG=1"]
    world.close()


def test_status_says_what_is_awaited_before_and_after_the_start(
    receiver: socket.socket, tmp_path: Path
) -> None:
    world = World(tmp_path)
    families = (
        Family(children=[ENGINE], wanted={Role.ENGINE: 1}),
        RUNNING,
        RUNNING,
        STARTING,
        Family(),
    )
    for family in families:
        world.family = family
        world.state.keep_up()

    assert [line for line in waiting(receiver) if "WATCHDOG" not in line] == [
        "STATUS=starting: io_engine reads its first metagraph",
        "READY=1",
        "STATUS=running",
        "STATUS=running, but io_engine is missing",
        "STOPPING=1",
        "STATUS=stopping",
    ]
    world.close()


def test_address_is_taken_out_of_the_environment(receiver: socket.socket, tmp_path: Path) -> None:
    World(tmp_path).close()

    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(os.environ)
