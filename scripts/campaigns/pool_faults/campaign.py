"""One lane of a campaign: a Supervisor that is killed and restarted, and the check of the results."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import psutil

from campaigns.pool_faults import stops, victims
from campaigns.pool_faults.book import Book
from campaigns.pool_faults.engine import is_right
from campaigns.pool_faults.newborns import Newborns
from campaigns.pool_faults.plans import Tally, make_plan
from gaia.validator.app.meeting.heartbeat import last_beat
from gaia.validator.app.meeting.rendezvous import Board, board_path, heartbeat_path, read_board

SCRIPTS = Path(__file__).resolve().parents[2]
ROOT = SCRIPTS.parent

KINDS = ("worker", "fork_server", "engine", "supervisor")
WORKERS = 3
UNIT_TIMEOUT_S = 1.5 * stops.PATIENCE
SILENCE_S = 3.0 * stops.PATIENCE
ENGINE_SILENCE_S = 1.0 * stops.PATIENCE
_READY_S = 10.0 * stops.PATIENCE
_END_S = 10.0 * stops.PATIENCE
_MEAN_GAP_S = 0.05
_MOST_NEWBORN = 3
_STUCK_AFTER_S = 45.0 * stops.PATIENCE


class Deadlock(Exception):
    """No unit was answered for so long that the lane has failed."""


class Lane:
    """Executes a plan against successive Supervisors, all with the same book.

    Parameters
    ----------
    kills, seed
        Number of kills, and the seed that decides their kinds, times and targets.
    """

    def __init__(self, kills: int, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.plan, self.quiet_plan = make_plan(kills, self.random)
        self.kills = kills
        self.folder = Path(tempfile.mkdtemp(prefix="pool-chaos-"))
        self.data_dir = self.folder / "data"
        self.data_dir.mkdir()
        self.book = Book(self.folder / "book")
        self.tally = Tally()
        self.stops = stops.Stops(WORKERS)
        self.lives = 0
        self.newborn = 0
        """Consecutive attempts at an engine that was not ready."""
        self.newborns = Newborns()
        self.supervisor: subprocess.Popen[bytes] | None = None
        self._progress = (0, time.monotonic())

    def run(self) -> dict[str, Any]:
        """Execute the plan, wait for the remaining answers, and judge them."""
        begun = time.monotonic()
        victims.adopt_orphans()
        try:
            self._start()
            self._carry_out_plan()
            before = self._holdings_at_rest()
            self.book.go_on()
            self.plan = self.quiet_plan
            self._carry_out_plan()
            self._compare(before, self._holdings_at_rest())
            self._end()
        except Deadlock as error:
            self.tally.deadlocks.append(str(error))
            self._kill_supervisor()
        return self._judge(time.monotonic() - begun)

    def _carry_out_plan(self) -> None:
        while self.plan or self.stops:
            self._step()

    def _step(self) -> None:
        self._settle_stops()
        self._watch_progress()
        act = self._next_act()
        if act is None:
            time.sleep(0.005)
            return
        if not self._carry_out(act):
            self.plan.appendleft(act)
        # Also after a failed attempt, so that a new process is not always killed at once.
        time.sleep(self.random.expovariate(1 / _MEAN_GAP_S))

    def _next_act(self) -> str | None:
        """Return the next step of the plan; while a process is stopped, the next that leaves it stopped."""
        if not self.stops:
            return self.plan.popleft() if self.plan else None
        allowed = self.stops.allowed_acts()
        for position, act in enumerate(self.plan):
            if act in allowed:
                del self.plan[position]
                return act
        return None

    def _carry_out(self, act: str) -> bool:
        match act:
            case "supervisor":
                return self._kill_supervisor_and_start()
            case "stumble":
                return self._stumble()
        _, is_stop, kind = act.rpartition("stop ")
        return self._stop(kind) if is_stop else self._kill(kind)

    def _kill(self, act: str) -> bool:
        pid = self._find(act)
        workers = self._board().workers
        if pid is None or not victims.strike(pid, signal.SIGKILL, self._parents()):
            return False
        self.newborns.note_end(workers, pid, at_once=True)
        self.tally.kills[act] += 1
        if act == "fork_server":
            self.stops.upheavals += 1
            self.newborns.note_lost_fork_server(workers)
        return True

    def _find(self, kind: str) -> int | None:
        assert self.supervisor is not None
        if kind == "fork_server":
            return victims.fork_server_of(self.supervisor.pid)
        board = self._board()
        if kind == "engine":
            pid = board.processes.get("io_engine")
            return None if pid is None or self._is_spared(pid) else pid
        if kind == "standby":
            return victims.standby_of(self.supervisor.pid, board)
        self.newborns.note_ready(victims.connected_workers(board.processes.get("io_engine")))
        found = sorted(board.workers.items())
        workers = [
            pid for name, pid in found if pid not in self.stops.pids and not self.newborns.spares(name, pid)
        ]
        return self.random.choice(workers) if workers else None

    def _is_spared(self, engine: int) -> bool:
        """Skip kills of an engine that is not ready, because many in a row would be a crash loop."""
        is_up = last_beat(heartbeat_path(self.data_dir), engine) is not None
        self.newborn = 0 if is_up else self.newborn + 1
        return self.newborn > _MOST_NEWBORN

    def _stop(self, kind: str) -> bool:
        """Stop a process until a deadline ends it.

        The deadline of its unit or of its start ends a worker. The limit on silence ends an engine. A fork
        server is woken after a request for a worker has failed.
        """
        pid = self._find(kind)
        if pid is None or not victims.strike(pid, signal.SIGSTOP, self._parents()):
            return False
        self.stops.add(kind, pid)
        workers = self._board().workers
        self.newborns.note_end(workers, pid, at_once=False)
        if kind == "fork_server":
            self.newborns.note_lost_fork_server(workers)
        if kind == "fork_server" and "worker" in self.plan and self._kill("worker"):
            self.plan.remove("worker")
        return True

    def _stumble(self) -> bool:
        """Stop the Supervisor or the engine for a moment."""
        assert self.supervisor is not None
        pid = self.random.choice((self.supervisor.pid, self._find("engine")))
        if pid is None or not victims.strike(pid, signal.SIGSTOP, {*self._parents(), os.getpid()}):
            return False
        time.sleep(self.random.uniform(0.02, 0.4))
        victims.strike(pid, signal.SIGCONT, {*self._parents(), os.getpid()})
        self.tally.stumbles += 1
        return True

    def _settle_stops(self) -> None:
        for kind in self.stops.settle(self._board()):
            self.plan.append(f"stop {kind}")

    def _kill_supervisor_and_start(self) -> bool:
        self._kill_supervisor()
        self.tally.kills["supervisor"] += 1
        self._start()
        return True

    def _kill_supervisor(self) -> None:
        assert self.supervisor is not None
        self.supervisor.kill()
        self.supervisor.wait()
        self.stops.upheavals += 1
        self.tally.left_behind += victims.collect_all(_END_S / 2)

    def _start(self) -> None:
        options = {
            "data_dir": str(self.data_dir),
            "workers": WORKERS,
            "embedded_database": False,
            "handlers": "campaigns.pool_faults.handlers",
            "worker_max_jobs": 500,
            "worker_soft_limit_mib": 300,
            "worker_hard_limit_mib": 400,
            "unit_timeout_s": UNIT_TIMEOUT_S,
            "engine_silence_s": ENGINE_SILENCE_S,
            "drain_timeout_s": _END_S,
            "worker_ready_s": _READY_S,
            "poll_s": 0.05,
        }
        settings = {
            "book": str(self.folder / "book"),
            "seed": self.seed,
            "timeout_s": UNIT_TIMEOUT_S,
            "silence_s": SILENCE_S,
        }
        self.lives += 1
        self.newborns = Newborns()
        paths = os.pathsep.join([str(SCRIPTS), str(ROOT)])
        with (self.folder / "log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from campaigns.pool_faults.supervising import supervise; supervise()",
                ],
                env={**os.environ, "PYTHONPATH": paths, "POOL_CHAOS": json.dumps([options, settings])},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self.random.random() < 0.85:
            answered = self.book.answers()
            self._until(lambda: self.book.answers() > answered, "the first answer after a start")

    def _end(self) -> None:
        """Request an orderly end."""
        assert self.supervisor is not None
        self.supervisor.terminate()
        try:
            exit_code = self.supervisor.wait(timeout=3 * _END_S)
        except subprocess.TimeoutExpired:
            self.tally.stuck.append("the Supervisor did not end in order")
            self._kill_supervisor()
            return
        if exit_code:
            self.tally.stuck.append(f"the Supervisor ended with {exit_code}")
        self.tally.left_behind += victims.collect_all(_END_S / 2)

    def _parents(self) -> set[int]:
        assert self.supervisor is not None
        fork_server = victims.fork_server_of(self.supervisor.pid)
        return {self.supervisor.pid} | ({fork_server} if fork_server else set())

    def _board(self) -> Board:
        return read_board(board_path(self.data_dir))

    def _holdings_at_rest(self) -> dict[str, Any]:
        """Wait until all units are answered, because poison would go on killing workers; then count."""
        self.book.stop()
        self._until(lambda: self.book.open_count() == 0, "the last units to be answered")
        return self._steady_holdings()

    def _steady_holdings(self) -> dict[str, Any]:
        """Wait until no process starts or ends, then count the resources of each process."""
        seen: list[Any] = []

        def is_steady() -> bool:
            self._watch_progress(must_grow=False)
            seen.append(self._holdings())
            time.sleep(0.15)
            return len(seen) > 4 and seen[-1] is not None and all(found == seen[-1] for found in seen[-4:])

        self._until(is_steady, "a steady state", must_grow=False)
        found: dict[str, Any] = seen[-1]
        return found

    def _holdings(self) -> dict[str, Any] | None:
        assert self.supervisor is not None
        victims.reap_orphans(self.supervisor.pid)
        board = self._board()
        engine = board.processes.get("io_engine")
        fork_server = victims.fork_server_of(self.supervisor.pid)
        if (
            len(board.workers) != WORKERS
            or engine is None
            or fork_server is None
            or victims.standby_of(self.supervisor.pid, board) is None
            or any(map(victims.is_dead, board.workers.values()))
        ):
            return None
        try:
            processes = {
                "harness": os.getpid(),
                "supervisor": self.supervisor.pid,
                "engine": engine,
                "fork_server": fork_server,
            }
            found = {name: victims.holdings(pid) for name, pid in processes.items()}
        except (psutil.NoSuchProcess, FileNotFoundError):
            return None  # the process died meanwhile; the next attempt finds another
        # A worker on the board may still be connecting: the engine has a pidfd of each connected worker, and the
        # Supervisor reads the memory of each.
        known = (found["engine"].get("fd pidfd"), found["supervisor"].get("fd statm"))
        return found if known == (WORKERS, WORKERS) else None

    def _compare(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.tally.compared += len(before)
        if before != after:
            self.tally.leaks.append(f"before {json.dumps(before)}, after {json.dumps(after)}")

    def _watch_progress(self, *, must_grow: bool = True) -> None:
        assert self.supervisor is not None
        if self.supervisor.poll() is not None:
            exit_code = self.supervisor.returncode
            self.tally.stuck.append(f"the Supervisor ended by itself with {exit_code}")
            self.stops.upheavals += 1
            self.tally.left_behind += victims.collect_all(_END_S / 2)
            self._start()
        answered, at = self._progress
        now_answered = self.book.answers()
        if now_answered > answered or not must_grow:
            self._progress = (now_answered, time.monotonic())
        elif time.monotonic() - at > _STUCK_AFTER_S:
            family = [
                f"{pid} {victims.command_line(pid)[:60]}" for pid in victims.children(self.supervisor.pid)
            ]
            raise Deadlock(f"no answer for {_STUCK_AFTER_S} s; board {self._board()}; family {family}")

    def _until(self, condition: Callable[[], bool], what: str, *, must_grow: bool = True) -> None:
        end = time.monotonic() + 2 * _STUCK_AFTER_S
        while not condition():
            self._watch_progress(must_grow=must_grow)
            self._settle_stops()
            if time.monotonic() > end:
                raise Deadlock(f"waited in vain for {what}")
            time.sleep(0.005)

    def _judge(self, seconds: float) -> dict[str, Any]:
        answers = list(self.book.all_answers())
        wrong = [answer for answer in answers if not is_right(self.seed, answer[0], answer[2], answer[3])]
        tallies = self.book.tallies()
        found = {
            "kills": sum(self.tally.kills.values()),
            "by_kind": dict(self.tally.kills),
            "pauses": self.stops.outlasted.total(),
            "stops": dict(self.stops.outlasted),
            "stumbles": self.tally.stumbles,
            "compared": self.tally.compared,
            "lives": self.lives,
            "lost": self.book.open_count(),
            # A second answer counts, although the book refused it.
            "doubled": self.book.doubled() + tallies["refused"],
            "wrong": len(wrong),
            "wrong_examples": wrong[:5],
            "rerun": sum(attempt > 1 for _, attempt, _, _ in answers),
            "failures": dict(Counter(failure for *_, failure in answers if failure)),
            "left_behind": self.tally.left_behind,
            "stuck": self.tally.stuck + self.stops.stuck,
            "leaks": self.tally.leaks,
            "deadlocks": self.tally.deadlocks,
            "seconds": round(seconds, 1),
            **tallies,
        }
        self.book.close()
        faults = ("lost", "doubled", "wrong", "left_behind", "stuck", "leaks", "deadlocks")
        if any(found[fault] for fault in faults):
            found["kept"] = str(self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return found


def main() -> None:
    """Run the lane that the arguments describe; print its results as JSON."""
    kills, seed = map(int, sys.argv[1:3])
    print(json.dumps(Lane(kills, seed).run()))


if __name__ == "__main__":
    main()
