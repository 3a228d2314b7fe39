"""The lease of the database: one validator writes, and the others wait until it ends.

The holder's token is the key of one row. Each transaction that writes first locks that key against
change, so a takeover waits for it, and a transaction that begins after a takeover finds no such key.
A holder that was paused can therefore write nothing, whatever its clock says. Only the server's clock
decides when a lease expires; ours decides when we stop asking and signing, earlier than that.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from gaia.validator.db.failures import DatabaseFailure, LeaseLost
from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database

log = structlog.get_logger(__name__)

LEASE_S: Final = 15.0
"""Seconds without a renewal after which another validator may take over, unless GAIA_LEASE_S is set."""
_RENEWALS: Final = 5.0
"""Renewals in the time of a lease."""
_VALID: Final = 0.8
"""Part of a lease after which we stop asking and signing, because it may expire."""
SESSION: Final = "gaia-lease"
_LOOK_S: Final = 1.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Holder(NamedTuple):
    """One validator, as the lease names it."""

    identity: str
    """The same for all processes of one data folder on one boot of one machine, and for no other."""
    name: str
    """Machine and folder, for people."""


def holder_of(data_dir: Path) -> Holder:
    """Return the holder that the validator of `data_dir` is.

    Its lock on the folder lets one validator run there. So an engine may take the lease of the one before
    it at once, while a copy of the folder, or the same path on another machine, must wait.
    """
    return Holder(_identity_of(data_dir.stat()), f"{platform.node()}:{data_dir.resolve()}")


def identity_of(data_dir: Path) -> str:
    """Return the identity of the validator of `data_dir`; "" if there is no such folder."""
    try:
        return _identity_of(data_dir.stat())
    except OSError:
        return ""


def _identity_of(folder: os.stat_result) -> str:
    boot = _BOOT_ID.read_text() if _BOOT_ID.exists() else ""
    told = f"{boot} {folder.st_dev} {folder.st_ino}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class Lease:
    """Our lease: taken once, renewed by a task of its own until it is lost or given back.

    Parameters
    ----------
    database
        Database whose transactions are bound to the lease once it is taken.
    holder
        Who we are.
    lease_s
        Seconds without a renewal after which another validator may take over.
    """

    def __init__(self, database: Database, holder: Holder, *, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._holder = holder
        self._length = timedelta(seconds=lease_s)
        self._renew_s = lease_s / _RENEWALS
        self._valid_s = lease_s * _VALID
        self._renewed_at = float("-inf")
        self._keeping: asyncio.Task[None] | None = None
        self._acts: list[Callable[[], None]] = []
        self.token: int | None = None
        """Our token; None: we do not hold the lease."""
        self.holder = ""
        """Name of the validator that we wait for, or of ourselves; "" at first."""

    async def take(self, waiting: Callable[[str], None]) -> None:
        """Take the lease; wait for as long as another validator holds it, and tell `waiting` its name once.

        Failures of the database are waited out, because the holder may be well.
        """
        while self.token is None:
            try:
                async with self._database.alone(SESSION) as connection:
                    while not await self._try(connection):
                        name = await _name_of_holder(connection)
                        if name != self.holder:
                            self.holder = name
                            waiting(name)
                        await asyncio.sleep(_LOOK_S)
            except DatabaseFailure as failure:
                log.warning("lease_not_looked_at", error=str(failure))
                await asyncio.sleep(_LOOK_S)
        self._keeping = asyncio.create_task(self._keep(), name="lease")
        was_waiting, self.holder = bool(self.holder), self._holder.name
        log.info("lease_taken", number=self.token, holder=self.holder, waited=was_waiting)

    async def _try(self, connection: Connection) -> bool:
        begun = _now()
        token = await connection.fetchval(SQL["take_lease"], *self._holder, self._length)
        if token is None:
            return False
        self.token, self._renewed_at = token, begun
        self._database.bind(token)
        return True

    def when_lost(self, act: Callable[[], None]) -> None:
        """Call `act` once another validator has the lease, or it was given back."""
        assert self._keeping is not None, "the lease is not taken yet"

        def ended(keeping: asyncio.Task[None]) -> None:
            if not keeping.cancelled() and (error := keeping.exception()) is not None:
                log.error("lease_keeping_failed", exc_info=error)
            act()

        self._keeping.add_done_callback(ended)

    def when_renewed(self, act: Callable[[], None]) -> None:
        """Call `act` after each renewal."""
        self._acts.append(act)

    def ends_at(self) -> float:
        """Return when we must stop to ask and sign, in seconds of CLOCK_BOOTTIME; 0: we hold no lease."""
        return 0.0 if self.token is None else self._renewed_at + self._valid_s

    async def _keep(self) -> None:
        """Renew the lease at intervals until another validator has it; return then.

        A database that fails loses us nothing: the lease is ours until somebody else takes it.
        """
        while True:
            try:
                async with self._database.alone(SESSION) as connection:
                    while await self._renew(connection):
                        await asyncio.sleep(self._renew_s)
            except DatabaseFailure as failure:
                log.warning("lease_not_renewed", seconds_left=round(self.seconds_left, 1), error=str(failure))
                await asyncio.sleep(min(self._renew_s, _LOOK_S))
            else:
                break
        self.token = None
        log.error("lease_lost", holder=self._holder.name)

    async def _renew(self, connection: Connection) -> bool:
        begun = _now()
        async with asyncio.timeout(self._renew_s):
            token = await connection.fetchval(SQL["renew_lease"], self.token, self._length)
        if token is None:
            return False
        self._renewed_at = begun
        for act in self._acts:
            act()
        return True

    async def release(self) -> None:
        """Give the lease back, so that a standby takes over at once; do nothing if it is not ours."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self.token is None:
            return
        try:
            async with self._database.alone(SESSION) as connection:
                await connection.execute(SQL["release_lease"], self.token)
        except DatabaseFailure as failure:
            log.info("lease_not_released", error=str(failure))  # it expires by itself
        self.token = None

    @property
    def seconds_left(self) -> float:
        """Seconds for which we may still ask and sign, by a clock that no one sets and that counts while we sleep."""
        return max(0.0, self.ends_at() - _now())

    def require(self) -> None:
        """Raise if we may not ask or sign now.

        Raises
        ------
        LeaseLost
            If the lease was not renewed for too long, or another validator has it.
        """
        if self.seconds_left <= 0:
            raise LeaseLost("the lease of the database is not known to be ours")


async def _name_of_holder(connection: Connection) -> str:
    row = await connection.fetchrow(SQL["read_lease"])
    return "" if row is None else str(row["name"])


def _now() -> float:
    """Return the seconds since the machine started, with those during which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
