"""Runbooks about the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook
from gaia.cli.runbooks.disk_use import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.cli.runbooks.facts import Facts


def _largest(*folders: str) -> Callable[[Facts], str]:
    """Return a look for the largest part of the disk, if it is one of `folders`."""

    def look(facts: Facts) -> str:
        name, size = next(iter(facts.disk.sizes.items()))
        is_it = name in folders or (not folders and name not in _KNOWN)
        return (
            f"{name}: {size / 2**30:.1f} GiB; {facts.disk.free_share:.0%} of the disk is free"
            if is_it
            else ""
        )

    return look


_KNOWN: Final = frozenset({"spool", "fields", "postgres", "logs", ELSEWHERE})

SPOOL = Branch(
    sentence="Downloads of forecasts use the most space.",
    remedy="They are deleted once they are scored. Lower `GAIA_KEEP_INPUTS_DAYS` if it is not 0.",
    look=_largest("spool"),
)
FIELDS = Branch(
    sentence="Reference fields use the most space.",
    remedy="Lower `GAIA_KEEP_INPUTS_DAYS` if it is not 0. Fields of open runs are needed.",
    look=_largest("fields"),
)
DATABASE = Branch(
    sentence="The embedded database uses the most space.",
    remedy="Move `GAIA_DATA_DIR` to a larger disk while the validator is stopped. Never delete files below `postgres`.",
    look=_largest("postgres"),
)
LOGS = Branch(
    sentence="Log files use the most space.",
    remedy="Delete old ones, and keep fewer or smaller files.",
    look=_largest("logs"),
)
OTHER = Branch(
    sentence="Another folder in the data folder uses the most space.",
    remedy="See whether it is yours, and move it. The validator made it if `GAIA_KEEP_INPUTS_DAYS` is not 0.",
    look=_largest(),
)
ELSEWHERE_FULL = Branch(
    sentence="Files outside the data folder use the most space of this disk.",
    remedy="Delete or move them, or give `GAIA_DATA_DIR` a disk of its own.",
    look=_largest(ELSEWHERE),
)
_FOLDERS: Final = (SPOOL, FIELDS, DATABASE, LOGS, OTHER, ELSEWHERE_FULL)

RUNBOOKS: Final = (
    Runbook(
        alert="DiskSpaceLow",
        meaning="Less than 20 % of the disk that holds the data folder is free.",
        impact="None yet.",
        branches=_FOLDERS,
    ),
    Runbook(
        alert="DiskSpaceCritical",
        meaning="Less than 10 % of the disk that holds the data folder is free.",
        impact="On a full disk the validator ends with one sentence. Below `GAIA_DATA_MIN_FREE_MIB` it does not start.",
        branches=(shared.STOPPED, *_FOLDERS),
    ),
    Runbook(
        alert="DiskFillsIn4Days",
        meaning="If the last six hours go on, the disk is full within four days, and less than half of it is free.",
        impact="None yet.",
        branches=_FOLDERS,
    ),
)
