"""Keeps scored chunks and reference fields on disk for as long as replay needs them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from gaia.tasks.defined_tasks.weather.references.files import FieldFiles, digests_of
from gaia.validator.db import history
from gaia.validator.db.inputs import LeadInputs
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.machine.disk_space import DATA_FOLDER, limited, space_of

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.units import LeadUnit
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.settings.files import FilesSettings

log = structlog.get_logger(__name__)

_MIB = 2**20
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\dZ")


class KeptInputs:
    """Deletes files from the spool and the reference fields of one validator."""

    def __init__(self, settings: FilesSettings, database: Database) -> None:
        self._database = database
        self._data_dir = settings.data_dir.resolve()
        self._keep = timedelta(days=settings.keep_inputs_days)
        self._files = settings

    def require_room(self) -> None:
        """Raise if a chunk more could leave the database without space.

        Raises
        ------
        OwnFailure
            If the disk, or what the settings allow of it, has less than `GAIA_DATA_MIN_FREE_MIB` left.
        """
        files = self._files
        with border(Party.DISK, "looking for free space"):
            space = limited(space_of(self._data_dir), files.data_max_bytes, DATA_FOLDER.used_bytes)
        if space.free < files.data_min_free_mib * _MIB:
            raise OwnFailure(
                f"the data folder has {space.free // _MIB} MiB left, less than GAIA_DATA_MIN_FREE_MIB; no chunk is"
                " downloaded, because the database needs the rest: free some space, or raise GAIA_DATA_MAX_GIB"
            )

    def describe(self, handler: str, lead: LeadUnit, references: Mapping[str, FieldFiles]) -> LeadInputs:
        """Return the inputs of all units of a lead, with paths relative to the data folder."""
        paths = {
            role: {
                field: Path(entry.path).relative_to(self._data_dir).as_posix()
                for field, entry in files.items()
            }
            for role, files in references.items()
        }
        digests = {role: digests_of(files) for role, files in references.items()}
        return LeadInputs(handler=handler, payload=msgspec.to_builtins(lead) | paths, digests=digests)

    def release(self, store: Path, chunks: Iterable[str]) -> None:
        """Delete scored chunks, unless they are kept for replay."""
        if self._keep:
            return
        self.drop(store, chunks)

    def drop(self, store: Path, paths: Iterable[str]) -> None:
        """Delete files of a forecast on which no score depends.

        Raises
        ------
        OwnFailure
            If our disk cannot delete them.
        """
        with border(Party.DISK, f"dropping files of {store.name}"):
            for path in paths:
                (store / path).unlink(missing_ok=True)

    async def sweep(self, now: datetime) -> list[Path]:
        """Remove folders that no open or kept run needs; return them.

        A reference set that is needed again is fetched again, and must have the same values.
        """
        async with self._database.reading() as connection:
            kept = await history.living_runs(connection, now - self._keep)
        oldest = min([*kept.values(), now - self._keep])
        doomed = [*self._spools_but(kept), *self._references_before(oldest)]
        for folder in doomed:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if doomed:
            log.info("inputs_removed", folders=len(doomed), older_than=oldest.isoformat())
        return doomed

    def _spools_but(self, kept: Collection[str]) -> Iterator[Path]:
        for folder in _folders(self._data_dir / "spool"):
            if folder.name not in kept:
                yield folder

    def _references_before(self, oldest: datetime) -> Iterator[Path]:
        for root in (self._data_dir / "fields", self._data_dir / "raw"):
            for source in _folders(root):
                for folder in _folders(source):
                    stamp = _TIME.match(folder.name)
                    if stamp and _moment(stamp.group()) < oldest:
                        yield folder


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%HZ").replace(tzinfo=UTC)
