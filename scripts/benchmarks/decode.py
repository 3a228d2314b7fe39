"""Measures the cost of decoding one field: the slowest frames that pass the checks, and refused frames."""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
KIB = 1024
BLOCK_SIZES = (4 * KIB, 8 * KIB, 16 * KIB, 64 * KIB, 128 * KIB, KIB * KIB)
SHARE = 64
"""Bytes that are decoded of the frame with one shared stream, which would take more than an hour in full."""
SOME_EMPTY_BLOCKS = 3000

Make = Callable[[], bytes]


class Plan(NamedTuple):
    grid: str
    rounds: int
    tries: int


FULL = Plan(grid="0.25", rounds=5, tries=60)
QUICK = Plan(grid="1.0", rounds=3, tries=5)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grid", choices=("0.25", "1.0"), help="degrees; 0.25 unless --quick")
    parser.add_argument("--tries", type=int, help="frames to search beyond the known ones; 60 unless --quick")
    parser.add_argument("--seed", type=int, default=0, help="decides which")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "refused", "figures"}; ratios are CPU times relative to an honest frame.

    Each frame is decoded in turn with the honest one; its ratio is the median over the rounds.
    """
    sys.path.insert(0, str(ROOT))
    from benchmarks.scoring_peers.inputs import CODEC, some_fields
    from gaia.tasks.defined_tasks.weather.variables import GRIDS

    plan = QUICK if arguments.quick else FULL
    plan = plan._replace(
        grid=arguments.grid or plan.grid, tries=plan.tries if arguments.tries is None else arguments.tries
    )
    rows, columns = GRIDS[plan.grid]
    size = rows * columns * 4
    field = some_fields(plan.grid, 1)["2t"]
    costs = Costs(bytes(CODEC.encode(field)), size, plan.rounds)
    accepted = {name: costs.accepted(make()) for name, make in {**writers(field), **attacks(size)}.items()}
    accepted |= {
        name: ratio
        for name, make in search(size, plan.tries, arguments.seed)
        if (ratio := costs.if_accepted(make())) is not None
    }
    worst = max(accepted, key=lambda name: accepted[name])
    known = [*writers(field), *attacks(size)]
    return {
        "ratios": {"worst_accepted": round(accepted[worst], 2)} | {n: round(accepted[n], 2) for n in known},
        "refused": {name: round(ratio, 1) for name, ratio in refused(size, costs).items()},
        "figures": {
            "grid": plan.grid,
            "honest_ms": round(statistics.median(costs.honest_ms), 3),
            "checking_honest_ms": round(costs.checking_ms(), 3),
            "checking_worst_ms": round(costs.checking_ms(attacks(size)["tables"]()), 3),
            "worst": worst,
            "accepted": len(accepted),
            "searched": plan.tries,
        },
    }


class Costs:
    """Decodes frames in turn with an honest one.

    Parameters
    ----------
    honest
        A frame of the reference miner.
    size
        Bytes of a field.
    rounds
        Number of times that each frame is decoded.
    """

    def __init__(self, honest: bytes, size: int, rounds: int) -> None:
        import numpy as np

        self.honest_ms: list[float] = []
        self._honest, self._size, self._rounds = honest, size, rounds
        self._out = np.empty(size, np.uint8)
        self._decode_ms(honest)

    def ratio(self, frame: bytes, size: int = 0) -> float:
        """Return the median ratio of CPU times for an unchecked `frame`, which decodes to `size` bytes."""
        found = []
        for _ in range(self._rounds):
            self.honest_ms.append(self._decode_ms(self._honest))
            found.append(self._decode_ms(frame, size) / self.honest_ms[-1])
        return statistics.median(found)

    def accepted(self, frame: bytes) -> float:
        """Return the ratio of a frame that passes the checks; raise `MinerFault` for any other."""
        from gaia.tasks.defined_tasks.weather.validator.reading.frames import check_frame

        check_frame(frame, "2t/0.0.0", self._size)
        return self.ratio(frame)

    def if_accepted(self, frame: bytes) -> float | None:
        from gaia.validator.utils.errors import MinerFault

        try:
            return self.accepted(frame)
        except MinerFault:
            return None

    def checking_ms(self, frame: bytes = b"") -> float:
        """Return the CPU time of the check alone, for the honest frame unless another is given."""
        from gaia.tasks.defined_tasks.weather.validator.reading.frames import check_frame

        check = partial(check_frame, frame or self._honest, "2t/0.0.0", self._size)
        return statistics.median(cpu_ms(check) for _ in range(20))

    def _decode_ms(self, frame: bytes, size: int = 0) -> float:
        from numcodecs import blosc

        # The same buffer each time, as in the handlers.
        return cpu_ms(partial(blosc.decompress, frame, self._out[: size or self._size]))


def cpu_ms(work: Callable[[], Any]) -> float:
    begun = time.thread_time()
    work()
    return (time.thread_time() - begun) * 1e3


def writers(field: Any) -> Mapping[str, Make]:
    """Return frames that real writers make from an honest field."""
    from numcodecs import Blosc

    wanted = [("lz4", 1, 1), ("lz4", 9, 2), ("zstd", 1, 1), ("zstd", 5, 0), ("zstd", 7, 2)]
    return {
        f"{cname}_{level}_shuffle_{shuffle}": partial(
            lambda *how: bytes(Blosc(*how).encode(field)), cname, level, shuffle
        )
        for cname, level, shuffle in wanted
    }


def attacks(size: int) -> Mapping[str, Make]:
    """Return the slowest known frames that pass the checks."""
    from gaia.localnet.miners import hostile_frames

    return {
        "tables": partial(hostile_frames.many_tables, size),
        "tables_in_split_blocks": partial(hostile_frames.many_tables, size, KIB, 16 * KIB, 4),
        "tables_in_large_blocks": partial(hostile_frames.many_tables, size, KIB, 128 * KIB),
        "far_matches": partial(hostile_frames.far_matches, size),
        "far_matches_in_blocks": partial(hostile_frames.far_matches, size, 128 * KIB),
        "short_copies": partial(hostile_frames.short_copies, size),
    }


def search(size: int, tries: int, seed: int) -> Iterator[tuple[str, Make]]:
    """Yield frames with random densities of tables and sizes of blocks, mostly near the limits."""
    from gaia.localnet.miners import hostile_frames

    rng = random.Random(seed)
    for _ in range(tries):
        every = round(KIB * 4 ** rng.uniform(-0.5, 1.0))
        block_bytes = min(rng.choice(BLOCK_SIZES) + 4 * rng.choice((0, 0, 1, 255, 1000)), size)
        splits = rng.choice((1, 4))
        make = partial(hostile_frames.many_tables, size, every, block_bytes, splits)
        yield f"tables every {every} B, blocks of {block_bytes} B in {splits}", make


def refused(size: int, costs: Costs) -> dict[str, float]:
    """Return the cost that refused attacks would have; that of one shared stream is extrapolated."""
    from gaia.localnet.miners import hostile_frames

    part = size // SHARE // 8 * 8
    few, some = (
        size / part * costs.ratio(hostile_frames.shared_stream(part, count), part)
        for count in (0, SOME_EMPTY_BLOCKS)
    )
    most = (size // 2 - 64) // 3
    return {
        "shared_stream": few,
        "shared_stream_1000_empty_blocks": few + (some - few) * 1000 / SOME_EMPTY_BLOCKS,
        "shared_stream_all_empty_blocks": few + (some - few) * most / SOME_EMPTY_BLOCKS,
        "dense_tables": costs.ratio(hostile_frames.dense_tables(size)),
        "tables_in_tiny_streams": costs.ratio(hostile_frames.many_tables(size, splits=4)),
        "empty_blocks": costs.ratio(hostile_frames.empty_blocks(size)),
        "empty_frames": costs.ratio(hostile_frames.empty_frames(size, skippable=False)),
        "skippable_frames": costs.ratio(hostile_frames.empty_frames(size, skippable=True)),
    }
