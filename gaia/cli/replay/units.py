"""The units of a stored run, made again from what was recorded: manifest, spool, reference fields, payload."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gaia.tasks.defined_tasks.weather.validator.handlers import resolve
from gaia.tasks.defined_tasks.weather.wire.manifest import verify_manifest
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, metadata_path
from gaia.validator.app.children.preload import SINGLE_THREADED, load_handlers
from gaia.validator.app.sandbox.confine import confine, grant_for
from gaia.validator.db.history import StoredRun
from gaia.validator.db.rows import ForecastRow, InputsRow
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.ipc_types import SandboxMode

Key = tuple[str, str, str, int]
"""(hotkey, rule set, kind, lead in hours)."""


class InputMissing(GaiaError):
    """Something a score was made from is gone, or is not what it was."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One call of a handler, and the stored scores that came of it."""

    handler: str
    payload: dict[str, Any]
    digests: Mapping[str, str]
    """Path of each of our own fields -> its sha256 then."""
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a unit returned, or why it did not."""

    keys: tuple[Key, ...]
    value: Mapping[str, Any] | None
    problem: str = ""


def units_of(
    run: StoredRun, data_dir: Path, hotkeys: Container[str] | None = None, rule_set: str | None = None
) -> list[Unit]:
    """Return the units that made the components of `run`; rule sets that were given the same share one.

    `hotkeys` and `rule_set` leave out others'.

    Raises
    ------
    InputMissing
        If what a lead was given was not recorded, or a frozen manifest does not hold any more.
    """
    inputs = {(row.rule_set, row.kind, row.lead_hours): row for row in run.inputs}
    promises = _Promises(run.forecasts)
    merged: dict[tuple[Any, ...], Unit] = {}
    wanted = {
        (row.hotkey, row.rule_set, row.kind, row.lead_hours)
        for row in run.components
        if (hotkeys is None or row.hotkey in hotkeys) and rule_set in (None, row.rule_set)
    }
    for key in sorted(wanted):
        hotkey, *_ = key
        given = inputs.get(lead := key[1:])
        if given is None:
            raise InputMissing(f"what {' '.join(map(str, lead))} h was scored with was not recorded")
        unit = _unit(run.summary.run_id, key, given, promises.of(hotkey), data_dir)
        same = (hotkey, *lead[1:], unit.handler, repr(unit.payload))
        earlier = merged.get(same)
        merged[same] = Unit(
            unit.handler, unit.payload, unit.digests, (*(earlier.keys if earlier else ()), key)
        )
    return list(merged.values())


@contextmanager
def pool(workers: int, data_dir: Path, sandbox: SandboxMode = "best-effort") -> Iterator[ProcessPoolExecutor]:
    """Yield processes that are made as compute workers are: single-threaded, locked in, without a database.

    Of the files only the spool and the fields below `data_dir` are within their reach.
    """
    os.environ.update(SINGLE_THREADED)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    executor = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_lock_in, initargs=(sandbox, str(data_dir))
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _lock_in(sandbox: SandboxMode, data_dir: str) -> None:
    # What is loaded or compiled later would be out of reach.
    load_handlers(HANDLERS)
    confine(sandbox, grant_for(data_dir, HANDLERS))


def compute(executor: ProcessPoolExecutor, units: Sequence[Unit]) -> Iterable[Outcome]:
    """Run all units; the order of the outcomes is that of the units."""
    return executor.map(run_unit, units, chunksize=max(1, min(16, len(units) // 16)))


def run_unit(unit: Unit) -> Outcome:
    """Check our own fields against their digests, then do what the compute worker did."""
    try:
        for path, sha256 in unit.digests.items():
            require_digest(Path(path), sha256)
        return Outcome(unit.keys, resolve(unit.handler)(unit.payload))
    except GaiaError as error:
        return Outcome(unit.keys, None, f"{type(error).__name__}: {error}")


@lru_cache(maxsize=65_536)
def require_digest(path: Path, sha256: str) -> None:
    """Refuse a file of ours that is gone or was changed; looked at once by each process.

    Raises
    ------
    InputMissing
        With the file's name.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputMissing(f"{path.name} of {path.parent} was not kept ({error.strerror})") from error
    if found != sha256:
        raise InputMissing(f"{path} has sha256 {found}, and was scored against {sha256}")


def store_of(data_dir: Path, run_id: str, hotkey: str) -> Path:
    """Return the spool folder of one forecast."""
    return data_dir / "spool" / run_id / hotkey


class _Promises:
    """Digests of files that miners committed to, each manifest verified when first asked for."""

    def __init__(self, forecasts: Sequence[ForecastRow]) -> None:
        self._forecasts = {row.hotkey: row for row in forecasts}
        self._files: dict[str, Mapping[str, str]] = {}

    def of(self, hotkey: str) -> Mapping[str, str]:
        if hotkey not in self._files:
            row = self._forecasts[hotkey]
            try:
                frozen = verify_manifest(
                    row.manifest or b"", row.signature or b"", row.manifest_sha256 or "", hotkey
                )
            except GaiaError as error:
                raise InputMissing(f"manifest of {hotkey}: {error}") from error
            self._files[hotkey] = frozen.files
        return self._files[hotkey]


def _unit(run_id: str, key: Key, given: InputsRow, promised: Mapping[str, str], data_dir: Path) -> Unit:
    payload: dict[str, Any] = dict(given.payload)
    digests: dict[str, str] = {}
    for role, files in given.digests.items():
        paths = {field: str(data_dir / path) for field, path in payload[role].items()}
        payload[role] = paths
        digests |= {paths[field]: sha256 for field, sha256 in files.items()}
    hotkey, _, _, lead_hours = key
    names = {metadata_path(field) for field in payload["fields"]}
    names |= {chunk_path(field, lead_hours, payload["step_hours"]) for field in payload["fields"]}
    payload["store_dir"] = str(store_of(data_dir, run_id, hotkey))
    payload["digests"] = {name: promised[name] for name in sorted(names)}
    return Unit(given.handler, payload, digests, (key,))
