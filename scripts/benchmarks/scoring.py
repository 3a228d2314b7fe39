"""Compares scoring with its peers, and with the limits of memory, hash and decoder, in one interleaved run."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BATCH_MINERS = 16
MANY = 256
SETS = 8
"""Number of input arrays, more than the processor's caches hold, so that each is read from memory."""

Samples = dict[str, list[float]]


class Plan(NamedTuple):
    grid: str
    rounds: int
    peer_rounds: int
    miners: int


FULL = Plan(grid="0.25", rounds=40, peer_rounds=3, miners=8)
QUICK = Plan(grid="1.0", rounds=5, peer_rounds=1, miners=2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grid", choices=("0.25", "1.0"), help="degrees; 0.25 unless --quick")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "figures"}; ratios are medians over the rounds.

    Times are CPU times, which other work on the machine does not change much.
    """
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")
    plan = QUICK if arguments.quick else FULL
    plan = plan._replace(grid=arguments.grid or plan.grid)
    with tempfile.TemporaryDirectory(prefix="gaia-bench-") as folder:
        from benchmarks.scoring_peers.inputs import Day1

        day1 = Day1(Path(folder), plan.grid, plan.miners)
        samples: Samples = defaultdict(list)
        agreement = measure_kernel(day1, plan, samples)
        measure_day1(day1, plan, samples)
        measure_batches(day1, plan, samples)
        figures: dict[str, Any] = {
            f"{name}_ms": round(statistics.median(found), 4) for name, found in samples.items()
        }
        figures |= memory_figures(plan) | {"grid": plan.grid} | agreement
    return {"ratios": ratios(samples), "figures": figures}


def ratios(samples: Samples) -> dict[str, float]:
    def of(name: str, other: str) -> float:
        pairs = zip(samples[name], samples[other], strict=False)
        return round(statistics.median(one / two for one, two in pairs), 3)

    found = {
        "kernel_vs_read": of("kernel", "read"),
        "day1_stock_vs_ours": of("day1_stock", "day1_ours"),
        "day1_ours_vs_limit": of("day1_ours", "day1_limit"),
        "batch256_gain": of("cpu_of_one_miner_alone", "cpu_of_one_miner_of_256"),
        "batch256_gain_references_at_hand": of("cpu_scoring_alone", "cpu_scoring_in_batches"),
    }
    for peer in ("xskillscore", "scores", "weatherbench2"):
        if samples[peer]:
            found[f"{peer}_vs_kernel"] = of(peer, "measures_beside_peers")
    return found


def timed(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[float, Any]:
    """Run `work`; return (milliseconds, its result)."""
    started = clock()
    value = work()
    return (clock() - started) * 1e3, value


def measure_kernel(day1: Any, plan: Plan, samples: Samples) -> dict[str, float]:
    """Compare all measures of one field with one read of its four arrays, and with other libraries."""
    from benchmarks.scoring_peers import peers
    from gaia.tasks.defined_tasks.weather.validator.areas import row_weights
    from gaia.tasks.defined_tasks.weather.validator.kernel import sum_both, weigh
    from gaia.tasks.defined_tasks.weather.validator.measures import References

    read, weights = reader(), row_weights(day1.contract.field_shape[0])
    sets = [[field.copy() for field in first_field(day1)] for _ in range(SETS)]

    def kernel(number: int) -> Any:
        of_forecast, of_truth = sum_both(*sets[number % SETS])
        return weigh(of_forecast, weights), weigh(of_truth, weights)

    def measures(number: int) -> Any:
        f, o, c, g = sets[number % SETS]
        return References(o, c, g).compare(f).components()

    kernel(0)

    def read_all(number: int) -> Any:
        return [read(field) for field in sets[number % SETS]]

    def with_truth_shared(references: References, number: int) -> Any:
        return references.compare(sets[number % SETS][0]).components()

    for number in range(plan.rounds):
        samples["read"].append(timed(partial(read_all, number))[0])
        samples["kernel"].append(timed(partial(kernel, number + 3))[0])
        samples["measures"].append(timed(partial(measures, number + 6))[0])
        references = References(*sets[number % SETS][1:])
        references.sums()
        samples["measures_truth_shared"].append(timed(partial(with_truth_shared, references, number))[0])
    given = [peers.labelled(field) for field in sets[0]]
    for _ in range(plan.peer_rounds):
        beside = [timed(partial(measures, n))[0] for n in range(SETS)]
        samples["measures_beside_peers"].append(statistics.median(beside))
        for name, peer in peers.available().items():
            samples[name].append(timed(partial(peer, *given))[0])
    return agreement(sets[0])


def agreement(fields: list[Any]) -> dict[str, float]:
    """Return the largest relative difference from each peer's results in float64."""
    from benchmarks.scoring_peers import peers
    from gaia.tasks.defined_tasks.weather.validator.measures import Measures, field_components

    given = [peers.labelled(field.astype("f8")) for field in fields]
    result = {}
    for name, peer in peers.available().items():
        f, o, c, g = fields
        measures: Measures = "plain" if name == "weatherbench2" else "gaia-2.9"
        ours = asdict(field_components(f, o, c, g, measures=measures))
        theirs = peer(*given)
        result[f"differs_from_{name}"] = max(
            abs(ours[measure] - float(value)) / abs(float(value)) for measure, value in theirs.items()
        )
    return result


def first_field(day1: Any) -> list[Any]:
    from benchmarks.scoring_peers.inputs import ROLES

    return [day1.forecasts[0]["2t"], *(day1.fields[role]["2t"] for role in ROLES)]


def reader() -> Callable[[Any], float]:
    """Return a function that reads an array once at full speed: a sum in any order."""
    import numba
    import numpy as np

    def add_up(values: Any) -> Any:
        total = np.float32(0)
        for place in range(values.size):
            total += values[place]
        return total

    compiled = numba.njit("float32(float32[::1])", fastmath=True)(add_up)
    return lambda field: float(compiled(field.reshape(-1)))


def measure_day1(day1: Any, plan: Plan, samples: Samples) -> None:
    """Compare one miner's first day: ours, stock libraries on zarr stores, and only hash, decode and read."""
    from gaia.tasks.defined_tasks.weather.units import ScoreDay1
    from gaia.tasks.defined_tasks.weather.validator.handlers import resolve
    from gaia.tasks.defined_tasks.weather.validator.scoring import handle_day1_scoring

    score_day1 = resolve(ScoreDay1.handler)
    stores, read = day1.zarr_stores(), reader()
    three = stores["forecast"], stores["truth"], stores["climatology"]
    for work in (
        lambda: limit(day1, read),
        lambda: score_day1(day1.payload()),
        lambda: handle_day1_scoring(*three),
    ):
        work()
    for number in range(plan.rounds):
        miner = number % plan.miners
        samples["day1_limit"].append(timed(partial(limit, day1, read, miner))[0])
        samples["day1_ours"].append(timed(partial(score_day1, day1.payload(miner)))[0])
        if number < plan.peer_rounds:
            samples["day1_stock"].append(timed(lambda: stock(stores))[0])
            samples["day1_of_three_zarr_stores"].append(timed(lambda: handle_day1_scoring(*three))[0])


def stock(stores: Mapping[str, str]) -> dict[str, Any]:
    """Measure with xarray and xskillscore."""
    import xarray as xr

    from benchmarks.scoring_peers import peers

    roles = ("forecast", "truth", "climatology", "baseline")
    opened = [xr.open_zarr(stores[role]).load() for role in roles]
    measured = {name: peers.xskillscore(*(each[name] for each in opened)) for name in opened[0].data_vars}
    return {
        str(name): {key: float(value) for key, value in found.items()} for name, found in measured.items()
    }


def limit(day1: Any, read: Callable[[Any], float], miner: int = 0) -> float:
    """Hash and decode each chunk and read the four fields, which every verified score needs."""
    import numpy as np
    from numcodecs import blosc

    from benchmarks.scoring_peers.inputs import FIELDS, LEAD_HOURS, ROLES
    from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, file_digest

    out, total = np.empty(day1.contract.field_shape, np.float32), 0.0
    for field in FIELDS:
        path = chunk_path(field, LEAD_HOURS, day1.contract.step_hours)
        frame = Path(day1.spools[miner]["store_dir"], path).read_bytes()
        assert file_digest(path, frame) == day1.spools[miner]["digests"][path]
        blosc.decompress(frame, out)
        total += read(out) + sum(read(day1.fields[role][field]) for role in ROLES)
    return total


def measure_batches(day1: Any, plan: Plan, samples: Samples) -> None:
    """Measure CPU time of one miner's first day, alone and as one of 256, with and without reference fields."""
    from gaia.tasks.defined_tasks.weather.units import ScoreBatch, ScoreDay1
    from gaia.tasks.defined_tasks.weather.validator.handlers import resolve

    score_batch, score_day1 = resolve(ScoreBatch.handler), resolve(ScoreDay1.handler)
    sources = day1.sources()

    def in_batches() -> None:
        for _ in range(MANY // BATCH_MINERS):
            score_batch(day1.batch(BATCH_MINERS))

    for _ in range(plan.peer_rounds):
        ready, _ = timed(lambda: make_ready(day1, sources))
        alone, _ = timed(lambda: score_day1(day1.payload()))
        many, _ = timed(in_batches)
        samples["cpu_making_references_ready"].append(ready)
        samples["cpu_scoring_alone"].append(alone)
        samples["cpu_scoring_in_batches"].append(many / MANY)
        samples["cpu_of_one_miner_alone"].append(ready + alone)
        samples["cpu_of_one_miner_of_256"].append((ready + many) / MANY)


def make_ready(day1: Any, sources: Mapping[str, Path]) -> None:
    """Decode the reference fields from two GFS files and the climatology's chunks."""
    from numcodecs import blosc

    from benchmarks.scoring_peers.inputs import CODEC, FIELDS, INIT, LEAD_HOURS
    from gaia.tasks.defined_tasks.weather.units import DecodeGfs
    from gaia.tasks.defined_tasks.weather.validator.reference import gfs_compute, store_fields

    times = {"truth": (INIT.replace(hour=LEAD_HOURS), 0), "baseline": (INIT, LEAD_HOURS)}
    for role, (init_time, lead) in times.items():
        gfs_compute(
            DecodeGfs(
                grid=day1.grid,
                source_path=str(sources[role]),
                fields=list(FIELDS),
                init_time=init_time.isoformat(),
                lead_hours=lead,
                out_dir=str(day1.folder / "ready" / role),
            )
        )
    import numpy as np

    if not hasattr(day1, "climatology_chunks"):
        day1.climatology_chunks = {n: CODEC.encode(v) for n, v in day1.fields["climatology"].items()}
    fields = {name: np.empty(day1.contract.field_shape, np.float32) for name in FIELDS}
    for name, chunk in day1.climatology_chunks.items():
        blosc.decompress(chunk, fields[name])
    store_fields(fields, FIELDS, day1.grid, day1.folder / "ready" / "climatology")


def memory_figures(plan: Plan) -> dict[str, float]:
    """Measure the growth of peak memory, in separate processes."""
    figures = {}
    for what in ("libraries", "kernel", "batch 1", "batch 16", "batch 64"):
        done = subprocess.run(
            [sys.executable, __file__, plan.grid, *what.split()],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])},
        )
        figures[f"extra_mib_{what.replace(' ', '_')}"] = round(float(done.stdout), 2)
    return figures


