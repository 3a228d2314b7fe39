"""Log lines: their shape, where they go, and what never reaches them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from gaia.validator.app.logging_config import (
    MAX_TEXT,
    configure_logging,
    event,
    lines_logged,
    redact,
    untrusted,
)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    clear_contextvars()
    yield
    clear_contextvars()
    structlog.reset_defaults()


def _lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json_line_holds_event_bound_values_and_role(capsys: Capture) -> None:
    configure_logging("INFO", "json", role="io_engine")
    bind_contextvars(run_id="2026-03-25T00Z")

    structlog.get_logger("performance").bind(hotkey="5F3s").info("forecast_verified", chunks=412)

    (line,) = _lines(capsys)
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "performance",
        "event": "forecast_verified",
        "role": "io_engine",
        "run_id": "2026-03-25T00Z",
        "hotkey": "5F3s",
        "chunks": 412,
    }


def test_logger_without_a_name_is_the_application(capsys: Capture) -> None:
    configure_logging("INFO", "json")

    structlog.get_logger().info("started")

    assert _lines(capsys)[0]["logger"] == "application"


def test_lines_below_the_level_are_dropped(capsys: Capture) -> None:
    configure_logging("WARNING", "json")

    structlog.get_logger().info("unimportant")
    structlog.get_logger().warning("important")

    assert [line["event"] for line in _lines(capsys)] == ["important"]


def test_lines_of_libraries_have_the_same_shape(capsys: Capture) -> None:
    configure_logging("INFO", "json", role="io_engine")

    logging.getLogger("uvicorn.error").warning("lost %s", "a client")

    (line,) = _lines(capsys)
    assert (line["event"], line["logger"], line["role"]) == ("lost a client", "uvicorn.error", "io_engine")


def test_percent_in_an_event_is_no_format(capsys: Capture) -> None:
    configure_logging("INFO", "json")

    structlog.get_logger().info("100% done %s")

    assert _lines(capsys)[0]["event"] == "100% done %s"


def test_exception_is_logged_with_its_trace(capsys: Capture) -> None:
    configure_logging("INFO", "json")

    try:
        raise ValueError("broken\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("unit_failed")

    (line,) = _lines(capsys)
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: broken\\x1b[2J")


def test_console_line_is_for_a_person(capsys: Capture) -> None:
    configure_logging("INFO", "console", role="signer")

    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("security").exception("signing_failed", uid=3)

    first, *trace = capsys.readouterr().err.splitlines()
    assert "error" in first
    assert first.endswith("logger=security role=signer uid=3")
    assert trace[-1] == "ValueError: broken"


def test_lines_are_counted_by_level(capsys: Capture) -> None:
    configure_logging("INFO", "json")
    before = lines_logged()

    structlog.get_logger("security").warning("bad_signature")
    structlog.get_logger().error("broken")
    logging.getLogger("httpx").critical("lost")
    structlog.get_logger().info("started")

    assert {level: count - before[level] for level, count in lines_logged().items()} == {
        "warning": 1,
        "error": 2,
    }
    assert len(_lines(capsys)) == 4


def test_repeated_line_is_said_once_and_counted(capsys: Capture) -> None:
    configure_logging("INFO", "json")
    subject = f"weights {time.monotonic_ns()}"

    for reason in ("no score", "no score", "no score", "no permit"):
        structlog.get_logger().info("weights_withheld", reason=reason, once=(subject, reason))

    told = [(line["reason"], line.get("withheld"), line.get("once")) for line in _lines(capsys)]
    assert told == [("no score", None, None), ("no permit", 2, None)]


def test_nothing_is_withheld_at_debug(capsys: Capture) -> None:
    configure_logging("DEBUG", "json")
    subject = f"weights {time.monotonic_ns()}"

    for _ in range(3):
        structlog.get_logger().info("weights_withheld", once=subject)

    assert len(_lines(capsys)) == 3


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "database_password",
        "cds_key",
        "symmetric_key",
        "api_key",
        "token",
        "Authorization",
        "mnemonic",
    ],
)
def test_secret_is_known_by_its_name(key: str) -> None:
    assert redact({key: "hush"}) == {key: "***"}


@pytest.mark.parametrize("key", ["hotkey", "symmetric_key_uuid", "tokens_seen", "keyboard"])
def test_name_that_only_resembles_a_secret_is_shown(key: str) -> None:
    assert redact({key: "5F3s"}) == {key: "5F3s"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hush@db:5432/validator", "postgresql://me:***@db:5432/validator"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("GET /x?token=hush&page=2", "GET /x?token=***&page=2"),
    ],
)
def test_secret_is_known_by_its_shape(text: str, shown: str) -> None:
    assert redact({"message": text}) == {"message": shown}


def test_secret_is_found_at_any_depth() -> None:
    values = {"request": {"headers": [{"authorization": "hush"}, "Bearer hush"]}, "count": 3, "ok": None}

    assert redact(values) == {
        "request": {"headers": [{"authorization": "***"}, "Bearer ***"]},
        "count": 3,
        "ok": None,
    }


def test_secret_that_is_not_set_is_shown_as_empty() -> None:
    assert redact({"password": ""}) == {"password": ""}


def test_text_of_a_stranger_is_capped() -> None:
    assert untrusted("a" * (MAX_TEXT + 100)) == "a" * MAX_TEXT + "... (100 more)"


def test_text_of_a_stranger_cannot_move_the_terminal_or_forge_a_line() -> None:
    assert untrusted("ok\n\x1b[31mERROR\u202e") == "ok\\n\\x1b[31mERROR\\u202e"


def test_ordinary_text_of_any_language_is_kept() -> None:
    assert untrusted("Grüße, 天気") == "Grüße, 天気"


def test_text_stays_capped_after_escaping() -> None:
    assert len(untrusted("\x00" * MAX_TEXT)) == MAX_TEXT


def test_object_of_a_stranger_is_logged_as_text(capsys: Capture) -> None:
    configure_logging("INFO", "json")

    structlog.get_logger().info("answer", body=b"\xff" * 2000, path=Path("/x"))

    (line,) = _lines(capsys)
    assert len(line["body"]) < MAX_TEXT + 30
    assert line["path"] == "/x"


def test_value_cannot_pose_as_one_of_ours(capsys: Capture) -> None:
    configure_logging("INFO", "json", role="io_engine")

    structlog.get_logger().info("answer", role="forged", level="forged")

    (line,) = _lines(capsys)
    assert (line["role"], line["level"]) == ("io_engine", "info")


def test_supervisor_logs_without_loading_structlog_or_asyncio() -> None:
    program = (
        "import logging, sys\n"
        "from gaia.validator.app.logging_config import configure_logging, event\n"
        "configure_logging('INFO', 'json', role='supervisor')\n"
        "event(logging.getLogger('application'), 'child_started', pid=7, token='hush')\n"
        "print(*sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    line = json.loads(done.stderr)
    assert (line["event"], line["pid"], line["token"]) == ("child_started", 7, "***")
    assert not {"structlog", "asyncio"} & set(done.stdout.split())


def test_event_without_structlog_has_the_same_shape(capsys: Capture) -> None:
    configure_logging("INFO", "json", role="supervisor")

    event(logging.getLogger("security"), "child_killed", logging.WARNING, pid=7)

    (line,) = _lines(capsys)
    assert (line["level"], line["logger"], line["event"], line["pid"]) == (
        "warning",
        "security",
        "child_killed",
        7,
    )
