"""Plays one life of a validator with its backups and restores, as the how-to page tells an operator to."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from campaigns.moment_restores.book import (
    ENGINE_IS_UP,
    Book,
    Restart,
    disagreement,
    doubled,
    settled,
    silent,
    unreconciled,
)
from campaigns.moment_restores.node import book_path, long_epoch_path
from campaigns.moment_restores.plans import Plan, Way, openings_of, plans_of, spared
from campaigns.operator_faults.tools import run_tool
from campaigns.run_faults.hands import administrator, end_everything
from campaigns.state_faults.playing import FaultySubnet, Scene
from gaia.localnet.options import BLOCK_TIME_S, TEMPO, clock_file, data_dir
from gaia.localnet.view.watch import NOT_NOW
from gaia.tasks.defined_tasks.weather.forecasts.freeze_window import LONGEST_ABSENCE
from gaia.tasks.defined_tasks.weather.schedule import run_id_of
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.db.backup.contents import read_contents

if TYPE_CHECKING:
    import asyncpg

    from gaia.localnet.view.watch import Progress

Forecast = tuple[str, str]
"""(Run, hotkey)."""

_HOLD: Final = "moments"
_JUMP_S: Final = 0.1
"""Seconds after which a jump that had begun before the calendar was held is over."""
_SILENT_S: Final = 5 * TEMPO * BLOCK_TIME_S
_SAME_EPOCH_S: Final = 2.0
"""Seconds for which the epoch of before a restore goes on once the engine has started."""
_AGREEMENT_S: Final = 30.0
_ANSWER_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.2
_FORECASTS: Final = """
SELECT run_id, hotkey, committed_at IS NOT NULL AS is_frozen, runs.opened_at
  FROM forecasts JOIN runs USING (run_id)
"""
_NEWEST: Final = "SELECT coalesce(max(epoch), -1) AS epoch FROM weight_journal"


class BookedSubnet(FaultySubnet):
    """A local subnet whose chain writes down what is signed."""

    services_program = "campaigns.moment_restores.node"


@dataclass
class Life:
    """One life, and what its restores showed."""

    way: Way
    restores: int
    figures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    missed: set[Forecast] = field(default_factory=set)
    """Forecasts whose freeze window had passed at a restore, while the backup had no manifest of theirs."""
    lost_runs: set[str] = field(default_factory=set)
    """Runs that a backup did not know, and that could not be opened any more at its restore."""
    longest_s: float = 0.0

    async def play(self, scene: Scene) -> dict[str, Any]:
        """Make and restore all backups; return figures."""
        for number, plan in enumerate(plans_of(scene.random, scene.subnet.options, self.restores)):
            print(f"{self.way} {number + 1}/{self.restores}: {plan}", file=sys.stderr)
            await _Trial(scene, self, plan).play()
            scene.lost_runs.update(self.lost_runs)
        return {}

    async def judge_signatures(self, scene: Scene) -> dict[str, Any]:
        """Wait for the end of the life, and compare journal, log and chain; return figures."""
        await scene.until(scene.is_over)
        path = book_path(scene.subnet.state_dir)
        ended, ends_at = time.time(), time.monotonic() + _AGREEMENT_S * scene.patience
        while problem := await self._disagreement(scene, Book.read(path)):
            if time.monotonic() > ends_at:
                self.violations.append(f"at the end, {problem}")
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        book = Book.read(path)
        log = scene.subnet.state_dir / "logs" / "validator.log"
        self.violations += doubled(book, self.restarts)
        self.violations += unreconciled(book, self.restarts, log)
        self.violations += silent(book, self.restarts, log, ended, _SILENT_S * scene.patience)
        text = log.read_bytes()
        return {
            "signed": len(book.signed),
            "landed": len(book.landed),
            "doubts_of_backups": sum(1 for _ in settled(log, self.restarts)),
            "epochs_known_to_the_chain_alone": text.count(b'"event": "weights_not_in_journal"'),
        }

    async def _disagreement(self, scene: Scene, book: Book) -> str:
        try:
            async with administrator(scene) as connection:
                return await disagreement(connection, book)
        except NOT_NOW as error:
            return f"the database was away: {type(error).__name__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A backup."""

    name: str
    rows: int
    at: float
    """Real time at which it was complete."""
    newest_epoch: int
    """Newest epoch of the journal then; -1: none."""
    frozen: frozenset[Forecast]
    """Forecasts whose manifest was frozen before it."""


