"""Checks of the notifier: its addresses are understood, and somebody would notice its silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import seen
from gaia.validator.utils.config import Settings

if TYPE_CHECKING:
    from gaia.validator.doctor.facts import Facts

_HINT = "as apprise writes addresses, such as ntfy://topic; `gaia notify test` tries them"
_ALIVE_HINT = "an address that alarms when requests stop"


def _addresses(facts: Facts) -> Finding:
    addresses = seen(facts.addresses)
    if addresses.problem:
        return failure(addresses.problem, facts.given.put("notify_urls", "", _HINT))
    if not addresses.services:
        return skipped("no address is set, so that no message is sent")
    return ok(f"messages go to {', '.join(addresses.services)}")


def _alive(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    assert isinstance(settings, Settings)
    if not settings.notify_urls:
        return skipped("no address is set, so that no message is expected")
    if not settings.notify_alive_url.get_secret_value():
        return warning(
            "messages stop with the validator, and nobody would notice",
            facts.given.put("notify_alive_url", "", _ALIVE_HINT),
        )
    return ok("another service notices if the validator falls silent")


_N = Group.NOTIFY
CHECKS = (
    Check("notify-urls", _N, "each address for messages names a service", "`GAIA_NOTIFY_URLS`", _addresses),
    Check("notify-alive", _N, "another service notices silence", "`GAIA_NOTIFY_ALIVE_URL`", _alive),
)
