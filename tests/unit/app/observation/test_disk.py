"""Disk space by kind, from real files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gaia.validator.app.observation.disk import KINDS, measure

MIB = 1 << 20


def _put(path: Path, size: int = MIB) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def test_every_kind_is_there_before_any_file(tmp_path: Path) -> None:
    assert measure(tmp_path, threading.Event()) == dict.fromkeys(KINDS, 0)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("spool/2026-03-25T00Z/5Miner/2t/1.0.0", "spool"),
        ("raw/gfs/2026-03-25T00Z+0/day1", "references"),
        ("fields/era5/2026-03-26T00Z/final/2t", "references"),
        ("sketches/gaia-next/r/final/24/5Miner", "copies"),
        ("products/ab", "copies"),
        ("postgres/cluster/base/5/1259", "postgres"),
        ("logs/io_engine-application.log", "logs"),
        ("compiled/kernel.nbi", "other"),
        ("lock", "other"),
    ],
)
def test_files_count_for_the_kind_of_their_folder(tmp_path: Path, path: str, kind: str) -> None:
    _put(tmp_path / path)

    used = measure(tmp_path, threading.Event())

    assert used[kind] >= MIB
    assert sum(used[other] for other in KINDS if other != kind) == 0


def test_sparse_file_counts_what_it_uses(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    with (tmp_path / "spool" / "sparse").open("wb") as file:
        file.truncate(64 * MIB)

    assert measure(tmp_path, threading.Event())["spool"] < MIB


def test_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    _put(tmp_path / "elsewhere" / "big")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "spool").symlink_to(tmp_path / "elsewhere")

    assert measure(tmp_path / "data", threading.Event())["spool"] < MIB


def test_many_small_files_are_all_counted(tmp_path: Path) -> None:
    for number in range(450):
        _put(tmp_path / "spool" / f"{number}", 1)
    block = (tmp_path / "spool" / "0").stat().st_blocks * 512

    assert measure(tmp_path, threading.Event())["spool"] >= 450 * block > 0


def test_measurement_that_is_stopped_ends_without_a_look_at_the_rest(tmp_path: Path) -> None:
    for number in range(250):
        _put(tmp_path / "spool" / f"{number}", 4096)
    stop = threading.Event()
    stop.set()

    assert measure(tmp_path, stop)["spool"] == 0
