"""The command budget: what the settings are expected to cost, against what was used."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.source import Source, open_source
from gaia.cli.status.samples import Samples
from gaia.cli.status.scrape import metrics_url, scrape
from gaia.tasks.defined_tasks.weather.volumes import Volumes, expected_volumes
from gaia.validator.app.startup.reading import named_file, read_settings
from gaia.validator.db.server.usage import WorkDone, work_done
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.utils.settings.database import DatabaseSettings
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.observation import ObservationSettings

DEFAULT_MINERS = 256
"""Places for neurons in a subnet."""
_DAYS_A_MONTH = 30
_DAY_S = 86_400.0
_LEAST_UPTIME_S = 3600.0
_REQUESTS_PER_SET = 2
_REFERENCES = ("fields", "raw")
_SPOOL = ("spool",)
_DATABASE = ("postgres",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One kind of cost; its fields are the members of the objects that `--json` prints."""

    name: str
    unit: str
    """"bytes", "bytes a day", "requests a day" or "CPU seconds a day"."""
    expected: float
    used: float | None
    """None: not measured; `note` says why."""
    note: str = ""

    @property
    def is_daily(self) -> bool:
        """Whether it adds up over a month."""
        return self.unit.endswith("a day")


def budget(arguments: argparse.Namespace) -> int:
    """Print the costs of the settings in the file and the environment, and what was used so far."""
    is_named = arguments.state is not None
    settings = (
        open_source(arguments.state).settings if is_named else read_settings(named_file(arguments.env_file))
    )
    work = _work_done(Source(settings))
    asked = work.miners if isinstance(work, WorkDone) else 0
    miners = arguments.miners or asked or DEFAULT_MINERS
    expected = expected_volumes(settings.weather, miners)
    lines = [
        *_traffic(expected, settings.observation, work),
        *_disk(expected, settings.files, settings.database, work),
        _cpu(expected, work),
    ]
    if arguments.json:
        tables.print_json({"miners": miners, "expected": expected, "lines": lines})
        return 0
    runs = "1 run" if expected.runs_a_day == 1 else f"{expected.runs_a_day:g} runs"
    tables.print_lines(f"for {miners} miners and {runs} a day", "", *_table(lines))
    tables.print_lines("", *_notes(lines))
    return 0


def _traffic(expected: Volumes, observation: ObservationSettings, work: WorkDone | str) -> Iterable[Line]:
    served = _served(observation)

    def received(name: str, value: float, metric: str, note: str = "", **labels: str) -> Line:
        used = _rate(served, metric, labels) if isinstance(served, Samples) else served
        why = f"not measured, because {used}" if isinstance(used, str) else ""
        return Line(
            name=name,
            unit="bytes a day",
            expected=value,
            used=None if isinstance(used, str) else used,
            note="; ".join(filter(None, (note, why))),
        )

    from_sources = "gaia_source_received_bytes_total"
    yield received(
        "from miners",
        expected.miner_bytes_a_day,
        "gaia_miner_received_bytes_total",
        note=f"at most {_bytes(expected.miner_bytes_a_day_at_most)} a day if nothing can be compressed",
    )
    yield received("from GFS", expected.gfs_bytes_a_day, from_sources, source="gfs")
    yield received("from ERA5", expected.era5_bytes_a_day, from_sources, source="era5")
    yield received(
        "from the climatology",
        expected.climatology_bytes_a_day_at_most,
        from_sources,
        note="expected at most",
        source="climatology",
    )
    yield Line(
        name="CDS requests",
        unit="requests a day",
        expected=expected.cds_requests_a_day,
        used=None if isinstance(work, str) else _REQUESTS_PER_SET * work.era5_sets / work.days,
        note=f"not measured, because {work}"
        if isinstance(work, str)
        else "used: two per stored time of ERA5",
    )


