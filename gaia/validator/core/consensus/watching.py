"""Watches what the chain makes of our weights, and warns before weights that cost trust."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gaia.validator.core.incidents import Incident
from gaia.validator.db import journal
from gaia.validator.utils.errors import GaiaError, TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.chain.consensus import ConsensusView
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.settings.weights import WeightsSettings

log = structlog.get_logger(__name__)

_USUAL_EPOCHS: Final = 20
"""Epochs over which trust is usual: a day at the usual tempo of 360 blocks."""
_LAST_BLOCKS: Final = 1
_RETRY_S: Final = 60.0
_PATIENCE_S: Final = 30.0
"""Seconds that weights wait for the prediction; they are set without it."""


class ConsensusSource(Protocol):
    """Reads the consensus from the chain."""

    async def read_consensus(self, proposed: Sequence[Sequence[int]] | None = None) -> ConsensusView: ...


class ConsensusWatch:
    """Keeps the newest view of the consensus, and stores what each epoch gave us.

    It only tells: no vector is held or changed because of the other validators.
    """

    def __init__(
        self,
        source: ConsensusSource,
        database: Database,
        netuid: int,
        settings: WeightsSettings,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._source = source
        self._database = database
        self._netuid = netuid
        self._max_loss = settings.weights_max_trust_loss
        self._patience_s = patience_s
        self._incident = Incident(database, "consensus")
        self._newest: ConsensusView | None = None
        self._retry_at = float("-inf")
        self._vector: Sequence[Sequence[int]] | None = None
        """Our newest vector; None: none was judged in this epoch."""

    def latest(self, metagraph: Metagraph | None) -> ConsensusView | None:
        """Return the newest view; None if there is none, or it is older than the last epoch of the chain."""
        view = self._newest
        if view is None or metagraph is None or metagraph.own is None or view.epoch < metagraph.epoch - 1:
            return None
        return view

    async def refresh(self, metagraph: Metagraph | None, now: datetime) -> None:
        """Look at the chain once in each of its epochs, and store what the epoch before gave us.

        After a failure it looks again a minute later.

        Raises
        ------
        TransientError
            If the chain cannot be read, or the database failed.
        """
        if metagraph is None or metagraph.own is None or metagraph.next_epoch_block is None:
            return
        is_known = self._newest is not None and self._newest.epoch >= metagraph.epoch
        is_ending = metagraph.next_epoch_block - metagraph.block <= _LAST_BLOCKS
        if is_known or is_ending or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + _RETRY_S
        # What was set counts by now; what was not will not be.
        self._vector = None
        await self._look(now)

    async def judge(self, vector: Sequence[Sequence[int]], now: datetime) -> None:
        """Warn if the vector, once it counts, lowers our trust by more than the operator allows.

        The measure is the trust that our present weights would get, or the usual one of the last day if that is
        more. A failure is only logged; a silent chain costs at most the patience.

        Parameters
        ----------
        vector
            [uid, u16] pairs that are about to be set.
        """
        self._vector = vector
        try:
            view = await self._look(now)
            usual = await self._database.run(
                lambda connection: journal.usual_trust(connection, self._netuid, view.hotkey, _USUAL_EPOCHS)
            )
        except GaiaError as error:
            reason = str(error)
            log.warning("trust_not_predicted", reason=reason, once=("trust", reason))
            return
        expected = max(view.standing.validator_trust, usual or 0.0)
        predicted = view.next.validator_trust
        if expected - predicted <= self._max_loss:
            await self._incident.recovered(now)
            return
        evidence = (
            f"as of block {view.block}, the new weights will have a vtrust of {predicted:.3f} instead of"
            f" {expected:.3f}; most of the stake wants other miners"
        )
        await self._incident.failing(evidence, now, subject="trust")

    async def _look(self, now: datetime) -> ConsensusView:
        asked = self._vector
        try:
            async with asyncio.timeout(self._patience_s):
                view = await self._source.read_consensus(asked)
        except TimeoutError as error:
            raise TransientError(f"the consensus was not read in {self._patience_s:g} s") from error

        async def write(connection: Connection) -> None:
            await journal.record_consensus(connection, self._netuid, view, now)

        # In the last block the epoch is the next one already, but the values are still those of the one before.
        if view.next_epoch_block - view.block <= _LAST_BLOCKS:
            return view
        await self._database.run(write)
        self._retry_at = float("-inf")
        if asked is self._vector and (self._newest is None or self._newest.block <= view.block):
            self._newest = view
        return view
