"""Log files: whose they are, who may read them, how they are rotated, and what a full disk does."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gaia.validator.app.logging_config import change_logging, configure_logging
from gaia.validator.utils.logs import files as log_files
from gaia.validator.utils.logs.files import LogFiles

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _defaults_afterwards() -> Iterator[None]:
    yield
    configure_logging("WARNING", "json")
    structlog.reset_defaults()


def _lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_logger_has_a_file_of_its_own(tmp_path: Path, capsys: Capture) -> None:
    configure_logging("INFO", "json", LogFiles(folder=str(tmp_path / "logs")), role="io_engine")

    structlog.get_logger("security").warning("bad_signature")
    structlog.get_logger("performance").info("loop_lag")
    structlog.get_logger("application").info("started")
    logging.getLogger("httpx").info("request")

    files = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    events = {name: [json.loads(line)["event"] for line in text.splitlines()] for name, text in files.items()}
    assert events == {
        "io_engine-security.log": ["bad_signature"],
        "io_engine-performance.log": ["loop_lag"],
        "io_engine-application.log": ["started", "request"],
    }
    assert len(_lines(capsys)) == 4


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let files be a thousand times smaller; return the bytes of one."""
    monkeypatch.setattr(log_files, "_MIB", 4096)
    return 4096


def test_each_line_is_once_in_one_file_however_many_are_rotated(tmp_path: Path, small_files: int) -> None:
    configure_logging("INFO", "json", LogFiles(folder=str(tmp_path), file_mib=1, kept=3), role="io_engine")
    text = "x" * 50

    for number in range(200):
        # Every second line is a library's, which goes to the same file.
        logging.getLogger("application" if number % 2 else "httpx").info("%d %s", number, text)

    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [
        "io_engine-application.log",
        *(f"io_engine-application.log.{number}" for number in (1, 2, 3)),
    ]
    newest_last = [*reversed(paths[1:]), paths[0]]
    numbers = [
        int(json.loads(line)["event"].split()[0])
        for path in newest_last
        for line in path.read_text().splitlines()
    ]
    assert numbers == list(range(200 - len(numbers), 200))
    assert all(path.stat().st_size <= small_files for path in paths)


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    earlier = os.umask(0)
    try:
        configure_logging("INFO", "json", LogFiles(folder=str(tmp_path / "logs")), role="io_engine")
        structlog.get_logger("security").info("bad_signature")
    finally:
        os.umask(earlier)

    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "logs" / "io_engine-security.log").stat().st_mode) == 0o600


def test_file_that_was_open_to_all_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "io_engine-security.log"
    path.touch(0o644)
    configure_logging("INFO", "json", LogFiles(folder=str(tmp_path)), role="io_engine")

    structlog.get_logger("security").info("bad_signature")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_folder_that_cannot_be_made_is_said_and_stops_nothing(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "logs").write_text("a file in place of the folder")

    configure_logging("INFO", "json", LogFiles(folder=str(tmp_path / "logs")), role="io_engine")
    structlog.get_logger().info("started")

    lines = _lines(capsys)
    assert [line["event"] for line in lines] == [*["log_file_failed"] * 3, "started"]
    assert (lines[0]["level"], lines[0]["path"]) == ("error", str(tmp_path / "logs"))


def test_disk_that_is_full_is_said_once_and_no_line_is_lost_on_standard_error(tmp_path: Path) -> None:
    """The kernel refuses every byte beyond the limit, as a quota does."""
    program = (
        "import logging, resource, signal, sys\n"
        "from gaia.validator.app.logging_config import configure_logging, event\n"
        "from gaia.validator.utils.logs.files import LogFiles\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "configure_logging('INFO', 'json', LogFiles(folder=sys.argv[1]), role='supervisor')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))\n"
        "for number in range(20):\n"
        "    event(logging.getLogger('security'), 'child_started', number=number)\n"
        # What measures this program writes at its end, too.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["number"] for line in lines if line["event"] == "child_started"] == list(range(20))
    (told,) = [line for line in lines if line["event"] == "log_file_failed"]
    assert told["path"] == str(tmp_path / "supervisor-security.log")
    assert "File too large" in told["reason"]


def test_worker_writes_a_file_of_its_seat_that_its_successor_goes_on(tmp_path: Path) -> None:
    files = LogFiles(folder=str(tmp_path))

    for _ in range(2):
        configure_logging("INFO", "json", files, role="compute_worker", seat=3)
        logging.getLogger("security").info("sandbox_entered")

    written = (tmp_path / "compute_worker-3-security.log").read_text().splitlines()
    assert len(written) == 2


def test_worker_rotates_a_full_file_only_when_it_starts(
    tmp_path: Path, small_files: int, capsys: Capture
) -> None:
    files = LogFiles(folder=str(tmp_path), file_mib=1, kept=2)
    path = tmp_path / "compute_worker-0-application.log"

    for _ in range(2):
        configure_logging("INFO", "json", files, role="compute_worker", seat=0)
        for _ in range(50):
            logging.getLogger("application").info("x" * 50)

    sizes = [place.stat().st_size for place in (path, path.with_name(path.name + ".1"))]
    assert all(0.9 * small_files < size <= small_files for size in sizes)
    assert not path.with_name(path.name + ".2").exists()
    told = [line["reason"] for line in _lines(capsys) if line["event"] == "log_file_failed"]
    assert len(told) == 2
    assert all("a worker cannot rotate it" in reason for reason in told)


def test_files_may_change_while_the_process_runs(tmp_path: Path) -> None:
    one, other = LogFiles(folder=str(tmp_path / "one")), LogFiles(folder=str(tmp_path / "other"))
    configure_logging("INFO", "json", one, role="io_engine")

    structlog.get_logger().info("first")
    change_logging("INFO", other)
    structlog.get_logger().info("second")
    change_logging("DEBUG", None)
    structlog.get_logger().info("third")

    written = {path: path.read_text() for path in tmp_path.rglob("*.log")}
    assert [(path.parent.name, json.loads(text)["event"]) for path, text in sorted(written.items())] == [
        ("one", "first"),
        ("other", "second"),
    ]


def test_configuring_twice_writes_each_line_once(tmp_path: Path, capsys: Capture) -> None:
    configure_logging("INFO", "json", LogFiles(folder=str(tmp_path)))
    configure_logging("INFO", "json", LogFiles(folder=str(tmp_path)))

    structlog.get_logger().info("started")

    assert len(_lines(capsys)) == 1
    assert len((tmp_path / "gaia-application.log").read_text().splitlines()) == 1
