"""The command notify test: sends one message to every address, and prints which service took it."""

from __future__ import annotations

import argparse
import asyncio

from gaia.cli import tables
from gaia.validator.app.startup.reading import named_file, read_settings
from gaia.validator.utils.config import variable_of
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.messenger import Message, Messenger, Urgency
from gaia.validator.utils.version import version


def send_test(arguments: argparse.Namespace) -> int:
    """Send the message; return 1 if an address did not take it.

    Raises
    ------
    ConfigurationError
        If no address is set, or one is not understood.
    """
    variable = variable_of("notify_urls")
    addresses = [
        address.get_secret_value() for address in read_settings(named_file(arguments.env_file)).notify_urls
    ]
    if not addresses:
        raise ConfigurationError(variable, "is empty", "set it to addresses of apprise, such as ntfy://topic")
    message = Message(
        title="Gaia validator: test",
        body=f"Messages of the validator arrive here. Version {version()}.",
        urgency=Urgency.NEWS,
    )
    deliveries = asyncio.run(Messenger(addresses, variable).deliver(message))
    if arguments.json:
        tables.print_json(deliveries)
    else:
        tables.print_lines(
            *(
                f"address {number}: {delivery.failure or f'{delivery.service} took the message'}"
                for number, delivery in enumerate(deliveries, start=1)
            )
        )
    return 1 if any(delivery.failure for delivery in deliveries) else 0
