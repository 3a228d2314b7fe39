"""Borders to outside parties: every error there becomes a typed error of that party."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import structlog

from gaia.validator.utils.errors import GaiaError, MinerUnreachable, OwnFailure, TransientError
from gaia.validator.utils.secrecy import without_secrets

log = structlog.get_logger(__name__)


class Party(StrEnum):
    """The party behind a border."""

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
"""Party -> number of unexpected exceptions in this process; each is a bug to examine."""


@contextmanager
def border(party: Party, doing: str) -> Iterator[None]:
    """Pass typed errors and cancellation; turn any other exception into the error of `party`.

    A disk is expected to raise system errors. Any other exception is unexpected: it is logged with
    its traceback and counted in `UNFORESEEN`.

    Raises
    ------
    MinerUnreachable
        For a miner, because a later attempt may succeed, and only this miner pays if none does.
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
            words = type(error).__name__
            log.exception("unforeseen_error", party=party, doing=doing, once=(f"{party}: {doing}", words))
        raise _ERRORS[party](without_secrets(f"{doing}: {type(error).__name__}: {error}")[:500]) from error
