"""Looks whether the addresses for messages are understood; nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.doctor.facts import Addresses
from gaia.validator.utils.config import variable_of
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.messenger import Messenger

if TYPE_CHECKING:
    from gaia.validator.utils.settings.notify import NotifySettings


def look_at_addresses(notify: NotifySettings) -> Addresses:
    """Return the services of the addresses, or why one of them is not understood; no address is repeated."""
    addresses = [address.get_secret_value() for address in notify.notify_urls]
    try:
        return Addresses(services=Messenger(addresses, variable_of("notify_urls")).services, problem="")
    except ConfigurationError as error:
        return Addresses(services=(), problem=error.problem)
