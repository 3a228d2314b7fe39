"""Drives a local subnet in tests: waits for progress, kills processes, lists what is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from gaia.localnet.options import data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress
from gaia.validator.app.meeting.rendezvous import Board, board_path, read_board
from tests.support.patience import Deadline

PATIENCE_S = 150.0


def board_of(subnet: LocalSubnet) -> Board:
    return read_board(board_path(data_dir(subnet.state_dir)))


def steps_done(progress: Progress) -> int:
    """How far a run has come, as one number that only grows: answers, freezes, scored leads."""
    moved = sum(forecast.state != "planned" for forecast in progress.forecasts)
    frozen = sum(forecast.frozen for forecast in progress.forecasts)
    scored = sum(len(forecast.leads) + (forecast.day1 is not None) for forecast in progress.forecasts)
    return moved + frozen + scored


async def until(
    subnet: LocalSubnet, reached: Callable[[Progress], bool], patience_s: float = PATIENCE_S
) -> Progress:
    """Watch the subnet until `reached`; fails when a process ends or patience does."""
    deadline = Deadline(patience_s)
    while True:
        subnet.check()
        progress = await subnet.progress()
        if reached(progress):
            return progress
        assert not deadline.has_passed, f"stuck at {progress}"
        await asyncio.sleep(0.05)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def scores_of(report: dict[str, Any]) -> dict[str, Any]:
    """What a run earned, without anything that may differ between two runs of one seed."""
    return {
        miner["hotkey"]: (
            miner["behaviour"],
            miner["day1"],
            miner["leads"],
            miner["overall"],
            miner["verdict"],
        )
        for miner in report["miners"]
    }


def processes_of(state_dir: Path) -> set[int]:
    """Pids of all living processes that belong to the validator of this state folder."""
    marks = (str(data_dir(state_dir)).encode(), f"GAIA_DATA_DIR={data_dir(state_dir)}".encode())
    found = set()
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except (psutil.Error, OSError):
            continue
        if any(mark in command or mark in environment for mark in marks):
            found.add(process.pid)
    return found
