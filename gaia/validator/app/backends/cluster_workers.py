"""Workers of a cluster that the ledger may use, their names, and their attempts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from gaia.validator.app.pool.job_events import (
    DeathCause,
    Event,
    Finished,
    WorkerDied,
    WorkerDisconnected,
    WorkerHolding,
    WorkerLeaving,
    WorkerReady,
)
from gaia.validator.utils.identities import WorkerId

if TYPE_CHECKING:
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


class AttemptLost(Exception):
    """An attempt ended without an answer.

    Parameters
    ----------
    cause
        What happened to the worker, in words.
    is_crash
        Whether the worker died with the unit, so that the unit may be the cause.
    """

    def __init__(self, cause: str, *, is_crash: bool = True) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_crash = is_crash


class Attempt:
    """One attempt at a unit, with its worker."""

    def __init__(self, unit: WorkUnit, key: str) -> None:
        self.unit = unit
        self.key = key
        """Key of its task at the scheduler; unique to the attempt."""
        self.lost: asyncio.Future[AttemptLost] = asyncio.get_running_loop().create_future()

    def lose(self, cause: str, *, is_crash: bool) -> None:
        """End the attempt without an answer; the first cause counts."""
        if not self.lost.done():
            self.lost.set_result(AttemptLost(cause, is_crash=is_crash))


@dataclass(eq=False, slots=True)
class Member:
    """One process of the cluster, under its name in the ledger."""

    name: WorkerId
    """Unique name, because an address may be reused and the ledger needs one name per process."""
    address: str
    attempt: Attempt | None = None
    is_usable: bool = False
    """Whether it may be assigned units."""
    is_condemned: bool = False
    """Whether the ledger waits for its death."""
    is_spared: bool = False
    """Whether it could not be killed."""
    missed_at: float | None = None
    """Time since which the scheduler does not list it."""

    def lose(self, cause: str, *, is_crash: bool) -> None:
        """End its attempt, if any, without an answer."""
        if self.attempt is not None:
            self.attempt.lose(cause, is_crash=is_crash)

    def note_presence(self, *, is_there: bool, patience_s: float) -> None:
        """Note whether it is present; if it is absent for longer than `patience_s`, its attempt is lost."""
        now = time.monotonic()
        if is_there:
            self.missed_at = None
        elif self.missed_at is None:
            self.missed_at = now
        elif now - self.missed_at > patience_s:
            self.lose(f"the worker at {self.address} is not there any more", is_crash=False)


class Workers:
    """Reports to the ledger which workers come, leave and die.

    Parameters
    ----------
    tell
        Passes an event to the ledger.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._numbers = count(1)
        self._members: dict[WorkerId, Member] = {}
        """Name -> worker, for each that the ledger knows."""
        self._at: dict[str, Member] = {}
        """Address -> worker, for those whose process may still exist."""
        self._condemned: set[str] = set()
        """Addresses of workers that are about to end."""
        self.refused: dict[str, str] = {}
        """Address -> reason why its worker is not used."""

    @property
    def usable(self) -> int:
        """Number of workers that may be assigned units."""
        return sum(member.is_usable for member in self._at.values())

    @property
    def seen(self) -> set[str]:
        """Addresses that need no decision."""
        decided = {address for address, m in self._at.items() if m.is_usable or m.is_condemned}
        return decided | self.refused.keys() | self._condemned

    @property
    def holders(self) -> list[Member]:
        """Number of workers with an attempt, usable or not."""
        return [member for member in self._members.values() if member.attempt is not None]

    def member(self, name: WorkerId) -> Member:
        """Return the worker that the ledger knows under `name`."""
        return self._members[name]

    def admit(self, address: str) -> None:
        """Let the ledger use the worker at `address`."""
        member = self._at.get(address)
        if member is None:
            member = self._at[address] = Member(WorkerId(f"{address}#{next(self._numbers)}"), address)
            self._members[member.name] = member
        if member.is_usable or member.is_condemned:
            return
        member.is_usable = True
        if member.attempt is None:
            self._tell(WorkerReady(member.name))
        else:
            unit = member.attempt.unit
            self._tell(WorkerHolding(member.name, unit.job_id, unit.attempt))

    def withdraw(self, address: str) -> None:
        """Stop the ledger from assigning units to the worker at `address`; it may keep its present one."""
        self.refused.pop(address, None)
        member = self._at.get(address)
        if member is not None and member.is_usable:
            member.is_usable = False
            self._tell(WorkerLeaving(member.name))

    def remove(self, address: str, running: Collection[str], *, is_expected: bool) -> None:
        """Note that the process at `address` has ended.

        Parameters
        ----------
        running
            Keys of the tasks that it had at its end.
        is_expected
            Whether it ended in order.
        """
        self.withdraw(address)
        self._condemned.discard(address)
        member = self._at.pop(address, None)
        if member is not None and member.attempt is not None:
            is_crash = member.attempt.key in running and not is_expected
            member.lose(f"the worker at {address} {'died' if is_crash else 'left'}", is_crash=is_crash)

    def keep_only(self, fitting: set[str], present: set[str]) -> None:
        """Withdraw all workers except the `fitting` ones; an absent one need not be killed any more."""
        for address in self.seen - fitting:
            self.withdraw(address)
        self._condemned &= present

    def withdraw_all(self) -> None:
        """Withdraw every worker, because nothing is known about any."""
        self.keep_only(set(), set())

    def dismiss(self, name: WorkerId) -> None:
        """Forget a worker that has left without a unit."""
        self._forget(self._members[name])
        self._tell(WorkerDisconnected(name))

    def condemn(self, member: Member) -> None:
        """Stop using a worker, because it is about to be killed."""
        member.is_usable = False
        member.is_condemned = True
        self._condemned.add(member.address)

    def spare(self, member: Member) -> None:
        """Note that a condemned worker cannot be killed; after its attempt it may be admitted again."""
        member.is_spared = True
        self._free_spared(member)

    def answered(self, member: Member, result: ResultUnit) -> None:
        """Process the answer to a worker's attempt."""
        member.attempt = None
        if not member.is_condemned:
            self._tell(Finished(member.name, result))
            return
        # The ledger has resolved the job, and waits only for this death.
        self._bury(member, DeathCause("its unit came to its end", blames_unit=False))
        self._free_spared(member)

    def lost(self, member: Member, loss: AttemptLost) -> None:
        """Note that a worker was lost with its attempt."""
        member.attempt = None
        self._bury(member, DeathCause(loss.cause, blames_unit=loss.is_crash))

    def _bury(self, member: Member, cause: DeathCause) -> None:
        self._forget(member)
        self._tell(WorkerDied(member.name, cause))

    def _forget(self, member: Member) -> None:
        del self._members[member.name]
        if self._at.get(member.address) is member:
            del self._at[member.address]

    def _free_spared(self, member: Member) -> None:
        if member.is_spared and member.attempt is None and member.address not in self._at:
            self._condemned.discard(member.address)
