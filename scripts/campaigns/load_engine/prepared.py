"""The units that a load generator may ask for, with the answer that each handler gives alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from campaigns.load_engine.answers import digest_of
from gaia.tasks.defined_tasks.weather import units
from gaia.tasks.defined_tasks.weather.validator.handlers import resolve

FOLDER = ("fields", "load")
"""Folder below the data folder; workers may read and write it."""


class Prepared(NamedTuple):
    """One unit, and the digest of its right answer."""

    scenario: str
    handler: str
    payload: dict[str, Any]
    expected: str


def prepare(data_dir: Path, grid: str, miners: int) -> list[Prepared]:
    """Write the inputs below `data_dir`; return the units, with answers computed in this process.

    Parameters
    ----------
    grid
        Grid of all fields: "0.25" or "1.0".
    miners
        Number of different forecasts.
    """
    from benchmarks.scoring_peers.inputs import INIT, LEAD_HOURS, Day1

    folder = data_dir.joinpath(*FOLDER)
    folder.mkdir(parents=True)
    day1 = Day1(folder, grid, miners)
    decode = {
        "grid": grid,
        "fields": list(day1.fields["truth"]),
        "source_path": str(day1.sources()["baseline"]),
        "init_time": INIT.isoformat(),
        "lead_hours": LEAD_HOURS,
    }
    prepared = [_known("hash", units.DecodeGfs, decode, folder / "decoded")]
    for miner in range(miners):
        payload = day1.payload(miner)
        final = {name: value for name, value in payload.items() if name != "baseline"}
        prepared += [
            _known("day1", units.ScoreDay1, payload),
            _known("era5_final", units.ScoreFinal, final),
            _known("verification", units.VerifyForecast, payload),
        ]
    return prepared


def with_own_place(payload: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the payload with an output folder that no other unit uses."""
    if "out_dir" not in payload:
        return dict(payload)
    return {**payload, "out_dir": f"{payload['out_dir']}-{number}"}


def _known(
    scenario: str, unit: type[units.Unit], given: Mapping[str, Any], out_dir: Path | None = None
) -> Prepared:
    names = set(unit.__struct_fields__)
    payload = {name: value for name, value in given.items() if name in names}
    if out_dir is not None:
        payload["out_dir"] = str(out_dir)
    value = resolve(unit.handler)(with_own_place(payload, next(_numbers)))
    return Prepared(scenario, unit.handler, payload, digest_of(value))


_numbers = itertools.count()
