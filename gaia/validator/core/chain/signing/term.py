"""Until when the signer may sign for its engine: the end of the engine's lease, as it told last."""

from __future__ import annotations

import time
from typing import Final

from gaia.validator.utils.errors import OwnFailure

_CLOCK: Final = time.CLOCK_BOOTTIME


class Term:
    """The end of the engine's lease of the database.

    An engine that was paused may send a request, or have sent one, after another validator has taken the
    database over. Its last word about the lease tells. An engine without a lease never speaks of one,
    and is not bound; what the record of signed epochs promises holds for both.
    """

    def __init__(self) -> None:
        self._ends_at: float | None = None

    def note(self, ends_at: float | None) -> None:
        """Note when the lease ends, in seconds of CLOCK_BOOTTIME; None: the engine has none."""
        if ends_at is not None:
            self._ends_at = ends_at

    @property
    def is_over(self) -> bool:
        """Whether the lease that was told last has ended."""
        return self._ends_at is not None and time.clock_gettime(_CLOCK) >= self._ends_at

    def require(self) -> None:
        """Raise if the lease is over.

        Raises
        ------
        OwnFailure
            If it is; nothing was signed.
        """
        if self.is_over:
            raise OwnFailure("the lease of the database is over, so nothing is signed")
