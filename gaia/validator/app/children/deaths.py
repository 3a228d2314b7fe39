"""Deaths of children, as the Supervisor remembers them for its plan and for the board."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gaia.validator.app.children import post_mortem
from gaia.validator.app.logging_config import event
from gaia.validator.app.meeting.rendezvous import Board, DeathReport
from gaia.validator.app.supervision import FORK_SERVER_DIED, Death, Limits, Role, remember
from gaia.validator.utils.errors import ExitCode

if TYPE_CHECKING:
    from gaia.validator.app.children.spawning import ChildHandle
    from gaia.validator.utils.identities import WorkerId

_PUBLISHED_DEATHS = 32

_log = logging.getLogger("application")


class Deaths:
    """Deaths for `supervision.plan`, death reports for the board, and the number of restarts."""

    def __init__(self, data_dir: Path) -> None:
        self.remembered: list[Death] = []
        """Deaths that `supervision.plan` needs."""
        self._data_dir = data_dir
        self._reports: deque[DeathReport] = deque(maxlen=_PUBLISHED_DEATHS)
        self._restarts: Counter[str] = Counter()
        self._tried: set[tuple[Role, int]] = set()
        self._began_at = time.time()
        self.halt = ""
        """Sentence about the reason for which everything ends, for the board."""

    def note_start(self, role: Role, seat: int) -> None:
        """Note that the seat was tried; count a restart if a dead child of that seat is remembered."""
        self._tried.add((role, seat))
        if any((death.role, death.seat) == (role, seat) for death in self.remembered):
            self._restarts[role] += 1

    def note_failed_start(
        self, role: Role, seat: int, started_at: float, reason: str, limits: Limits
    ) -> None:
        """Remember a failed start: the fork server died, or the system lacked resources; it is tried again."""
        self._tried.add((role, seat))
        now = time.monotonic()
        death = Death(
            role=role,
            seat=seat,
            at=now,
            lived_s=now - started_at,
            was_ready=False,
            exit_code=FORK_SERVER_DIED,
            was_planned=False,
        )
        self.remembered = remember(self.remembered, death, limits)
        event(_log, "child_not_started", logging.WARNING, child=role, seat=seat, reason=reason)

    def note(self, seated: ChildHandle, exit_code: int, at: float, limits: Limits) -> None:
        """Examine, remember and report a child that was just reaped.

        Raises
        ------
        OSError
            If the file of its last stack cannot be read.
        """
        facts = seated.child
        death = Death(
            role=facts.role,
            seat=facts.seat,
            at=at,
            lived_s=at - facts.started_at,
            was_ready=facts.is_ready,
            exit_code=exit_code,
            was_planned=facts.kill_at is not None,
            sentence=seated.sentence,
        )
        self.remembered = remember(self.remembered, death, limits)
        is_well = exit_code == ExitCode.OK or (death.was_planned and not facts.is_killed)
        report = post_mortem.examine(seated, exit_code, death.lived_s, self._data_dir)
        if not is_well:
            self._reports.append(report)
        values = msgspec.to_builtins(msgspec.structs.replace(report, role=""))
        reported = {name: value for name, value in values.items() if value not in ("", True, None)}
        if seated.sentence:
            reported["sentence"] = seated.sentence
        level = logging.INFO if is_well else logging.WARNING
        event(_log, "child_ended", level, child=facts.role, seat=facts.seat, **reported)

    @property
    def restarts(self) -> dict[str, int]:
        """Role -> number of children that replaced a dead one."""
        return dict(self._restarts)

    def board(self, living: Iterable[ChildHandle]) -> Board:
        """Return the board: living processes, restarts, and the last reports."""
        workers: dict[WorkerId, int] = {}
        processes: dict[str, int] = {}
        for one in living:
            if one.child.role is Role.WORKER:
                workers[one.worker] = one.child.pid
            else:
                processes[str(one.child.role)] = one.child.pid
        return Board(
            workers=workers,
            processes=processes,
            restarts=self.restarts,
            deaths=list(self._reports),
            began_at=self._began_at,
            seats_tried=dict(Counter(str(role) for role, _ in self._tried)),
            halt=self.halt,
        )
