"""What the campaign of random moments counts as a violation."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from campaigns.moment_restores.book import Book, Restart, doubled, settled, silent, unreconciled
from campaigns.moment_restores.plans import openings_of, plans_of, spared

from gaia.localnet.options import Options

BEGUN = datetime(2026, 3, 25, tzinfo=UTC).timestamp()
RESTART = Restart(BEGUN + 100.0, newest_epoch=5)
OPTIONS = Options(days=3)


def signed(at: float, epoch: int, weight: int = 9) -> dict[str, object]:
    return {"what": "signed", "at": BEGUN + at, "epoch": epoch, "vector": [[1, weight]]}


def landed(at: float, block: int) -> dict[str, object]:
    return {"what": "landed", "at": BEGUN + at, "block": block, "vector": [[1, 65535]]}


def book_of(folder: Path, *lines: dict[str, object]) -> Book:
    path = folder / "book"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Book.read(path)


def log_of(folder: Path, *events: tuple[float, dict[str, object]]) -> Path:
    path = folder / "log"
    lines = [
        {"timestamp": datetime.fromtimestamp(BEGUN + at, UTC).isoformat(), **event} for at, event in events
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_later_epoch_may_be_signed_after_a_restore(tmp_path: Path) -> None:
    book = book_of(tmp_path, signed(1, 5), landed(2, 50), signed(101, 6, 8), landed(102, 60))

    assert list(doubled(book, [RESTART])) == []


def test_an_epoch_that_had_landed_is_not_signed_again(tmp_path: Path) -> None:
    book = book_of(tmp_path, signed(1, 5), landed(2, 50), signed(101, 5))

    assert list(doubled(book, [RESTART])) == ["epoch 5 had its vector, and was signed again after a restore"]


def test_an_epoch_has_one_vector(tmp_path: Path) -> None:
    book = book_of(tmp_path, signed(1, 5), signed(101, 5, 8) | {"vector": [[1, 9], [2, 9]]})

    assert list(doubled(book, [RESTART])) == ["epoch 5 has 2 vectors"]


def test_a_doubt_of_the_backup_is_settled_before_the_first_signature(tmp_path: Path) -> None:
    book = book_of(tmp_path, signed(110, 7))
    resolved = {"event": "weights_doubt_resolved", "epoch": 5}
    later = {"event": "weights_doubt_resolved", "epoch": 6}
    in_time = log_of(tmp_path, (105, resolved), (115, later))

    assert [epoch for _, _, epoch in settled(in_time, [RESTART])] == [5]
    assert list(unreconciled(book, [RESTART], in_time)) == []
    assert list(unreconciled(book, [RESTART], log_of(tmp_path, (111, resolved)))) == [
        "epoch 5 was settled after epoch 7 was signed"
    ]


def test_weights_land_soon_after_the_engine_has_started(tmp_path: Path) -> None:
    log = log_of(tmp_path, (0, {"event": "engine_started"}), (120, {"event": "engine_started"}))
    before = (signed(1, 5), landed(2, 50))

    soon = book_of(tmp_path, *before, signed(125, 9), landed(126, 90))
    assert list(silent(soon, [RESTART], log, BEGUN + 999, 30.0)) == []
    late = book_of(tmp_path, *before, signed(170, 9), landed(171, 90))
    assert list(silent(late, [RESTART], log, BEGUN + 999, 30.0)) == [
        "no vector landed for 51 s after a restore"
    ]
    never = book_of(tmp_path, *before)
    assert list(silent(never, [RESTART], log, BEGUN + 999, 30.0)) == [
        "no vector landed for 879 s after a restore"
    ]


def test_plans_are_in_order_and_the_same_for_a_seed() -> None:
    plans = plans_of(Random(4), OPTIONS, 9)

    assert plans == plans_of(Random(4), OPTIONS, 9)
    assert [plan.at for plan in plans] == sorted(plan.at for plan in plans)
    assert all(timedelta(minutes=10) <= plan.later <= timedelta(days=3) for plan in plans)


def test_the_last_run_can_be_asked_after_each_restore() -> None:
    openings = openings_of(OPTIONS)
    before, after = openings[-1] - timedelta(hours=9), openings[-1] + timedelta(hours=2)

    assert spared(before, timedelta(hours=20), openings) == timedelta(minutes=30)
    assert spared(before, timedelta(hours=8), openings) == timedelta(hours=8)
    assert spared(after, timedelta(days=2), openings) == timedelta(days=2)
