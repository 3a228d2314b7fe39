"""Whom the validator waits for: said once in the log, and kept where `gaia status` reads it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from gaia.validator.db import journal
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database

log = structlog.get_logger(__name__)
_MOST_WORDS = 500


class Incident:
    """How it stands with one party outside of us, such as the chain."""

    def __init__(self, database: Database, party: str) -> None:
        self._database = database
        self._party = party
        self._words: str | None = None
        self._is_ended = False
        """Known to be written down as ended: an earlier process may have left it open."""

    async def failing(self, evidence: str, now: datetime) -> None:
        """Say that the party failed, in the log only where the words are new."""
        words = evidence[:_MOST_WORDS]
        if words != self._words:
            log.warning("party_fails", party=self._party, evidence=words)
        self._words = words
        self._is_ended = False
        await self._write(words, now)

    async def recovered(self, now: datetime) -> None:
        """Say that the party serves."""
        if self._words is not None:
            log.info("party_serves_again", party=self._party)
        self._words = None
        if not self._is_ended:
            self._is_ended = await self._write(None, now)

    async def _write(self, words: str | None, now: datetime) -> bool:
        """Keep it if the database takes it; whether it did. Nothing depends on it, so a failure is only told."""

        async def write(connection: Connection) -> None:
            if words is None:
                await journal.record_recovered(connection, self._party, now)
            else:
                await journal.record_failing(connection, self._party, words, now)

        try:
            with border(Party.DATABASE, "writing an incident"):
                await self._database.run(write)
        except GaiaError as error:
            log.info("incident_not_written", party=self._party, error=str(error))
            return False
        return True
