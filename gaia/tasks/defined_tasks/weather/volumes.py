"""Works out what the settings cost: bytes, requests, disk and CPU time, for a number of miners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, ReferenceSource, lead_keys
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, RuleSet
from gaia.tasks.defined_tasks.weather.schedule import Cadence
from gaia.tasks.defined_tasks.weather.sources.cds import requests_for
from gaia.tasks.defined_tasks.weather.variables import GRIDS, LEVELS_HPA, split_field
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_max_bytes

if TYPE_CHECKING:
    from gaia.validator.utils.settings.handed import WeatherSettings

CHUNK_SHARE: Final = 0.62
"""Size of a compressed chunk of real weather by that of an incompressible one."""
_POINT_BYTES: Final = 4
_ERA5_POINT_BYTES: Final = 2
"""ERA5 is packed into 16 bits."""
_GFS_POINT_BYTES: Final = 0.75
"""Mean of the fields of GFS at 0.25 degrees, whose packing differs from field to field."""
_ROW_BYTES: Final = 560
"""One row of component_scores with all its measures and its index, measured on PostgreSQL 18."""
_PROMISE_BYTES: Final = 80
"""One file of a manifest: its path and its digest."""
_CPU_S_PER_POINT: Final = 1.03e-8
"""Download, hash, decoding and scoring of one point: 10.7 ms per field at 0.25 degrees."""
_REFERENCE_CPU_S_PER_POINT: Final = 3.0e-8
"""Decoding one point of a reference field: 31 ms per field at 0.25 degrees."""
_DAY: Final = timedelta(days=1)
_SOME_DAY: Final = datetime(2026, 3, 2, tzinfo=UTC)
_GFS_DELAY_DAYS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """Expected costs; its fields are the members of the object that `gaia budget --json` prints."""

    miners: int
    runs_a_day: float
    miner_bytes_a_day: int
    """Chunks of all miners, as they are usually compressed."""
    miner_bytes_a_day_at_most: int
    """The same if no chunk can be compressed, within GAIA_MINER_BUDGET_MIB."""
    gfs_bytes_a_day: int
    era5_bytes_a_day: int
    climatology_bytes_a_day_at_most: int
    """The store's chunks, which hold all levels of a variable, if none can be compressed."""
    cds_requests_a_day: float
    """Jobs submitted to the Climate Data Store; each is also polled until it is done."""
    references_disk_bytes: int
    spool_disk_bytes: int
    """Chunks that wait for their truth or are kept for replay."""
    database_bytes_a_day: int
    """Growth of the database by scores of fields and manifests, until the first of them are removed."""
    cpu_s_a_day: float

    @property
    def disk_bytes(self) -> int:
        """Disk that is in use at a time, without the database."""
        return self.references_disk_bytes + self.spool_disk_bytes


@dataclass(frozen=True, slots=True)
class _Lead:
    kind: LeadKind
    hours: int
    fields: Sequence[str]


def expected_volumes(weather: WeatherSettings, miners: int) -> Volumes:
    """Return the costs of a validator that has run for weeks with these settings."""
    work = _Work(weather)
    chunks = sum(len(lead.fields) for lead in work.leads)
    chunk_bytes = chunk_max_bytes(weather.contract.grid_degrees)
    runs = miners * work.runs_a_day
    budget = weather.miners.miner_budget_mib << 20
    bytes_of = {source: work.download_bytes(source) for source in ReferenceSource}
    fields = sum(len(key.fields) for key in work.new_a_day)
    return Volumes(
        miners=miners,
        runs_a_day=work.runs_a_day,
        miner_bytes_a_day=int(runs * min(budget, chunks * chunk_bytes * CHUNK_SHARE)),
        miner_bytes_a_day_at_most=int(runs * min(budget, chunks * chunk_bytes)),
        gfs_bytes_a_day=bytes_of[ReferenceSource.GFS],
        era5_bytes_a_day=bytes_of[ReferenceSource.ERA5],
        climatology_bytes_a_day_at_most=bytes_of[ReferenceSource.CLIMATOLOGY],
        cds_requests_a_day=work.cds_requests(),
        references_disk_bytes=work.references_disk_bytes(),
        spool_disk_bytes=int(miners * work.spool_bytes_of_a_miner(chunk_bytes * CHUNK_SHARE)),
        database_bytes_a_day=int(
            runs * (chunks * work.rule_sets * _ROW_BYTES + work.promised_files * _PROMISE_BYTES)
        ),
        cpu_s_a_day=work.points
        * (runs * chunks * work.rule_sets * _CPU_S_PER_POINT + fields * _REFERENCE_CPU_S_PER_POINT),
    )