@dataclass
class _Trial:
    """One backup, and its restore a while later."""

    scene: Scene
    life: Life
    plan: Plan

    async def play(self) -> None:
        scene, plan, life = self.scene, self.plan, self.life
        clock = SimulatedClock(clock_file(scene.subnet.state_dir))
        await self._come_to(clock, plan.at)
        with clock.held(_HOLD):
            await asyncio.sleep(max(_JUMP_S, plan.delay_s))
            begun = clock.now()
            made = await self._create()
        openings = openings_of(scene.subnet.options)
        later = plan.later if life.way is Way.BACK else spared(begun, plan.later, openings)
        await self._come_to(clock, begun + later)
        with clock.held(_HOLD):
            await asyncio.sleep(max(_JUMP_S, plan.wait_s))
            if plan.is_of_one_epoch and await self._until_landed():
                life.figures["within_an_epoch_that_has_its_vector"] += 1
            with self._epoch():
                await self._replace(made, begun, clock)
        await self._discard()

    async def _come_to(self, clock: SimulatedClock, moment: datetime) -> None:
        def has_come(progress: Progress) -> bool:
            return clock.now() >= moment or self.scene.is_over(progress)

        await self.scene.until(has_come)

    async def _until_landed(self) -> bool:
        """Wait until the present epoch has its vector, which the backup cannot know; False: there is none yet."""
        path = book_path(self.scene.subnet.state_dir)
        begun, ends_at = time.time(), time.monotonic() + _SILENT_S * self.scene.patience
        while time.monotonic() < ends_at:
            book = Book.read(path)
            if not book.landed:
                return False
            if book.epochs_between(begun, time.time()):
                return True
            await asyncio.sleep(_JUMP_S)
        return False

    async def _create(self) -> _Made:
        """Back the running validator up."""
        rows = await self._asked(_FORECASTS)
        answer = await self._run("backup", "create")
        self.life.figures["backups"] += 1
        return _Made(
            name=answer["name"],
            rows=answer["rows"],
            at=time.time(),
            newest_epoch=(await self._asked(_NEWEST))[0]["epoch"],
            frozen=frozenset((row["run_id"], row["hotkey"]) for row in rows if row["is_frozen"]),
        )

    async def _replace(self, made: _Made, begun: datetime, clock: SimulatedClock) -> None:
        """Restore the backup, and start the validator again; the calendar stands still meanwhile."""
        scene, life = self.scene, self.life
        life.figures["rows_unknown_to_backups"] += await self._rows() - made.rows
        await self._restore(made.name, made.rows)
        if life.way is Way.BACK:
            SimulatedClock.create(clock_file(scene.subnet.state_dir), begun, scene.subnet.options.clock_end)
        begins_at = self._log.stat().st_size
        self._start(made)
        await self._look(made.frozen, clock.now())
        await scene.until(lambda _: ENGINE_IS_UP in self._log.read_bytes()[begins_at:])
        await asyncio.sleep(_SAME_EPOCH_S * scene.patience)

    async def _restore(self, name: str, rows: int) -> None:
        """End the validator, verify the backup before or after, and restore it."""
        scene, plan, figures = self.scene, self.plan, self.life.figures
        if plan.is_live_verified:
            await self._verify(name, rows)
        began = time.monotonic()
        if plan.is_killed:
            await end_everything(scene)
        else:
            await scene.subnet.stop_validator()
        if not plan.is_live_verified:
            await self._verify(name, rows)
        if plan.is_elsewhere:
            self._empty_data_folder()
        if (await self._run("backup", "restore", name))["done"]:
            self._wrong("a restore without --yes did something")
        if not (await self._run("backup", "restore", name, "--yes"))["done"]:
            self._wrong("the backup was not restored")
        self.life.longest_s = max(self.life.longest_s, time.monotonic() - began)
        figures["killed" if plan.is_killed else "stopped"] += 1
        figures["verified_live" if plan.is_live_verified else "verified_after_the_end"] += 1
        figures["on_another_machine"] += plan.is_elsewhere
        figures["within_one_epoch"] += plan.is_of_one_epoch

    async def _verify(self, name: str, rows: int) -> None:
        """Verify the backup; it must say that it compared each row, and numbers if it has a scored run."""
        said = await run_tool(self.scene.subnet, self.scene.patience, "backup", "verify", name)
        answer = said.answer
        if said.exit_code != 0 or not answer["is_whole"]:
            self._wrong(f"verify ends with {said.exit_code}: {answer}")
        if answer["rows"] != rows or answer["tables"] == 0:
            self._wrong(f"verify compared {answer['rows']} of {rows} rows")
        replayed = answer["replayed"]
        if replayed["run_id"]:
            self.life.figures["runs_computed_anew"] += 1
            self.life.figures["numbers_computed_anew"] += replayed["numbers"]
            if not replayed["numbers"]:
                self._wrong(f"verify computed nothing of {replayed['run_id']} anew: {replayed['problems']}")

    def _empty_data_folder(self) -> None:
        for path in data_dir(self.scene.subnet.state_dir).iterdir():
            if path.is_dir() and path.name != "backups":
                shutil.rmtree(path)

    @contextmanager
    def _epoch(self) -> Iterator[None]:
        """Let the present epoch of the chain last while the body runs, if the plan wants it."""
        path = long_epoch_path(self.scene.subnet.state_dir)
        if self.plan.is_of_one_epoch:
            path.touch()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self.scene.subnet.state_dir / "logs" / "validator.log"

    def _start(self, made: _Made) -> None:
        life = self.life
        now = time.time()
        book = Book.read(book_path(self.scene.subnet.state_dir))
        life.figures["vectors_unknown_to_backups"] += book.epochs_between(made.at, now)
        life.restarts.append(Restart(now, made.newest_epoch))
        self.scene.subnet.start_validator()

    async def _look(self, frozen: frozenset[Forecast], now: datetime) -> None:
        """Look at the restored database while the calendar stands: what it must hold, and what is past."""
        settings = self.scene.subnet.settings
        assert settings is not None
        rows = await self._asked(_FORECASTS)
        there = {(row["run_id"], row["hotkey"]) for row in rows if row["is_frozen"]}
        if gone := frozen - there:
            self._wrong(f"{len(gone)} manifests of before the backup are not in it, such as {min(gone)}")
        if self.life.way is Way.BACK:
            return
        longest = timedelta(hours=settings.freeze_window_hours) + LONGEST_ABSENCE
        self.life.missed |= {
            (row["run_id"], row["hotkey"])
            for row in rows
            if not row["is_frozen"] and row["opened_at"] + longest < now
        }
        known = {row["run_id"] for row in rows}
        earliest = now - timedelta(hours=settings.run_look_back_hours)
        past = [opening for opening in openings_of(self.scene.subnet.options) if opening < earliest]
        self.life.lost_runs |= {
            run_id for opening in past if (run_id := run_id_of(_midnight(opening))) not in known
        }

    async def _discard(self) -> None:
        """Remove the replaced databases, as the page says, beside the running validator."""
        for each in (await self._run("backup", "list"))["replaced"]:
            await self._run("backup", "discard", each["name"], "--yes")

    async def _asked(self, statement: str) -> list[asyncpg.Record]:
        """Return the rows of a query, once the database answers."""
        ends_at = time.monotonic() + _ANSWER_S * self.scene.patience
        while True:
            try:
                async with administrator(self.scene) as connection:
                    return await connection.fetch(statement)
            except NOT_NOW:
                self.scene.subnet.check()
                if time.monotonic() > ends_at:
                    raise
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _rows(self) -> int:
        async with administrator(self.scene) as connection, connection.transaction(readonly=True):
            return sum(table.rows for table in (await read_contents(connection)).values())

    async def _run(self, *words: str) -> dict[str, Any]:
        """Return the answer of a command that must end with 0."""
        said = await run_tool(self.scene.subnet, self.scene.patience, *words)
        if said.exit_code != 0:
            self._wrong(f"gaia {' '.join(words)} ends with {said.exit_code}")
        answer: dict[str, Any] = said.answer
        return answer

    def _wrong(self, words: str) -> None:
        self.life.violations.append(f"restore {len(self.life.restarts) + 1}: {words}")


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0)