def extra_mib(grid: str, what: str, size: int = 1) -> float:
    """Run once after a warm-up; return the growth of the peak above the memory held before."""
    from benchmarks.scoring_peers.inputs import Day1
    from gaia.tasks.defined_tasks.weather.units import ScoreBatch
    from gaia.tasks.defined_tasks.weather.validator import handlers

    if what == "libraries":
        # Loaded once, because all workers are forked from a process that has it.
        return peak_of(lambda: import_module(handlers.HANDLERS[ScoreBatch.handler].partition(":")[0]))
    from gaia.tasks.defined_tasks.weather.validator.measures import References

    handlers.warm_up()
    with tempfile.TemporaryDirectory(prefix="gaia-bench-") as folder:
        day1 = Day1(Path(folder), grid, 1)
        if what == "kernel":
            f, o, c, g = first_field(day1)
            return peak_of(lambda: References(o, c, g).compare(f).components())
        payload, score_batch = day1.batch(size), handlers.resolve(ScoreBatch.handler)
        return peak_of(lambda: score_batch(payload))


def peak_of(work: Callable[[], Any]) -> float:
    """Return the growth of resident memory in MiB while `work` runs (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = dict(_status())["VmHWM"]
    work()
    return (dict(_status())["VmHWM"] - before) / 1024


def _status() -> Iterator[tuple[str, int]]:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            yield name, int(value.split()[0])


if __name__ == "__main__":
    print(extra_mib(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
