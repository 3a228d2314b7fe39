"""The engine's note: the newest metagraph, for programs that only look."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from gaia.validator.app.meeting.rendezvous import board_path
from gaia.validator.utils.chain.consensus import ConsensusView
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.tasks.defined_tasks.base import Clock

log = structlog.get_logger(__name__)


class EngineNote(msgspec.Struct, frozen=True, kw_only=True):
    """State of an IO-Engine when it last accepted a metagraph."""

    written_at: float
    """Unix seconds on the machine's clock."""
    now: datetime
    """Time on the validator's clock, which is simulated in a rehearsal."""
    pid: int
    metagraph: Metagraph
    consensus: ConsensusView | None = None
    """Our weights beside the other validators'; None: it has not been read yet."""


class EngineNotes:
    """Writes the note of this IO-Engine."""

    def __init__(
        self,
        data_dir: Path,
        clock: Clock,
        consensus: Callable[[Metagraph], ConsensusView | None] | None = None,
    ) -> None:
        self._path = engine_note_path(data_dir)
        self._clock = clock
        self._consensus = consensus

    def write(self, metagraph: Metagraph) -> None:
        """Replace the note; a failure of the disk is only logged, because nothing here depends on it."""
        note = EngineNote(
            written_at=time.time(),
            now=self._clock.now(),
            pid=os.getpid(),
            metagraph=metagraph,
            consensus=None if self._consensus is None else self._consensus(metagraph),
        )
        try:
            put_file(self._path, msgspec.json.encode(note))
        except OSError as error:
            log.warning("engine_note_not_written", error=str(error))


def engine_note_path(data_dir: Path) -> Path:
    """Return the file of the note."""
    return board_path(data_dir).with_name("engine")


def read_engine_note(data_dir: Path) -> EngineNote | None:
    """Return the last note of an engine; None if there is none, or another release wrote it."""
    try:
        return msgspec.json.decode(engine_note_path(data_dir).read_bytes(), type=EngineNote)
    except (OSError, msgspec.MsgspecError):
        return None
