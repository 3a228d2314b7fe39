"""Where something reaches us from outside: whatever comes out there is a typed error of that party."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import structlog

from gaia.validator.utils.errors import GaiaError, MinerUnreachable, OwnFailure, TransientError

log = structlog.get_logger(__name__)


class Party(StrEnum):
    """Who stands behind a border."""

    MINER = "miner"
    ARCHIVE = "archive"
    CHAIN = "chain"
    DATABASE = "database"
    SIGNER = "signer"
    POOL = "pool"
    DISK = "disk"


_ERRORS: Final[dict[Party, Callable[[str], GaiaError]]] = {
    Party.MINER: MinerUnreachable,
    Party.ARCHIVE: TransientError,
    Party.CHAIN: TransientError,
    Party.DATABASE: OwnFailure,
    Party.SIGNER: OwnFailure,
    Party.POOL: OwnFailure,
    Party.DISK: OwnFailure,
}

UNFORESEEN: Final[Counter[Party]] = Counter(dict.fromkeys(Party, 0))
"""Exceptions of this process that no border knew by name, by party; each is a bug to look at."""


@contextmanager
def border(party: Party, doing: str) -> Iterator[None]:
    """Let typed errors and cancellation pass; turn any other exception into the error of `party`.

    An error of the system is what a disk is expected to raise. Any other exception is
    unforeseen: it is logged with its traceback and counted in `UNFORESEEN`.

    Raises
    ------
    MinerUnreachable
        For a miner: a later attempt may succeed, and only this miner pays when none does.
    OwnFailure
        For our database, signer, pool or disk.
    TransientError
        For an archive or the chain.
    """
    try:
        yield
    except GaiaError:
        raise
    except Exception as error:
        if party is not Party.DISK or not isinstance(error, OSError):
            UNFORESEEN[party] += 1
            log.exception("unforeseen_error", party=party, doing=doing)
        raise _ERRORS[party](f"{doing}: {type(error).__name__}: {error}"[:500]) from error
