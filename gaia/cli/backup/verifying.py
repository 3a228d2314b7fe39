"""The command backup verify: whether a backup can be restored, and holds what was saved."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.backup.making import folder_of, server_of
from gaia.cli.database.verifying import Verified, verified
from gaia.cli.replay.runs import replay
from gaia.cli.replaying import one_by_one, replay_vectors
from gaia.validator.db import history
from gaia.validator.db.backup.folders import backup_named
from gaia.validator.db.backup.restoring import SCRATCH

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.backup.folders import Backup
    from gaia.validator.db.connection import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What computing one run of a backup anew has found."""

    run_id: str
    """"": the backup holds no run that has scores."""
    numbers: int = 0
    """Values that were compared."""
    differing: int = 0
    problems: Sequence[str] = ()
    """Reasons why something could not be computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBackup:
    """Answer of backup verify."""

    name: str
    rows: int
    """Rows that are as they were saved."""
    tables: int
    checked: Verified
    replayed: Replayed | None
    """None: not wanted."""

    @property
    def is_whole(self) -> bool:
        """Return whether nothing differs; inputs that are gone are no difference."""
        return self.checked.is_whole and (self.replayed is None or not self.replayed.differing)


def verify(source: Source, arguments: argparse.Namespace) -> int:
    """Restore a backup beside the database, compare it with what was saved, and compute a run of it anew; exit code 1 if it differs."""
    backup = backup_named(folder_of(source), arguments.name)
    found = asyncio.run(_verify(source, backup, with_replay=not arguments.without_replay))
    if arguments.json:
        tables.print_json({**tables.plain(found), "is_whole": found.is_whole})
    else:
        _print(found)
    return 0 if found.is_whole else 1


async def _verify(source: Source, backup: Backup, *, with_replay: bool) -> VerifiedBackup:
    async with server_of(source).restored(backup, f"{SCRATCH}{os.getpid()}") as dsn:
        # In a thread, because each command about a database runs an event loop of its own.
        return await asyncio.to_thread(_examine, source.elsewhere(dsn), backup, with_replay=with_replay)


def _examine(scratch: Source, backup: Backup, *, with_replay: bool) -> VerifiedBackup:
    async def check(database: Database) -> Verified:
        return await verified(database)

    contents = backup.manifest.tables.values()
    return VerifiedBackup(
        name=backup.name,
        rows=sum(table.rows for table in contents),
        tables=len(contents),
        checked=scratch.use(check),
        replayed=_replayed(scratch) if with_replay else None,
    )


def _replayed(scratch: Source) -> Replayed:
    """Compute the newest finished run with scores anew, and the vectors that it was part of."""
    runs = [run for run in scratch.read(history.run_summaries) if run.has_scores]
    if not runs:
        return Replayed(run_id="")
    finished = [run for run in runs if not run.is_open] or runs
    run_id = finished[-1].run_id
    (verdict,) = replay(one_by_one(scratch, [run_id]), scratch.data_dir, os.cpu_count() or 1, lambda _: None)
    vectors = replay_vectors(scratch, [run_id])
    return Replayed(
        run_id=run_id,
        numbers=verdict.numbers + sum(each.numbers for each in vectors),
        differing=len(verdict.differences) + sum(len(each.differences) for each in vectors),
        problems=[*verdict.problems, *(problem for each in vectors for problem in each.problems)],
    )


def _print(found: VerifiedBackup) -> None:
    rows, number = tables.counted(found.rows, "row"), tables.counted(found.tables, "table")
    tables.print_lines(f"{found.name}: restored; {rows} of {number} are as they were saved")
    for one in found.checked.violations:
        tables.print_lines(f"{one.what}: {tables.counted(one.rows, 'row')}, such as {one.example}")
    if found.checked.drift:
        tables.print_lines(f"its schema was changed by hand: {found.checked.drift}")
    if found.replayed is None:
        return
    if not found.replayed.run_id:
        tables.print_lines("It holds no run with scores that could be computed anew.")
        return
    numbers = tables.counted(found.replayed.numbers, "number")
    tables.print_lines(f"{found.replayed.run_id} computed anew: {numbers}, {found.replayed.differing} differ")
    for problem in found.replayed.problems:
        tables.print_lines(f"  - {problem}")
