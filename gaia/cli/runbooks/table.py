"""All runbooks by the name of their alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import chain, database, health, host, pool, processes, weather, weights

if TYPE_CHECKING:
    from gaia.cli.runbooks.branch import Runbook

PREFIX: Final = "Validator"
_ALL: Final = (
    *health.RUNBOOKS,
    *processes.RUNBOOKS,
    *pool.RUNBOOKS,
    *database.RUNBOOKS,
    *weather.RUNBOOKS,
    *weights.RUNBOOKS,
    *chain.RUNBOOKS,
    *host.RUNBOOKS,
)
RUNBOOKS: Final = {runbook.alert: runbook for runbook in sorted(_ALL, key=lambda each: each.alert)}


def named(name: str) -> Runbook | None:
    """Return the runbook of an alert, given with or without the prefix, in letters of any size.

    >>> named("validatorweightsstale").alert, named("x")
    ('WeightsStale', None)
    """
    wanted = name.casefold().removeprefix(PREFIX.casefold())
    return next((runbook for alert, runbook in RUNBOOKS.items() if alert.casefold() == wanted), None)
