"""Records incidents: failures of outside parties, logged once and shown by `gaia status`."""

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
    """The present incident of one outside party, such as the chain."""

    def __init__(self, database: Database, party: str) -> None:
        self._database = database
        self._party = party
        self._subject: str | None = None
        self._is_ended = False
        """Whether the database is known to hold no open incident, which an earlier process may have left."""

    async def failing(self, evidence: str, now: datetime, subject: str | None = None) -> None:
        """Note that the party failed; log only a new `subject`, which is the evidence if None."""
        words = evidence[:_MOST_WORDS]
        subject = words if subject is None else subject
        if subject != self._subject:
            log.warning("incident_began", party=self._party, evidence=words)
        self._subject = subject
        self._is_ended = False
        await self._write(words, now)

    async def recovered(self, now: datetime) -> None:
        """Note that the party works."""
        if self._subject is not None:
            log.info("incident_ended", party=self._party)
        self._subject = None
        if not self._is_ended:
            self._is_ended = await self._write(None, now)

    async def _write(self, words: str | None, now: datetime) -> bool:
        """Store the incident; return whether that succeeded. A failure is only logged."""

        async def write(connection: Connection) -> None:
            if words is None:
                await journal.record_recovered(connection, self._party, now)
            else:
                await journal.record_failing(connection, self._party, words, now)

        try:
            with border(Party.DATABASE, "writing an incident"):
                await self._database.run(write)
        except GaiaError as error:
            log.info("incident_not_recorded", party=self._party, error=str(error))
            return False
        return True
