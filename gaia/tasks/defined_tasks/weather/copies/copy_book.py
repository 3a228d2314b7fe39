"""Detects copied forecasts: stores a Gram matrix of errors per finalised lead, and derives overlaps.

The folders of sketches list the leads to do; the database lists the leads that are done. A lead
with a folder and without a stored matrix is therefore processed after any crash. Overlaps wait
until all matrices are stored, but at most an hour for each. Compute workers can write to the
folders, so their content is not trusted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from gaia.tasks.defined_tasks.base import FoundCopies, UnitRunner
from gaia.tasks.defined_tasks.weather.copies.matrix_files import MatrixFiles
from gaia.tasks.defined_tasks.weather.copies.sketch_folders import SketchFolders, lead_of, remove
from gaia.tasks.defined_tasks.weather.copies.sketch_layout import (
    EVERY_HOURS,
    MATRICES,
    SKETCHES,
    matrix_name,
)
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, RuleSet
from gaia.tasks.defined_tasks.weather.unit_client import UnitClient
from gaia.tasks.defined_tasks.weather.units import (
    ComputeGramMatrix,
    FindOverlaps,
    GramMatrixComputed,
    Overlaps,
    StoredGramMatrix,
)
from gaia.validator.db import gram_matrices, queries
from gaia.validator.db.gram_matrices import GramMatrix
from gaia.validator.utils.errors import GaiaError, NotYetAvailable, TransientError
from gaia.validator.utils.identities import Hotkey, JobId, RunId, present_name
from gaia.validator.utils.ipc_types import Priority

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.settings.handed import WeatherSettings

log = structlog.get_logger(__name__)

ATTEMPTS = 3
"""Number of attempts at the Gram matrix of a lead; after the last, the lead is left out."""
PATIENCE_S: Final = 3600.0
"""Seconds that overlaps wait for the Gram matrix of a finalised lead; then the lead is left out."""
_AFTER_WINDOW: Final = timedelta(days=1)
_SHA256: Final = re.compile("[0-9a-f]{64}")


class CopyBook:
    """Sketches and Gram matrices of one validator; inactive under rules that ignore copies."""

    def __init__(
        self,
        settings: WeatherSettings,
        database: Database,
        pool: UnitRunner,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._units = UnitClient(pool, settings.pool.unit_timeout_s, wall_clock)
        self._wall_clock = wall_clock
        self._rules = RULE_SETS[settings.weights.rule_set]
        self._folders = SketchFolders(settings.files.data_dir.resolve() / SKETCHES)
        self._matrices = settings.files.data_dir.resolve() / MATRICES
        self._files = MatrixFiles(self._matrices, database)
        self._failures: Counter[Path] = Counter()
        self._left_since: dict[Path, float] = {}
        self._overdue: set[Path] = set()
        self._known = "", Overlaps(pairs=[], missing=[])

    async def store_finalised(
        self, now: datetime, *, only: str | None = None, but: Collection[str] = ()
    ) -> None:
        """Store the Gram matrix of each finalised lead, then delete its sketches.

        This covers all runs, `only` one run, or all `but` some. Failures are logged and tried again
        at the next call; no error of a lead, the disk or the database is raised.
        """
        if not self._rules.finds_copies:
            return
        try:
            folders = self._folders.leads()
            chosen = [
                one for one in folders if only in (None, one.parent.name) and one.parent.name not in but
            ]
            if chosen:
                await self._store_all(chosen, now)
        except (GaiaError, OSError) as error:
            words = f"{type(error).__name__}: {error}"
            log.warning("finalised_leads_failed", error=words, once=("sketches", words))

    async def _store_all(self, folders: Sequence[Path], now: datetime) -> None:
        async with self._database.reading() as connection:
            kept = await gram_matrices.kept_leads(connection)
        stored = 0
        for folder in folders:
            if lead_of(folder) in kept:
                await asyncio.to_thread(remove, folder)
                continue
            try:
                stored += await self._store(folder, now)
            except GaiaError as error:
                words = f"{type(error).__name__}: {error}"
                log.warning(
                    "gram_matrix_failed", lead=_name(folder), error=words, once=(_name(folder), words)
                )
        if stored:
            await self._sweep()

    async def find(
        self,
        members: Mapping[str, Collection[str]],
        earning: Sequence[str],
        renamed: Mapping[str, Mapping[str, str]],
    ) -> FoundCopies:
        """Return the overlaps of the `earning` hotkeys in the runs of `members`; see `CopyFinder.find`.

        Raises
        ------
        NotYetAvailable
            While the Gram matrix of a finalised lead is missing, for `PATIENCE_S` at most.
        TransientError
            If the unit failed.
        """
        await self._require_all_stored()
        run_ids = sorted(members)
        async with self._database.reading() as connection:
            kept = renamed_matrices(await gram_matrices.matrices_of(connection, run_ids), renamed)
            window = timedelta(hours=self._settings.miners.freeze_window_hours)
            committed = {
                (run_id, present_name(renamed.get(run_id, {}), hotkey)): after
                for (run_id, hotkey), after in (
                    await gram_matrices.committed_after(connection, run_ids, window)
                ).items()
            }
        unit = overlaps_wanted(self._matrices, kept, members, earning)
        answer = await self._overlaps(unit)
        if answer.missing and await self._files.restore(answer.missing):
            answer = await self._overlaps(unit)
        if answer.missing:
            log.error("gram_matrices_missing", sha256=answer.missing, once=("all", str(answer.missing)))
        used = [one for one in kept if one.hotkeys and one.sha256 not in answer.missing]
        return FoundCopies(
            pairs=answer.pairs,
            committed=usual_rounds(
                {key: after for key, after in committed.items() if key[1] in members[key[0]]},
                timedelta(minutes=self._settings.miners.miner_poll_minutes),
            ),
            products=[(one.run_id, one.lead_hours, one.sha256) for one in used],
        )

    async def _overlaps(self, unit: FindOverlaps) -> Overlaps:
        """Run the unit, or return the last answer if its inputs are the same and none was missing."""
        digest = hashlib.sha256(json.dumps(msgspec.to_builtins(unit)).encode()).hexdigest()
        if digest == self._known[0]:
            return self._known[1]
        done = await self._units.run_unit(unit, JobId(f"overlaps/{digest[:16]}"), priority=Priority.AHEAD)
        if not done.answer.missing:
            self._known = digest, done.answer
        return done.answer

    async def _store(self, folder: Path, now: datetime) -> bool:
        run_id, lead_hours = lead_of(folder)
        hotkeys = await self._finalised_hotkeys(folder)
        if hotkeys is None:
            return False
        content: bytes | None = None
        try:
            made, content = await self._make(folder, run_id, lead_hours, hotkeys)
        except GaiaError as error:
            self._failures[folder] += 1
            if self._failures[folder] < ATTEMPTS:
                raise
            log.error("gram_matrix_given_up", lead=_name(folder), error=f"{type(error).__name__}: {error}")
            made = GramMatrix(run_id=run_id, lead_hours=lead_hours, sha256="", hotkeys=())
        await self._database.run(partial(gram_matrices.record_matrix, matrix=made, content=content, now=now))
        self._failures.pop(folder, None)
        await asyncio.to_thread(remove, folder)
        log.info(
            "gram_matrix_stored",
            run_id=run_id,
            lead_hours=lead_hours,
            forecasts=len(made.hotkeys),
            sha256=made.sha256,
        )
        return True

    async def _make(
        self, folder: Path, run_id: RunId, lead_hours: int, hotkeys: Sequence[Hotkey]
    ) -> tuple[GramMatrix, bytes]:
        """Return the matrix of a lead, and what its file holds."""
        unit = ComputeGramMatrix(
            folder=str(folder),
            hotkeys=list(hotkeys),
            fields=len(self._settings.contract.final_fields),
            out_dir=str(self._matrices),
        )
        job_id = JobId(f"products/{run_id}/{lead_hours}")
        done = await self._units.run_unit(unit, job_id, priority=Priority.AHEAD)
        sha256, multiplied = _believed(done.answer, hotkeys)
        if absent := sorted(set(hotkeys) - set(multiplied)):
            log.error("sketches_missing", lead=_name(folder), hotkeys=absent)
        content = await self._files.read(sha256, len(multiplied))
        made = GramMatrix(run_id=run_id, lead_hours=lead_hours, sha256=sha256, hotkeys=multiplied)
        return made, content

    async def _finalised_hotkeys(self, folder: Path) -> list[Hotkey] | None:
        async with self._database.reading() as connection:
            stored = await gram_matrices.finalised_hotkeys(connection, *lead_of(folder), self._rules.name)
        return None if stored is None else [Hotkey(hotkey) for hotkey in stored]

    async def _require_all_stored(self) -> None:
        now, before = self._wall_clock(), self._left_since
        try:
            folders = self._folders.leads()
        except OSError as error:
            raise TransientError(f"sketches cannot be listed: {error}") from error
        left = [folder for folder in folders if await self._finalised_hotkeys(folder) is not None]
        self._left_since = {folder: before.get(folder, now) for folder in left}
        for folder, since in self._left_since.items():
            if now - since < PATIENCE_S:
                moment = datetime.fromtimestamp(now, UTC)
                raise NotYetAvailable(f"the Gram matrix of {_name(folder)} is not computed yet", moment)
            if folder not in self._overdue:
                log.error("gram_matrix_overdue", lead=_name(folder), seconds=round(now - since))
                self._overdue.add(folder)
        self._overdue.intersection_update(left)

    async def _sweep(self) -> None:
        """Remove files of runs that left the window a day ago, and sketches that are no longer needed.

        The day lets a weight vector in progress find the runs whose scores it has read.
        """
        window = timedelta(days=self._settings.weights.weights_window_days) + _AFTER_WINDOW

        async def forget(connection: Connection) -> tuple[set[str], set[str]]:
            meant = await gram_matrices.forget_matrices(connection, self._rules.name, window)
            return meant, {run.run_id for run in await queries.open_runs(connection)}

        meant, is_open = await self._database.run(forget)
        await self._files.save_earlier()
        names = {matrix_name(sha256) for sha256 in meant}
        for path in self._matrices.iterdir() if self._matrices.is_dir() else ():
            if path.name not in names:
                await asyncio.to_thread(remove, path)
        for folder in self._folders.leads():
            if folder.parent.name not in is_open and await self._finalised_hotkeys(folder) is None:
                await asyncio.to_thread(remove, folder)
        self._folders.remove_empty(is_open)


def sketch_folder(
    data_dir: Path, rules: RuleSet, run_id: RunId, kind: LeadKind, lead_hours: int
) -> Path | None:
    """Return the folder for the sketches of a lead; None if no sketches are made."""
    if not rules.finds_copies or kind is not LeadKind.FINAL or lead_hours % EVERY_HOURS:
        return None
    return data_dir / SKETCHES / run_id / str(lead_hours)


def usual_rounds(committed: Mapping[tuple[str, str], timedelta], poll: timedelta) -> dict[str, int]:
    """Return hotkey -> median polling round, from (run, hotkey) -> time between opening and commitment.

    Of two middle rounds it takes the lower.

    >>> usual_rounds({("a", "5M"): timedelta(), ("b", "5M"): timedelta(minutes=9)}, timedelta(minutes=5))
    {'5M': 0}
    """
    rounds: dict[str, list[int]] = {}
    for (_, hotkey), after in committed.items():
        rounds.setdefault(hotkey, []).append(round(after / poll))
    return {hotkey: median_low(known) for hotkey, known in sorted(rounds.items())}


def renamed_matrices(
    kept: Sequence[GramMatrix], renamed: Mapping[str, Mapping[str, str]]
) -> list[GramMatrix]:
    """Return the matrices with the present names of hotkeys that were swapped since; see `present_name`."""
    return [
        replace(lead, hotkeys=[present_name(renamed[lead.run_id], hotkey) for hotkey in lead.hotkeys])
        if lead.run_id in renamed
        else lead
        for lead in kept
    ]


def overlaps_wanted(
    products: Path,
    kept: Sequence[GramMatrix],
    members: Mapping[str, Collection[str]],
    earning: Sequence[str],
) -> FindOverlaps:
    """Return the unit that computes the overlaps of `earning`; see `CopyBook.find`."""
    leads = []
    for lead in kept:
        if not lead.hotkeys:
            continue
        counted = members.get(lead.run_id, ())
        place = {hotkey: number for number, hotkey in enumerate(lead.hotkeys) if hotkey in counted}
        leads.append(
            StoredGramMatrix(
                path=str(products / matrix_name(lead.sha256)),
                sha256=lead.sha256,
                size=len(lead.hotkeys),
                places=[place.get(hotkey) for hotkey in earning],
            )
        )
    return FindOverlaps(hotkeys=[Hotkey(hotkey) for hotkey in earning], products=leads)


def _believed(answer: GramMatrixComputed, asked: Sequence[Hotkey]) -> tuple[str, list[Hotkey]]:
    """Return digest and hotkeys of an answer, checked because a compromised worker may forge it."""
    sha256, hotkeys = answer.sha256, answer.hotkeys
    if not _SHA256.fullmatch(sha256):
        raise TransientError("the answer holds no Gram matrix")
    if hotkeys != [hotkey for hotkey in asked if hotkey in hotkeys]:
        raise TransientError("the Gram matrix is not of the requested forecasts, in their order")
    return sha256, hotkeys


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
