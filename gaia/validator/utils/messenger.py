"""Sends messages to people: to a webhook, Discord, Telegram, ntfy and all other services of apprise."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from apprise import NotifyBase

SEND_WITHIN_S = 20.0
"""Seconds in which all addresses must have taken a message."""
LONGEST_BODY = 1_500
"""Characters of a message; Discord and ntfy accept no more than 2,000 and 4,096."""
_TALKATIVE = ("apprise", "urllib3")
"""Loggers whose lines may hold addresses, which are secrets."""
_INERT = str.maketrans(
    {
        "@": "\N{FULLWIDTH COMMERCIAL AT}",
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "[": "(",
        "]": ")",
        "`": "'",
        "*": "\N{MIDDLE DOT}",
        "|": "/",
        "~": "-",
    }
)
"""Characters by which services call people or format text -> characters that only look like them."""


class Urgency(StrEnum):
    """How a message is marked; the values are those of apprise."""

    GOOD = "success"
    NEWS = "info"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to the operator."""

    title: str
    body: str
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message at one address."""

    service: str
    """Name of the service, such as "Discord"; never the address."""
    failure: str
    """Why it did not take the message, as a sentence; "" if it did."""


class Messenger:
    """Sends each message to every address; one that fails keeps no other from it.

    Parameters
    ----------
    addresses
        Addresses as apprise writes them, such as ``ntfy://topic`` or ``discord://id/token``.
    setting
        Name of the setting or option that gives them.

    Raises
    ------
    ConfigurationError
        If apprise knows no service for an address. The sentence does not repeat the address, which holds a secret.
    """

    def __init__(self, addresses: Sequence[str], setting: str) -> None:
        self._lines: list[_Line] = []
        if not addresses:
            return
        # Loads 200 services; those who send nothing do not pay for it.
        from apprise import Apprise

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        for number, address in enumerate(addresses, start=1):
            service = Apprise.instantiate(address)
            if service is None:
                scheme = address.partition("://")[0] if "://" in address else "no scheme"
                raise ConfigurationError(
                    setting,
                    f"address {number} ({scheme}) is none that can be written to",
                    "write it as apprise does, such as ntfy://topic or discord://id/token",
                )
            self._lines.append(_Line(service))

    @property
    def services(self) -> list[str]:
        """Names of the services, in the order of the addresses."""
        return [line.name for line in self._lines]

    def __len__(self) -> int:
        return len(self._lines)

    async def send(self, message: Message) -> list[str]:
        """Send to all addresses at once; return a sentence per address that did not take the message."""
        return [delivery.failure for delivery in await self.deliver(message) if delivery.failure]

    async def deliver(self, message: Message, within_s: float = SEND_WITHIN_S) -> list[Delivery]:
        """Send to all addresses at once; return what became of the message at each, in their order.

        Parameters
        ----------
        within_s
            Seconds after which an address counts as one that did not take the message.
        """
        return await asyncio.gather(*(line.deliver(message, within_s) for line in self._lines))


class _Line:
    """The way to one address, which carries one message at a time.

    No thread can be ended from outside. So each message has a thread that the end of the process does not wait for,
    and while one is stuck there is no second.
    """

    def __init__(self, service: NotifyBase) -> None:
        self._service = service
        self._turn = asyncio.Lock()
        self._is_sending = False
        """Whether a thread sends; it says itself that it has ended."""

    @property
    def name(self) -> str:
        """Name of the service."""
        return str(self._service.service_name)

    async def deliver(self, message: Message, within_s: float) -> Delivery:
        """Send a message; return what became of it, at the latest after `within_s`."""
        try:
            async with asyncio.timeout(within_s), self._turn:
                if self._is_sending:
                    return Delivery(self.name, f"{self.name} has not taken the message before this one")
                taken = await self._sent(message)
        except TimeoutError:
            return Delivery(self.name, f"{self.name} took no message within {within_s:g} s")
        except Exception as error:  # noqa: BLE001 - two hundred services, each with exceptions of its own
            return Delivery(self.name, f"{self.name} took no message: {type(error).__name__}")
        return Delivery(self.name, "" if taken else f"{self.name} refused the message")

    async def _sent(self, message: Message) -> bool:
        """Return whether the service took the message; raise what its program raised."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[bool] = loop.create_future()

        def settle(*, taken: bool, error: Exception | None) -> None:
            if outcome.done():
                return  # nobody waits any more
            if error is None:
                outcome.set_result(taken)
            else:
                outcome.set_exception(error)

        def work() -> None:
            taken, failure = False, None
            try:
                taken = self._service.notify(
                    body=inert(message.body)[:LONGEST_BODY],
                    title=inert(message.title),
                    notify_type=str(message.urgency),
                    # Services that take HTML or Markdown get the text escaped.
                    body_format="text",
                )
            except Exception as error:  # noqa: BLE001 - it is raised where the message was sent
                failure = error
            self._is_sending = False
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(partial(settle, taken=taken, error=failure))

        self._is_sending = True
        try:
            threading.Thread(target=work, name="message", daemon=True).start()
        except RuntimeError:  # the system has no room for another thread now
            self._is_sending = False
            raise
        return await outcome


def inert(text: str) -> str:
    """Return `text` without what a service could act on: mentions, formats, links and invisible characters.

    Troubles quote what strangers said, such as a node or an archive.

    >>> inert("for *you*: [here](https://x.example)")
    'for ·you·: (here)(https: //x.example)'
    """
    kept = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    return kept.translate(_INERT).replace("://", ": //")