class _Work:
    """One day's work of a validator: its leads, and the reference sets that it needs anew."""

    def __init__(self, weather: WeatherSettings) -> None:
        contract = weather.contract
        self._weather = weather
        latitudes, longitudes = GRIDS[contract.grid_degrees]
        self.points = latitudes * longitudes
        self.leads = [
            *(_Lead(LeadKind.DAY1, hours, contract.day1_fields) for hours in contract.day1_lead_hours),
            *(_Lead(LeadKind.FINAL, hours, contract.final_fields) for hours in contract.final_lead_hours),
        ]
        self.promised_files = contract.forecast_steps * len({*contract.day1_fields, *contract.final_fields})
        weights = weather.weights
        shadow = weights.shadow_share if weights.shadow_rule_set else 0.0
        self.rule_sets = 1.0 + shadow
        self._rules = [RULE_SETS[weights.rule_set]]
        self._rules += [RULE_SETS[weights.shadow_rule_set]] if shadow else []
        sources = weather.sources
        self._era5_days = sources.era5_delay_days + sources.era5_buffer_hours / 24
        self._open_days = max(contract.final_lead_hours) / 24 + self._era5_days
        self._keep_days = weather.files.keep_inputs_days
        end = _SOME_DAY + timedelta(days=30)
        # In test mode, openings half an hour apart share a run.
        self._init_times = sorted({init_time for _, init_time in self._cadence().openings(_SOME_DAY, end)})
        newest = self._init_times[-1] - _DAY
        self.runs_a_day = float(sum(1 for moment in self._init_times if moment > newest))
        self.new_a_day = list(self._new_since(newest))

    def download_bytes(self, source: ReferenceSource) -> int:
        """Return the bytes that one source sends in a day."""
        return sum(self._raw_bytes(key) for key in self.new_a_day if key.source is source)

    def cds_requests(self) -> float:
        """Return the jobs of a day."""
        grid = self._weather.contract.grid_degrees
        return float(
            sum(
                len(requests_for(key.valid_time, key.fields, grid))
                for key in self.new_a_day
                if key.source is ReferenceSource.ERA5
            )
        )

    def references_disk_bytes(self) -> int:
        """Return the bytes of downloads and fields that are on the disk at a time."""
        total = 0.0
        for key in self.new_a_day:
            held = len(key.fields) * self.points * _POINT_BYTES + self._raw_bytes(key)
            is_late = key.kind is LeadKind.FINAL and key.source is not ReferenceSource.GFS
            waits_days = self._era5_days if is_late else _GFS_DELAY_DAYS
            total += held * max(0.0, self._open_days + self._keep_days - waits_days)
        return int(total)

    def spool_bytes_of_a_miner(self, chunk_bytes: float) -> float:
        """Return the bytes of one miner's chunks that are on the disk at a time."""
        if not self._keep_days:
            # Scored chunks are deleted at once; one lead at a time is on the disk.
            return chunk_bytes * max(len(lead.fields) for lead in self.leads)
        total = 0.0
        for lead in self.leads:
            arrives_days = lead.hours / 24 + (self._era5_days if lead.kind is LeadKind.FINAL else 0.0)
            stays_days = self._open_days + self._keep_days - arrives_days
            total += len(lead.fields) * chunk_bytes * stays_days * self.runs_a_day
        return total

    def _cadence(self) -> Cadence:
        # The random delay moves runs within their day, which changes no volume.
        unlimited = self._weather.schedule.model_copy(update={"last_run": None, "run_jitter_minutes": 0.0})
        return Cadence.of(unlimited, salt="")

    def _new_since(self, newest: datetime) -> Iterator[ReferenceKey]:
        """Yield the sets that the runs after `newest` need and no earlier run needed."""
        known: set[str] = set()
        for init_time in self._init_times:
            for rules in self._rules:
                for key in self._keys(init_time, rules):
                    if key.reference_id in known:
                        continue
                    known.add(key.reference_id)
                    if init_time > newest:
                        yield key

    def _keys(self, init_time: datetime, rules: RuleSet) -> Iterator[ReferenceKey]:
        for lead in self.leads:
            yield from lead_keys(lead.kind, init_time, lead.hours, lead.fields, rules.measures).values()

    def _raw_bytes(self, key: ReferenceKey) -> int:
        """Return the bytes of one download."""
        match key.source:
            case ReferenceSource.GFS:
                return int(len(key.fields) * self.points * _GFS_POINT_BYTES)
            case ReferenceSource.ERA5:
                return len(key.fields) * self.points * _ERA5_POINT_BYTES
        latitudes, longitudes = GRIDS["0.25"]
        levels = {split_field(field)[0]: split_field(field)[1] is not None for field in key.fields}
        layers = sum(len(LEVELS_HPA) if has_levels else 1 for has_levels in levels.values())
        return layers * latitudes * longitudes * _POINT_BYTES
