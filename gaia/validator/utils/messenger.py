"""Sends messages to people: to a webhook, Discord, Telegram, ntfy and all other services of apprise."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from apprise import NotifyBase

SEND_WITHIN_S = 20.0
"""Seconds in which all addresses must have taken a message."""
LONGEST_BODY = 1_500
"""Characters of a message; Discord and ntfy accept no more than 2,000 and 4,096."""


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
        self._services: list[NotifyBase] = []
        if not addresses:
            return
        # Loads 200 services; those who send nothing do not pay for it.
        from apprise import Apprise

        for number, address in enumerate(addresses, start=1):
            service = Apprise.instantiate(address)
            if service is None:
                scheme = address.partition("://")[0] if "://" in address else "no scheme"
                raise ConfigurationError(
                    setting,
                    f"address {number} ({scheme}) is none that can be written to",
                    "write it as apprise does, such as ntfy://topic or discord://id/token",
                )
            self._services.append(service)

    def __len__(self) -> int:
        return len(self._services)

    async def send(self, message: Message) -> list[str]:
        """Send to all addresses at once; return a sentence per address that did not take the message."""
        tries = [self._try(service, message) for service in self._services]
        return [failure for failure in await asyncio.gather(*tries) if failure]

    async def _try(self, service: NotifyBase, message: Message) -> str:
        body = message.body[:LONGEST_BODY]
        name = str(service.service_name)
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                taken = await service.async_notify(
                    body=body, title=message.title, notify_type=str(message.urgency)
                )
        except TimeoutError:
            return f"{name} took no message within {SEND_WITHIN_S:g} s"
        except Exception as error:  # noqa: BLE001 - two hundred services, each with exceptions of its own
            return f"{name} took no message: {type(error).__name__}"
        return "" if taken else f"{name} refused the message"
