"""A worker in its sandbox draws the database's history, and no other worker loads the library for it."""

from __future__ import annotations

from pathlib import Path

from gaia.validator.utils.database_history import CACHE, HANDLER
from gaia.validator.utils.entry_points import HANDLERS
from tests.support.supervised import Start, worker_pid

SAMPLE = {
    "active": 1,
    "idle": 2,
    "waiting": 0,
    "answer_s": 0.01,
    "longest_transaction_s": 0.0,
    "size_bytes": 1 << 24,
    "transactions": 10,
    "blocks_hit": 5,
    "blocks_read": 1,
}


def test_sandboxed_worker_draws_a_picture_with_a_library_that_it_did_not_have(start: Start) -> None:
    supervised = start(handlers=HANDLERS, sandbox="required")
    before = Path(f"/proc/{worker_pid(supervised)}/maps").read_text()
    samples = [{"at": 1.79e9 + 60 * at, **SAMPLE} for at in range(3)]
    memory = {"io_engine": [{"at": 1.79e9 + at, "private_bytes": 1 << 20} for at in range(2)]}
    supervised.submit(
        "picture",
        HANDLER,
        timeout_s=60.0,
        cache_dir=str(supervised.data_dir.resolve() / CACHE),
        samples=samples,
        memory=memory,
    )

    answer = supervised.result("picture")

    assert answer["failure"] is None
    assert bytes.fromhex(answer["value"]["png"]).startswith(b"\x89PNG\r\n\x1a\n")
    assert "/matplotlib/" not in before
