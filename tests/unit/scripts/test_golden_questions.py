"""What miners were asked is told in a fixed order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from golden_traces.questions import SESSION, STRANGE, Subjects, questions_of

from gaia.tasks.defined_tasks.weather.wire.messages import (
    EXCHANGE_PATH,
    FORECASTS_PREFIX,
    INITIATE_PATH,
    POLL_PATH,
    PUBLIC_KEY_PATH,
    STORE_PATH,
    job_id_of,
    store_name_of,
)

RUN_ID = "2026-03-25T00Z"
INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
ASKED_AT = "2026-03-25T18:00:00+00:00"
HOTKEY = "5" + "Miner" * 9


def a_line(path: str, about: str = "", status: int = 200, at: str = ASKED_AT, method: str = "POST") -> str:
    return json.dumps({"at": at, "method": method, "path": path, "about": about, "status": status})


def asked(*lines: str) -> dict[str, Any]:
    return questions_of(lines, Subjects(HOTKEY, {RUN_ID: INIT_TIME}))


def test_calls_are_told_in_their_order_under_their_run_and_time() -> None:
    job_id = job_id_of(INIT_TIME, HOTKEY)

    found = asked(
        a_line(PUBLIC_KEY_PATH, method="GET"),
        a_line(EXCHANGE_PATH),
        a_line(INITIATE_PATH, INIT_TIME.isoformat()),
        a_line(POLL_PATH, job_id),
        a_line(STORE_PATH, job_id, 403, at="later"),
    )

    assert found == {
        SESSION: {ASKED_AT: {"asked": "public key, exchange"}},
        RUN_ID: {ASKED_AT: {"asked": "initiate, poll"}, "later": {"asked": "store (403)"}},
    }


def test_files_are_told_by_name_whatever_order_they_came_in() -> None:
    store = FORECASTS_PREFIX + store_name_of(INIT_TIME, HOTKEY)
    lines = [
        a_line(f"{store}/2t/0.0.0", method="GET"),
        a_line(f"{store}/msl/0.0.0", status=404, method="GET"),
        a_line(f"{store}/msl/0.0.0", method="GET"),
    ]

    assert asked(*lines) == asked(*reversed(lines))
    assert asked(*lines) == {RUN_ID: {ASKED_AT: {"fetched": {"2t/0.0.0": "200", "msl/0.0.0": "200 404"}}}}


def test_questions_after_a_job_a_start_or_a_file_that_is_none_of_ours_are_told_as_strange() -> None:
    found = asked(
        a_line(POLL_PATH, "another-job"),
        a_line(INITIATE_PATH, (INIT_TIME + timedelta(days=1)).isoformat()),
        a_line(f"{FORECASTS_PREFIX}another.zarr/2t/0.0.0", method="GET"),
        a_line("/admin", status=404),
    )

    assert found == {
        STRANGE: {ASKED_AT: {"asked": "poll, initiate, POST /admin (404)", "fetched": {"2t/0.0.0": "200"}}}
    }


def test_connections_of_a_dead_miner_are_questions() -> None:
    assert asked(a_line("", status=0, method="CONNECT")) == {SESSION: {ASKED_AT: {"asked": "connection"}}}
