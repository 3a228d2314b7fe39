"""A shelf of reference fields, with archives and a decoder that do what a test says."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gaia.tasks.defined_tasks.base import Archives
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.files import FieldFiles
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, ReferenceSource
from gaia.tasks.defined_tasks.weather.references.shelf import ReferenceShelf
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit
from gaia.validator.utils.settings.contract import ContractSettings
from gaia.validator.utils.settings.files import FilesSettings
from gaia.validator.utils.settings.pool import PoolSettings
from gaia.validator.utils.settings.sources import SourcesSettings

INIT = datetime(2026, 3, 25, tzinfo=UTC)
NOW = INIT + timedelta(days=10)
ERA5 = ReferenceKey(
    source=ReferenceSource.ERA5, init_time=INIT, lead_hours=24, fields=("2t", "z500"), kind=LeadKind.FINAL
)
DAY1 = ReferenceKey(
    source=ReferenceSource.GFS, init_time=INIT, lead_hours=12, fields=("2t",), kind=LeadKind.DAY1
)


class Source:
    """An archive that raises what it is told to."""

    def __init__(self) -> None:
        self.fetched = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def fetch(self, *asked: Any) -> None:
        self.fetched += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


class Decoder:
    """Stands for the pool: writes `values` for every field, as the handlers do, each under its digest."""

    def __init__(self) -> None:
        self.values = "280"
        self.error: GaiaError | None = None
        self.units: list[WorkUnit] = []

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        self.units.append(unit)
        if self.error is not None:
            return ResultUnit(job_id=unit.job_id, attempt=1, failure=Failure.of(self.error))
        fields = {}
        for name in unit.payload["fields"]:
            content = f"{name} {self.values} ".encode() * 1000
            sha256 = hashlib.sha256(content).hexdigest()
            path = Path(unit.payload["out_dir"], f"{name}.{sha256[:16]}.f32")
            path.write_bytes(content)
            fields[name] = {"path": str(path), "sha256": sha256}
        return ResultUnit(job_id=unit.job_id, attempt=1, value={"fields": fields, "digest": "unused"})


@dataclass
class World:
    """A shelf on a database and a folder, with archives and a pool that a test plays."""

    database: Database
    data_dir: Path
    source: Source = field(default_factory=Source)
    decoder: Decoder = field(default_factory=Decoder)

    def __post_init__(self) -> None:
        self.shelf = self.new_shelf()

    def new_shelf(self, data_dir: Path | None = None) -> ReferenceShelf:
        archives = Archives(gfs=self.source, era5=self.source, climatology=self.source)
        return ReferenceShelf(
            ContractSettings(),
            SourcesSettings(),
            FilesSettings(data_dir=data_dir or self.data_dir),
            PoolSettings(),
            database=self.database,
            archives=archives,
            pool=self.decoder,
        )

    async def row(self, key: ReferenceKey) -> dict[str, Any]:
        async with self.database.transaction() as connection:
            found = await connection.fetchrow(
                "SELECT * FROM reference_sets WHERE reference_id = $1", key.reference_id
            )
        assert found is not None
        return dict(found)


async def files_of(shelf: ReferenceShelf, key: ReferenceKey, now: datetime) -> FieldFiles:
    """Return the files of a set that is there."""
    files = await shelf.take(key, now)
    assert files is not None
    return files


def contents(files: FieldFiles) -> dict[str, bytes]:
    return {name: Path(entry.path).read_bytes() for name, entry in files.items()}
