"""A database with rows worth a backup, and programs that take the place of pg_dump."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from gaia.validator.db.backup.contents import TableContent
from gaia.validator.db.backup.folders import ARCHIVE, MANIFEST, Manifest, Reason, name_of

ROWS: Final = (
    "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('2026-03-25T00Z', '2026-03-25', 'gaia-2.9', '2026-03-25')",
    (
        "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at, manifest,"
        " manifest_sha256)"
        " SELECT '2026-03-25T00Z', '5Miner' || uid, uid, 0, 'frozen', '2026-03-25', '2026-03-25', '2026-03-25', 'ab',"
        " encode(sha256('ab'), 'hex')"
        " FROM generate_series(1, 20) AS uid"
    ),
    (
        "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at)"
        " SELECT '2026-03-25T00Z', '5Miner' || uid, 'gaia-2.9', 'final', 24, 1 / (uid + 2.0), '2026-03-25'"
        " FROM generate_series(1, 20) AS uid"
    ),
)
"""Statements that store one run of twenty miners."""


def put_backup(folder: Path, made_at: datetime, reason: Reason = Reason.DAILY, rows: int = 0) -> str:
    """Store a backup with an archive of a few words; return its name."""
    place = folder / name_of(made_at)
    place.mkdir(parents=True)
    content = f"rows of day {rows}".encode()
    (place / ARCHIVE).write_bytes(content)
    manifest = Manifest(
        made_at=made_at,
        reason=reason,
        program="1.0",
        server="18.6",
        schema_version=15,
        database_bytes=1,
        archive_bytes=len(content),
        archive_sha256=hashlib.sha256(content).hexdigest(),
        tables={"runs": TableContent(rows, "7")},
    )
    (place / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return place.name


def put_program(folder: Path, name: str, script: str) -> Path:
    """Write a program of the shell that tells a version, and does `script` otherwise; return its folder."""
    folder.mkdir(exist_ok=True)
    text = f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} (PostgreSQL) 18.6" && exit 0\n{script}\n'
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder
