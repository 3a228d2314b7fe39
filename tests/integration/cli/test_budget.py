"""`gaia budget` sets what was used beside what was expected, and says what is not measured and why."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.app.startup.published import publish_settings
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings

DAY_S = 86_400


class _Metrics(BaseHTTPRequestHandler):
    """A validator that runs for half a day."""

    def do_GET(self) -> None:
        content = (
            f"gaia_io_start_timestamp_seconds {time.time() - DAY_S / 2}\n"
            "# TYPE gaia_miner_received_bytes_total counter\n"
            "gaia_miner_received_bytes_total 5e+09\n"
            'gaia_source_received_bytes_total{source="gfs"} 1000.0\n'
            'gaia_source_received_bytes_total{source="era5"} 2000.0\n'
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def metrics_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Metrics)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GAIA_METRICS_PORT", "0")


def budget(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["budget", "--json", *options]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer | {line["name"]: line for line in answer["lines"]}


async def _two_runs(dsn: str) -> None:
    """Store two runs a day apart, of which three miners were asked and scored in 30 s of CPU time."""
    connection = await asyncpg.connect(dsn)
    for day in (25, 26):
        moment = datetime(2026, 3, day, 18, tzinfo=UTC)
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ($1, $2, 'gaia-2.9', $2)",
            f"2026-03-{day}T00Z",
            moment,
        )
        for uid in range(3):
            await connection.execute(
                "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at)"
                " VALUES ($1, $2, $3, 0, $4, $4, $4)",
                *(f"2026-03-{day}T00Z", f"miner{uid}", uid, moment),
            )
            await connection.execute(
                "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at, cpu_s)"
                " VALUES ($1, $2, 'gaia-2.9', 'day1', 12, 0.5, $3, 5.0)",
                *(f"2026-03-{day}T00Z", f"miner{uid}", moment),
            )
        await connection.execute(
            "INSERT INTO reference_sets (reference_id, ready, fields) VALUES ($1, true, '{}')",
            f"era5/2026-03-{day}T00Z/final",
        )
    await connection.close()


def test_nothing_is_measured_where_nothing_ran_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    found = budget(capsys)

    assert found["miners"] == 256
    assert found["CPU time"]["used"] is None
    assert "there is no database" in found["CPU time"]["note"]
    assert found["from miners"]["used"] is None
    assert "the metrics are switched off" in found["from miners"]["note"]


def test_rehearsal_is_counted_with_its_own_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "rehearsal" / "validator"
    (data_dir / "postgres" / "cluster").mkdir(parents=True)
    (data_dir / "postgres" / "cluster" / "PG_VERSION").write_text("0\n")
    make_private(run_directory(data_dir))
    settings = Settings(data_dir=data_dir, metrics_port=0, grid_degrees="1.0")
    publish_settings(data_dir, settings.describe())

    live, rehearsed = budget(capsys), budget(capsys, "--state", str(tmp_path / "rehearsal"))

    assert rehearsed["from miners"]["expected"] < live["from miners"]["expected"] / 10


async def test_stored_runs_tell_miners_cpu_time_requests_and_growth(
    database: Database, empty_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await _two_runs(empty_dsn)
    monkeypatch.setenv("GAIA_DATABASE_URL", empty_dsn)

    found = await asyncio.to_thread(budget, capsys)

    assert found["miners"] == 3
    assert found["CPU time"]["used"] == 15.0  # 30 s in two days
    assert found["CDS requests"]["used"] == 2.0
    assert found["database growth"]["used"] > 1_000_000


def test_running_validator_tells_its_traffic(
    metrics_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GAIA_METRICS_PORT", str(metrics_port))

    found = budget(capsys)

    assert found["from miners"]["used"] == pytest.approx(1e10, rel=1e-3)
    assert found["from GFS"]["used"] == pytest.approx(2000, rel=1e-3)
    assert found["from ERA5"]["used"] == pytest.approx(4000, rel=1e-3)
    assert found["from the climatology"]["used"] is None


def test_files_of_the_data_folder_are_counted_by_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("fields", "raw", "spool"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "file").write_bytes(bytes(1 << 20))

    found = budget(capsys)

    assert found["reference fields"]["used"] >= 2 << 20
    assert 2 << 20 > found["miners' chunks"]["used"] >= 1 << 20


def test_table_fits_eighty_columns_and_names_every_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", "--miners", "12"]) == 0

    table, _, notes = capsys.readouterr().out.partition("\n\n")[2].partition("\n\n")
    assert max(map(len, table.splitlines())) <= 80
    for name in ("from miners", "CDS requests", "reference fields", "database growth", "CPU time"):
        assert f"  {name} " in table
    assert "CPU time" in notes
