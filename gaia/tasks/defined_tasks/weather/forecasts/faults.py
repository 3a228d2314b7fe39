"""Counts what miners lose through faults of their own, by a closed set of reasons."""

from __future__ import annotations

from typing import Final

from gaia.validator.utils.errors import (
    MINER_FAULTS,
    GaiaError,
    MinerFault,
    MinerUnreachable,
    QuarantinedError,
)
from gaia.validator.utils.tallies import Totals

_UNREACHABLE: Final = "unreachable"
_QUARANTINED: Final = "quarantined"

VERIFICATION_FAILURES: Final = Totals(
    [
        *(kind.reason for kind in MINER_FAULTS),
        _UNREACHABLE,
        _QUARANTINED,
    ]
)
"""Reason -> number of forecasts rejected, and of leads forfeited, in this process."""


def reason_of(error: GaiaError) -> str:
    """Return the word for what a miner did, from the error that cost it a forecast or a lead.

    >>> reason_of(MinerUnreachable("no answer"))
    'unreachable'

    Raises
    ------
    TypeError
        If no miner is to blame for `error`.
    """
    match error:
        case MinerFault():
            return error.reason
        case MinerUnreachable():
            return _UNREACHABLE
        case QuarantinedError():
            return _QUARANTINED
    raise TypeError(f"no miner is to blame for {type(error).__name__}")