def _disk(
    expected: Volumes, files: FilesSettings, database: DatabaseSettings, work: WorkDone | str
) -> Iterable[Line]:
    data_dir = files.data_dir
    yield Line(
        name="reference fields",
        unit="bytes",
        expected=expected.references_disk_bytes,
        used=_folder_bytes(data_dir, _REFERENCES),
    )
    yield Line(
        name="miners' chunks",
        unit="bytes",
        expected=expected.spool_disk_bytes,
        used=_folder_bytes(data_dir, _SPOOL),
        note="" if files.keep_inputs_days else "expected at most, while one lead of all miners is scored",
    )
    yield Line(
        name="database growth",
        unit="bytes a day",
        expected=expected.database_bytes_a_day,
        used=None if isinstance(work, str) else work.database_bytes / work.days,
        note=f"not measured, because {work}"
        if isinstance(work, str)
        else f"used: {_bytes(work.database_bytes)} in {work.days:.0f} days",
    )
    if database.is_embedded:
        used = _folder_bytes(data_dir, _DATABASE)
        yield Line(
            name="database files",
            unit="bytes",
            expected=expected.database_bytes_a_day * (work.days if isinstance(work, WorkDone) else 0.0),
            used=used,
            note="expected: the growth since the first run, without the server's own files",
        )


def _cpu(expected: Volumes, work: WorkDone | str) -> Line:
    return Line(
        name="CPU time",
        unit="CPU seconds a day",
        expected=expected.cpu_s_a_day,
        used=None if isinstance(work, str) else work.cpu_s / work.days,
        note=f"not measured, because {work}"
        if isinstance(work, str)
        else "used: the workers' time for scores, without downloads",
    )


def _work_done(source: Source) -> WorkDone | str:
    """Return what the stored runs cost, or why that cannot be known."""
    try:
        with source:
            work = source.read(work_done)
    except GaiaError as error:
        return str(error).partition(";")[0].rstrip(".")
    return work if work.runs else "no run is stored yet"


def _served(observation: ObservationSettings) -> Samples | str:
    """Return the metrics that the running validator serves, or why there are none."""
    if not observation.metrics_port:
        return "the metrics are switched off"
    url = metrics_url(observation)
    found = scrape(url)
    return found if isinstance(found, Samples) else f"no validator serves metrics at {url}"


def _rate(served: Samples, metric: str, labels: Mapping[str, str]) -> float | str:
    """Return how much a counter rises in a day since the start, or why that is unknown."""
    total = served.value(metric, **labels)
    if total is None:
        return f"this release does not serve {metric}"
    started = served.value("gaia_io_start_timestamp_seconds")
    if started is None:
        return "the validator does not say when it started"
    uptime_s = time.time() - started
    if uptime_s < _LEAST_UPTIME_S:
        return f"the validator runs for {uptime_s / 60:.0f} minutes only"
    return total / uptime_s * _DAY_S


def _folder_bytes(data_dir: Path, names: Iterable[str]) -> float:
    """Return the bytes that some folders of the data folder take on the disk."""
    total = 0
    for name in names:
        for path in (data_dir / name).rglob("*"):
            try:
                total += path.lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # deleted meanwhile
    return float(total)


def _table(lines: Sequence[Line]) -> Iterator[str]:
    yield f"{'':22}{'expected':>14}{'a month':>14}{'used':>14}"
    for heading, is_daily in (("a day", True), ("on the disk", False)):
        yield heading
        for line in lines:
            if line.is_daily is not is_daily:
                continue
            month = _amount(line, line.expected * _DAYS_A_MONTH) if is_daily else ""
            used = "not measured" if line.used is None else _amount(line, line.used)
            yield f"  {line.name:20}{_amount(line, line.expected):>14}{month:>14}{used:>14}"


def _notes(lines: Sequence[Line]) -> Iterator[str]:
    """Yield each note once, with the names that it is about."""
    about: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        for note in filter(None, line.note.split("; ")):
            about[note].append(line.name)
    for note, names in about.items():
        yield f"{', '.join(names)}: {note}"


def _amount(line: Line, value: float) -> str:
    if line.unit.startswith("bytes"):
        return _bytes(value)
    if line.unit.startswith("CPU"):
        return f"{value / 3600:.1f} h" if value >= 3600 else f"{value / 60:.1f} min"
    return f"{value:.1f}"


def _bytes(value: float) -> str:
    """Return an amount of bytes in the unit that a person would choose.

    >>> _bytes(0), _bytes(1_500), _bytes(458_116_443_750)
    ('0 B', '1.5 kB', '458.1 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
