"""Rebuilds the units of a stored run from its manifests, spool, reference fields and payloads."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.files import place_in
from gaia.tasks.defined_tasks.weather.units import (
    SCORES_ONE,
    FindOverlaps,
    LeadScored,
    Overlaps,
    ScoreDay1,
    ScoreFinal,
)
from gaia.tasks.defined_tasks.weather.validator.handlers import answer_to
from gaia.tasks.defined_tasks.weather.wire.manifest import verify_manifest
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, metadata_path
from gaia.validator.app.children.preload import SINGLE_THREADED, load_handlers
from gaia.validator.app.sandbox.confine import confine, grant_for
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.identities import Hotkey, RunId

if TYPE_CHECKING:
    from gaia.validator.db.history import StoredRun
    from gaia.validator.db.rows import ComponentRow, ForecastRow, InputsRow, LeadRow
    from gaia.validator.utils.ipc_types import SandboxMode

Key = tuple[Hotkey, str, LeadKind, int]
"""(hotkey, rule set, kind, lead in hours)."""


_SCORING = {kind.handler: kind for kind in SCORES_ONE.values()}


class InputMissing(GaiaError):
    """An input of a score is missing or was changed."""


@dataclass(frozen=True, slots=True)
class StoredUnit:
    """One unit that scored a lead, and the stored scores it produced."""

    unit: ScoreDay1 | ScoreFinal
    digests: Mapping[str, str]
    """Path of each reference field -> its sha256 when the lead was scored."""
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a rerun unit, or the reason why there is none."""

    keys: tuple[Key, ...]
    value: LeadScored | None
    problem: str = ""


def key_of(row: ComponentRow | LeadRow) -> Key:
    """Return the forecast and lead that a row belongs to."""
    return row.hotkey, row.rule_set, LeadKind(row.kind), row.lead_hours


def units_of(
    run: StoredRun, data_dir: Path, hotkeys: Container[str] | None = None, rule_set: str | None = None
) -> list[StoredUnit]:
    """Return the units that produced the components of `run`; rule sets with equal inputs share one.

    `hotkeys` and `rule_set` restrict the units to those of the given miners and rules.

    Raises
    ------
    InputMissing
        If the inputs of a lead were not recorded, or a frozen manifest is no longer valid.
    """
    inputs = {(row.rule_set, row.kind, row.lead_hours): row for row in run.inputs}
    promises = _Promises(run.forecasts)
    merged: dict[tuple[Any, ...], StoredUnit] = {}
    wanted = {
        key_of(row)
        for row in run.components
        if (hotkeys is None or row.hotkey in hotkeys) and rule_set in (None, row.rule_set)
    }
    for key in sorted(wanted):
        hotkey, *_ = key
        given = inputs.get(lead := key[1:])
        if given is None:
            raise InputMissing(f"the inputs of {' '.join(map(str, lead))} h were not recorded")
        stored = _stored_unit(RunId(run.summary.run_id), key, given, promises.of(hotkey), data_dir)
        same = (hotkey, *lead[1:], repr(stored.unit))
        earlier = merged.get(same)
        merged[same] = replace(stored, keys=(*(earlier.keys if earlier else ()), key))
    return list(merged.values())


@contextmanager
def pool(workers: int, data_dir: Path, sandbox: SandboxMode = "best-effort") -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes confined like compute workers: one thread, a sandbox, no database.

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


def compute(executor: ProcessPoolExecutor, units: Sequence[StoredUnit]) -> Iterable[Outcome]:
    """Return what all units answer now, in their order."""
    return executor.map(compute_unit, units, chunksize=max(1, min(16, len(units) // 16)))


def compute_unit(stored: StoredUnit) -> Outcome:
    """Check our own fields against their digests, then do what the compute worker did."""
    try:
        for path, sha256 in stored.digests.items():
            require_digest(Path(path), sha256)
        return Outcome(stored.keys, answer_to(stored.unit))
    except GaiaError as error:
        return Outcome(stored.keys, None, _problem(error))


def compute_overlaps(executor: ProcessPoolExecutor, unit: FindOverlaps) -> Overlaps:
    """Return the overlaps that kept products show now.

    Raises
    ------
    InputMissing
        If they cannot be found.
    """
    found = executor.submit(_overlaps, unit).result()
    if isinstance(found, str):
        raise InputMissing(found)
    return found


def _overlaps(unit: FindOverlaps) -> Overlaps | str:
    try:
        return answer_to(unit)
    except GaiaError as error:
        return _problem(error)


def _problem(error: GaiaError) -> str:
    return f"{type(error).__name__}: {error}"


@lru_cache(maxsize=65_536)
def require_digest(path: Path, sha256: str) -> None:
    """Raise if a file of ours is missing or was changed; each process checks a file once.

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


def store_of(data_dir: Path, run_id: RunId, hotkey: Hotkey) -> Path:
    """Return the folder in the spool that holds one forecast."""
    return data_dir / "spool" / run_id / hotkey


class _Promises:
    """Digests that miners committed to; each manifest is verified on its first use."""

    def __init__(self, forecasts: Sequence[ForecastRow]) -> None:
        self._forecasts: dict[str, ForecastRow] = {row.hotkey: row for row in forecasts}
        self._files: dict[str, Mapping[str, str]] = {}

    def of(self, hotkey: Hotkey) -> Mapping[str, str]:
        if hotkey not in self._files:
            row = self._forecasts[hotkey]
            if row.manifest is None and row.manifest_sha256 is not None:
                raise InputMissing(f"manifest of {hotkey} was removed, as GAIA_KEEP_MANIFESTS_DAYS says")
            try:
                frozen = verify_manifest(
                    row.manifest or b"",
                    row.signature or b"",
                    row.manifest_sha256 or "",
                    row.signed_by or hotkey,
                )
            except GaiaError as error:
                raise InputMissing(f"manifest of {hotkey}: {error}") from error
            self._files[hotkey] = frozen.files
        return self._files[hotkey]


def _stored_unit(
    run_id: RunId, key: Key, given: InputsRow, promised: Mapping[str, str], data_dir: Path
) -> StoredUnit:
    hotkey, _, _, lead_hours = key
    shared = dict(given.payload)
    digests: dict[str, str] = {}
    for role, files in given.digests.items():
        shared[role] = {field: str(place_in(data_dir, path)) for field, path in shared[role].items()}
        digests |= {shared[role][field]: sha256 for field, sha256 in files.items()}
    names = {metadata_path(field) for field in shared["fields"]}
    names |= {chunk_path(field, lead_hours, shared["step_hours"]) for field in shared["fields"]}
    of_one = {
        "store_dir": str(store_of(data_dir, run_id, hotkey)),
        "digests": {name: promised[name] for name in sorted(names)},
    }
    kind = _SCORING.get(given.handler)
    if kind is None:
        raise InputMissing(f"no handler is called {given.handler!r}")
    try:
        return StoredUnit(msgspec.convert(shared | of_one, kind), digests, (key,))
    except msgspec.ValidationError as error:
        raise InputMissing(f"the inputs of {hotkey} at +{lead_hours}h cannot be read: {error}") from error
