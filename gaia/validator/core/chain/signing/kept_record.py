"""The signer's hold on the record of signed epochs, which ends with the lease of its engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs
from gaia.validator.utils.errors import ConfigurationError, ExitCode, OwnFailure

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.validator.core.chain.signing.term import Term

_security = structlog.get_logger("security")

LONGEST_WAIT_S: Final = 60.0
"""Seconds for which another signer may hold the record; it lets go when the lease of its engine ends."""


class KeptRecord:
    """Opens the record when it is needed, and lets it go when the lease is over.

    Signers of one hotkey on one machine share the file, so that each knows what the other has signed. A standby
    opens it once it has taken over.

    Parameters
    ----------
    path, hotkey, netuid
        As for `SignedEpochs.open`.
    term
        Lease of the engine.
    """

    def __init__(
        self, path: Path, hotkey: str, netuid: int, term: Term, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._hotkey, self._netuid = path, hotkey, netuid
        self._term = term
        self._clock = clock
        self._record: SignedEpochs | None = None
        self._refused_since: float | None = None
        self._refused_at = 0.0

    def try_at_start(self) -> None:
        """Open the record and let it go, so that what is wrong with it is said at once; another signer may hold it.

        A standby that held it from its start would keep the active signer from it.

        Raises
        ------
        ConfigurationError
            If it cannot be kept, is damaged, or belongs to another hotkey or subnet.
        """
        try:
            self.record()
        except OwnFailure as failure:
            _security.info("record_in_use", reason=str(failure))
        self.close()
        self._refused_since = None

    def record(self) -> SignedEpochs:
        """Return the record.

        Raises
        ------
        OwnFailure
            If another signer holds it, for a while.
        ConfigurationError
            If that lasts, or the record is of no use; see `SignedEpochs.open`.
        """
        if self._record is None:
            try:
                self._record = SignedEpochs.open(self._path, self._hotkey, self._netuid)
            except ConfigurationError as error:
                self._bear(error)
            self._refused_since = None
        assert self._record is not None
        return self._record

    def _bear(self, error: ConfigurationError) -> None:
        """Raise `error`; for some time as a failure that passes, if another signer holds the record."""
        now = self._clock()
        if self._refused_since is None or now - self._refused_at > LONGEST_WAIT_S:
            self._refused_since = now  # an earlier refusal was of another takeover
        self._refused_at = now
        is_lasting = now - self._refused_since > LONGEST_WAIT_S
        if error.exit_code is not ExitCode.DATA_DIR_IN_USE or is_lasting:
            raise error
        raise OwnFailure(f"{error.problem}; it ends with the lease of the other") from error

    def let_go_if_over(self) -> None:
        """Let another signer open the record if the lease of our engine is over."""
        if self._record is not None and self._term.is_over:
            self.close()
            _security.info("record_let_go", reason="the lease of the database is over")

    def close(self) -> None:
        """Let another signer open the record."""
        if self._record is not None:
            self._record.close()
            self._record = None
