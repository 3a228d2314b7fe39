"""Sends the operator a message when a trouble begins and ends, and tells a deadman switch that all is well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from gaia.validator.core.background.notices import Notices, Told, message_of, name_of, start_message
from gaia.validator.core.background.web import exchange
from gaia.validator.core.status.troubles import Health, health_of, troubles_of, unknown_parts
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import OwnFailure, TransientError
from gaia.validator.utils.files import put_file
from gaia.validator.utils.messenger import SEND_WITHIN_S, Message, Urgency
from gaia.validator.utils.tallies import Totals
from gaia.validator.utils.version import version

if TYPE_CHECKING:
    from gaia.validator.core.status.facts import Facts
    from gaia.validator.utils.messenger import Messenger
    from gaia.validator.utils.settings.notify import NotifySettings

log = structlog.get_logger(__name__)

FILE: Final = "notifier.json"
"""File in the data folder: what the operator was told."""
NOTIFICATIONS: Final = Totals(("sent", "failed"))
"""Outcome -> number of messages, each counted once for every address."""
_STOP_WITHIN_S = 5.0
"""Seconds that the message about a stop may take, with the note that it was sent."""
_STOP_SENT_WITHIN_S = 4.0
_ALIVE_WITHIN_S = 10.0
_SLACK_S = 30.0
"""Half a beat; without it, a beat that comes a little early would be left out."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept over restarts."""

    told: list[Told] = []
    life: str = ""
    """The validator whose start was told; "" if its stop was told."""


class Notifier:
    """Judges the validator at each beat, as `gaia status` does.

    Parameters
    ----------
    facts
        Returns the facts; a database that is down is one of them.
    messenger
        Sends to the addresses of the settings.
    life
        What tells this start of the validator apart from all others. It stays while engines come and go.
    """

    def __init__(
        self,
        settings: NotifySettings,
        data_dir: Path,
        facts: Callable[[], Awaitable[Facts]],
        messenger: Messenger,
        life: str,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._path = data_dir / FILE
        self._facts = facts
        self._messenger = messenger
        self._life = life
        self._wall_clock = wall_clock
        self._memory = self._stored() if len(messenger) else Memory()
        self._life_told = self._memory.life
        least = Health[settings.notify_least.upper()]
        self._notices = Notices(least, 3600.0 * settings.notify_remind_hours, self._memory.told)
        self._name = "Gaia validator"
        self._alive_at = float("-inf")
        self._storing = asyncio.Lock()
        self._tells_start = self._is_stopping = False

    async def notifier(self) -> bool:
        """Look once, send what is new, and report that the validator lives; return whether all was delivered.

        Raises
        ------
        OwnFailure
            If what was told cannot be stored.
        """
        alive = self._settings.notify_alive_url.get_secret_value()
        if not len(self._messenger) and not alive:
            return True
        facts = await self._facts()
        self._name = name_of(facts)
        troubles = troubles_of(facts)
        is_told = is_alive = True
        try:
            if len(self._messenger):
                is_told = await self._tell(facts)
        finally:
            # Not being able to store or send is no reason for a false alarm of the deadman switch.
            if alive and health_of(troubles) is not Health.STUCK:
                is_alive = await self._report_alive(alive)
        return is_told and is_alive

    async def tell_stop(self, reason: str = "") -> None:
        """Send the message about a stop, if messages about starts and stops are wanted; it takes seconds at most.

        Parameters
        ----------
        reason
            Why the validator ends; "": it was told to.
        """
        # A beat that goes on meanwhile says nothing more, and must not store what it knew before.
        self._is_stopping = True
        is_start_known = bool(self._life_told) or self._tells_start
        if not self._settings.notify_life or not is_start_known:
            return
        message = Message(
            title=f"{self._name} stopped",
            body=reason or "It was told to stop.",
            urgency=Urgency.FAILURE if reason else Urgency.NEWS,
        )
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                if await self._send(message, _STOP_SENT_WITHIN_S):
                    self._life_told = ""
                    await self._store()
        except TimeoutError:
            log.warning("notification_failed", title=message.title, failures=["the stop left no more time"])
        except OwnFailure as error:
            log.warning("notices_not_stored", error=str(error))

    async def _tell(self, facts: Facts) -> bool:
        """Send the news; return whether at least one address took each message."""
        is_told = self._is_stopping or await self._tell_start(facts)
        if self._is_stopping:
            return is_told
        # Its own failure is in the log; a message about it would arrive only when it is over.
        troubles = [each for each in troubles_of(facts) if each.subject != self.notifier.__name__]
        news = self._notices.look(troubles, unknown_parts(facts), self._wall_clock())
        if news:
            if await self._send(message_of(news, facts, is_well=not troubles), SEND_WITHIN_S):
                self._notices.tell(news)
            else:
                is_told = False
        await self._store()
        return is_told

    async def _tell_start(self, facts: Facts) -> bool:
        """Send the message about a start, if one is wanted and was not sent; return False if nobody took it."""
        if not self._settings.notify_life or self._life_told == self._life:
            return True
        self._tells_start = True
        try:
            is_told = await self._send(start_message(facts, version()), SEND_WITHIN_S)
        finally:
            self._tells_start = False
        if is_told and not self._is_stopping:
            self._life_told = self._life
        return is_told

    async def _send(self, message: Message, within_s: float) -> bool:
        """Send to all addresses; return whether one of them took the message."""
        deliveries = await self._messenger.deliver(message, within_s)
        failures = [delivery.failure for delivery in deliveries if delivery.failure]
        NOTIFICATIONS.add("failed", len(failures))
        NOTIFICATIONS.add("sent", len(deliveries) - len(failures))
        if failures:
            log.warning(
                "notification_failed",
                title=message.title,
                failures=failures,
                once=("notification", tuple(failures)),
            )
        if len(failures) == len(deliveries):
            return False
        log.info("notification_sent", title=message.title, addresses=len(deliveries) - len(failures))
        return True

    async def _report_alive(self, address: str) -> bool:
        now = self._wall_clock()
        if 0 <= now - self._alive_at < self._settings.notify_alive_interval_s - _SLACK_S:
            return True
        failure = ""
        try:
            page = await exchange("GET", address, what="the deadman switch", timeout_s=_ALIVE_WITHIN_S)
            if not 200 <= page.status < 300:
                failure = f"the deadman switch answered {page.status}"
        except TransientError as error:
            failure = str(error)
        if failure:
            # The next beat tries again, because a whole interval of silence may raise the alarm.
            log.warning("alive_not_reported", error=failure, once=("alive", failure))
            return False
        self._alive_at = now
        return True

    def _stored(self) -> Memory:
        """Return the memory of the file; an empty one if there is none, or it cannot be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Memory)
        except FileNotFoundError:
            return Memory()
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("notices_forgotten", error=f"{type(error).__name__}: {error}"[:200])
            return Memory()

    async def _store(self) -> None:
        async with self._storing:
            memory = Memory(told=self._notices.told, life=self._life_told)
            if memory == self._memory:
                return
            with border(Party.DISK, "storing what the operator was told"):
                await asyncio.to_thread(put_file, self._path, msgspec.json.encode(memory))
            self._memory = memory
