"""The IO-Engine closes what it has opened, also when its start fails half-way, and it knows its relatives."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gaia.validator.app import io_engine
from gaia.validator.app.io_engine import IOEngine
from gaia.validator.app.meeting.rendezvous import Board, publish
from gaia.validator.core.database_setup import Setup
from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ConfigurationError


class _Database:
    is_closed = False

    async def close(self) -> None:
        self.is_closed = True


async def test_start_that_fails_at_the_cluster_closes_what_was_opened_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, closed = _Database(), []

    async def connect(*_: object, **__: object) -> Any:
        return database

    async def set_up(*_: object) -> Setup:
        return Setup([], 0.0)

    async def refuse(*_: object) -> NoReturn:
        raise ConfigurationError("GAIA_DASK_SCHEDULER", "does not answer", "start it")

    async def close(_: MinerComms) -> None:
        closed.append("miners")

    monkeypatch.setattr(Database, "connect", connect)
    monkeypatch.setattr(io_engine, "take_over", set_up)
    monkeypatch.setattr(io_engine, "start_compute", refuse)
    monkeypatch.setattr(MinerComms, "close", close)
    with socket.socket(socket.AF_UNIX) as pool:
        engine = IOEngine(
            Settings(data_dir=tmp_path), pool, str(tmp_path / "signer.sock"), tmp_path / "board"
        )
        with pytest.raises(ConfigurationError):
            async with engine.started():
                pass

    assert database.is_closed
    assert closed == ["miners"]


def test_sessions_of_the_database_count_among_its_processes(tmp_path: Path) -> None:
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    board = tmp_path / "board"
    with (
        subprocess.Popen(
            [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as server,
        socket.socket(socket.AF_UNIX) as pool,
    ):
        assert server.stdout is not None
        server.stdout.readline()  # the child runs
        publish(Board(processes={"postgres": server.pid, "chain_signer": 2}), board)
        processes = IOEngine(Settings(data_dir=tmp_path), pool, "", board)._processes()
        server.communicate(b"\n")

    assert len(processes["postgres"]) == 2
    assert processes["postgres"][0] == server.pid
    assert processes["chain_signer"] == [2]


class _Notifier:
    """Keeps the reasons of stops."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def tell_stop(self, reason: str = "") -> None:
        self.reasons.append(reason)


@pytest.mark.parametrize("halt", ["", "compute_worker died 12 times in a row; report it."])
async def test_message_about_a_stop_has_the_reason_of_the_halt_on_the_board(
    halt: str, tmp_path: Path
) -> None:
    board, notifier, stop = tmp_path / "board", _Notifier(), asyncio.Event()
    publish(Board(halt=halt), board)
    with socket.socket(socket.AF_UNIX) as pool:
        engine = IOEngine(Settings(data_dir=tmp_path), pool, "", board)
        engine._notifier = notifier  # type: ignore[assignment]
        stop.set()
        await engine._tell_stop(stop)

    assert notifier.reasons == [halt]
