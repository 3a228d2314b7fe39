"""A database that falls silent ends a command of `gaia` in a sentence, within the time that the settings allow."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from gaia.cli.source import Source
from gaia.validator.db.failures import DatabaseFailure
from gaia.validator.utils.config import Settings

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


def test_reading_ends_though_the_backend_answers_no_more(empty_dsn: str) -> None:
    stopped: list[int] = []

    async def stop_and_ask(connection: Connection) -> object:
        stopped.append(await connection.fetchval("SELECT pg_backend_pid()"))
        os.kill(stopped[0], signal.SIGSTOP)
        return await connection.fetchval("SELECT 1")

    source = Source(Settings.model_validate({"database_url": empty_dsn, "database_timeout_s": 1.0}))
    try:
        with source, pytest.raises(DatabaseFailure, match="no answer within 1 s"):
            source.read(stop_and_ask)
    finally:
        os.kill(stopped[0], signal.SIGCONT)
