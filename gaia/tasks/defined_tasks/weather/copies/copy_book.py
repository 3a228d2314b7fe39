"""Who shares work with whom: the products of settled leads are kept, and overlaps come of them.

The folders of sketches are the list of what is to be done, the database that of what is
done: a lead whose folder is there and whose products are not kept is worked on, whoever
was killed when. While one is left, nobody is told of overlaps; one that is left for an hour
is gone without. Compute workers may write in the folders: nothing there is believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from gaia.tasks.defined_tasks.base import FoundCopies, UnitRunner
from gaia.tasks.defined_tasks.weather.copies.sketch_folders import SketchFolders, lead_of, remove
from gaia.tasks.defined_tasks.weather.copies.sketch_layout import (
    EVERY_HOURS,
    PRODUCTS,
    SKETCHES,
    product_name,
)
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, RuleSet
from gaia.tasks.defined_tasks.weather.unit_client import UnitClient
from gaia.tasks.defined_tasks.weather.units import (
    FindOverlaps,
    KeptProducts,
    MakeProducts,
    Overlaps,
    ProductsMade,
)
from gaia.validator.db import gram_matrices, queries
from gaia.validator.db.gram_matrices import GramMatrix
from gaia.validator.utils.errors import GaiaError, NotYetAvailable, TransientError
from gaia.validator.utils.identities import Hotkey, JobId, RunId
from gaia.validator.utils.ipc_types import Priority

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.settings.handed import WeatherSettings

log = structlog.get_logger(__name__)

ATTEMPTS = 3
"""How often the products of a lead are tried before it is gone without."""
PATIENCE_S: Final = 3600.0
"""How long overlaps wait for the products of a settled lead before they are told without it."""
_AFTER_WINDOW: Final = timedelta(days=1)
_SHA256: Final = re.compile("[0-9a-f]{64}")


class CopyBook:
    """The sketches and products of one validator; does nothing under rules that look for no copies."""

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
        self._products = settings.files.data_dir.resolve() / PRODUCTS
        self._failures: Counter[Path] = Counter()
        self._left_since: dict[Path, float] = {}
        self._gone_without: set[Path] = set()
        self._known = "", Overlaps(pairs=[], missing=[])

    async def settle(self, now: datetime, *, only: str | None = None, but: Collection[str] = ()) -> None:
        """Keep the products of each lead that is settled; then let go of its sketches.

        Of all runs, of `only` one, or of all `but` some. What fails is logged, and tried
        again at the next call: no error of a lead, the disk or the database is raised.
        """
        if not self._rules.finds_copies:
            return
        try:
            folders = self._folders.leads()
            chosen = [
                one for one in folders if only in (None, one.parent.name) and one.parent.name not in but
            ]
            if chosen:
                await self._settle_all(chosen, now)
        except (GaiaError, OSError) as error:
            log.warning("settling_failed", error=f"{type(error).__name__}: {error}")

    async def _settle_all(self, folders: Sequence[Path], now: datetime) -> None:
        async with self._database.transaction() as connection:
            kept = await gram_matrices.kept_leads(connection)
        settled = 0
        for folder in folders:
            if lead_of(folder) in kept:
                await asyncio.to_thread(remove, folder)
                continue
            try:
                settled += await self._settle(folder, now)
            except GaiaError as error:
                log.warning("products_failed", lead=_name(folder), error=f"{type(error).__name__}: {error}")
        if settled:
            await self._sweep()

    async def find(self, members: Mapping[str, Collection[str]], earning: Sequence[str]) -> FoundCopies:
        """Return what those who are `earning` share in the runs of `members` (run -> hotkeys that count).

        Raises
        ------
        NotYetAvailable
            While products of a settled lead are still to be made, for `PATIENCE_S` at most.
        TransientError
            If the unit failed.
        """
        await self._require_nothing_left()
        run_ids = sorted(members)
        async with self._database.transaction() as connection:
            kept = await gram_matrices.matrices_of(connection, run_ids)
            window = timedelta(hours=self._settings.miners.freeze_window_hours)
            bound = await gram_matrices.committed_after(connection, run_ids, window)
        answer = await self._overlaps(overlaps_wanted(self._products, kept, members, earning))
        if answer.missing:
            log.error("products_missing", sha256=answer.missing)
        used = [one for one in kept if one.hotkeys and one.sha256 not in answer.missing]
        return FoundCopies(
            pairs=answer.pairs,
            committed=usual_rounds(
                {key: after for key, after in bound.items() if key[1] in members[key[0]]},
                timedelta(minutes=self._settings.miners.miner_poll_minutes),
            ),
            products=[(one.run_id, one.lead_hours, one.sha256) for one in used],
        )

    async def _overlaps(self, unit: FindOverlaps) -> Overlaps:
        """Run the unit, unless the last one was given the same and all products were there."""
        digest = hashlib.sha256(json.dumps(msgspec.to_builtins(unit)).encode()).hexdigest()
        if digest == self._known[0]:
            return self._known[1]
        done = await self._units.run_unit(unit, JobId(f"overlaps/{digest[:16]}"), priority=Priority.AHEAD)
        if not done.answer.missing:
            self._known = digest, done.answer
        return done.answer

    async def _settle(self, folder: Path, now: datetime) -> bool:
        run_id, lead_hours = lead_of(folder)
        hotkeys = await self._settled(folder)
        if hotkeys is None:
            return False
        try:
            made = await self._make(folder, run_id, lead_hours, hotkeys)
        except GaiaError as error:
            self._failures[folder] += 1
            if self._failures[folder] < ATTEMPTS:
                raise
            log.error("products_given_up", lead=_name(folder), error=f"{type(error).__name__}: {error}")
            made = GramMatrix(run_id=run_id, lead_hours=lead_hours, sha256="", hotkeys=())
        await self._database.run(partial(gram_matrices.record_matrix, matrix=made, now=now))
        self._failures.pop(folder, None)
        await asyncio.to_thread(remove, folder)
        log.info(
            "products_kept",
            run_id=run_id,
            lead_hours=lead_hours,
            forecasts=len(made.hotkeys),
            sha256=made.sha256,
        )
        return True

    async def _make(
        self, folder: Path, run_id: RunId, lead_hours: int, hotkeys: Sequence[Hotkey]
    ) -> GramMatrix:
        unit = MakeProducts(
            folder=str(folder),
            hotkeys=list(hotkeys),
            fields=len(self._settings.contract.final_fields),
            out_dir=str(self._products),
        )
        job_id = JobId(f"products/{run_id}/{lead_hours}")
        done = await self._units.run_unit(unit, job_id, priority=Priority.AHEAD)
        sha256, multiplied = _believed(done.answer, hotkeys)
        if absent := sorted(set(hotkeys) - set(multiplied)):
            log.error("sketches_missing", lead=_name(folder), hotkeys=absent)
        return GramMatrix(run_id=run_id, lead_hours=lead_hours, sha256=sha256, hotkeys=multiplied)

    async def _settled(self, folder: Path) -> list[Hotkey] | None:
        async with self._database.transaction() as connection:
            settled = await gram_matrices.finalised_hotkeys(connection, *lead_of(folder), self._rules.name)
        return None if settled is None else [Hotkey(hotkey) for hotkey in settled]

    async def _require_nothing_left(self) -> None:
        now, before = self._wall_clock(), self._left_since
        try:
            folders = self._folders.leads()
        except OSError as error:
            raise TransientError(f"sketches cannot be listed: {error}") from error
        left = [folder for folder in folders if await self._settled(folder) is not None]
        self._left_since = {folder: before.get(folder, now) for folder in left}
        for folder, since in self._left_since.items():
            if now - since < PATIENCE_S:
                moment = datetime.fromtimestamp(now, UTC)
                raise NotYetAvailable(f"the products of {_name(folder)} are still to be made", moment)
            if folder not in self._gone_without:
                log.error("products_awaited_too_long", lead=_name(folder), seconds=round(now - since))
                self._gone_without.add(folder)
        self._gone_without.intersection_update(left)

    async def _sweep(self) -> None:
        """Remove files of runs a day out of the window, and sketches that nobody will ask for.

        A vector under way has read its scores before: it still finds the runs of those.
        """
        window = timedelta(days=self._settings.weights.weights_window_days) + _AFTER_WINDOW

        async def forget(connection: Connection) -> tuple[set[str], set[str]]:
            meant = await gram_matrices.forget_matrices(connection, self._rules.name, window)
            return meant, {run.run_id for run in await queries.open_runs(connection)}

        meant, is_open = await self._database.run(forget)
        names = {product_name(sha256) for sha256 in meant}
        for path in self._products.iterdir() if self._products.is_dir() else ():
            if path.name not in names:
                await asyncio.to_thread(remove, path)
        for folder in self._folders.leads():
            if folder.parent.name not in is_open and await self._settled(folder) is None:
                await asyncio.to_thread(remove, folder)
        self._folders.remove_empty(is_open)


def sketch_folder(
    data_dir: Path, rules: RuleSet, run_id: RunId, kind: LeadKind, lead_hours: int
) -> Path | None:
    """Return where the sketches of a lead go; None where none are made."""
    if not rules.finds_copies or kind is not LeadKind.FINAL or lead_hours % EVERY_HOURS:
        return None
    return data_dir / SKETCHES / run_id / str(lead_hours)


def usual_rounds(bound: Mapping[tuple[str, str], timedelta], poll: timedelta) -> dict[str, int]:
    """Return each hotkey's median round of questions, the lower of two, from (run, hotkey) -> time since opening.

    >>> usual_rounds({("a", "5M"): timedelta(), ("b", "5M"): timedelta(minutes=9)}, timedelta(minutes=5))
    {'5M': 0}
    """
    rounds: dict[str, list[int]] = {}
    for (_, hotkey), after in bound.items():
        rounds.setdefault(hotkey, []).append(round(after / poll))
    return {hotkey: median_low(known) for hotkey, known in sorted(rounds.items())}


def overlaps_wanted(
    products: Path,
    kept: Sequence[GramMatrix],
    members: Mapping[str, Collection[str]],
    earning: Sequence[str],
) -> FindOverlaps:
    """Return the unit that finds the overlaps of `earning`; see `CopyBook.find`."""
    leads = []
    for lead in kept:
        if not lead.hotkeys:
            continue
        counted = members.get(lead.run_id, ())
        place = {hotkey: number for number, hotkey in enumerate(lead.hotkeys) if hotkey in counted}
        leads.append(
            KeptProducts(
                path=str(products / product_name(lead.sha256)),
                sha256=lead.sha256,
                size=len(lead.hotkeys),
                places=[place.get(hotkey) for hotkey in earning],
            )
        )
    return FindOverlaps(hotkeys=[Hotkey(hotkey) for hotkey in earning], products=leads)


def _believed(answer: ProductsMade, asked: Sequence[Hotkey]) -> tuple[str, list[Hotkey]]:
    """Return digest and hotkeys of an answer, which a worker that was taken over may have made up."""
    sha256, hotkeys = answer.sha256, answer.hotkeys
    if not _SHA256.fullmatch(sha256):
        raise TransientError("the answer is not one of products")
    if hotkeys != [hotkey for hotkey in asked if hotkey in hotkeys]:
        raise TransientError("the products are not of those who were asked for, in their order")
    return sha256, hotkeys


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
