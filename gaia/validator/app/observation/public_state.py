"""What the Supervisor shows to the outside: the endpoints while no IO-Engine serves, and signs to systemd."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from gaia.validator.app.logging_config import event
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.heartbeat import last_beat
from gaia.validator.app.observation.exposition import exposition
from gaia.validator.app.observation.family import SUPERVISOR, Accounts, Family, probes_without_engine
from gaia.validator.app.observation.probes import LIVE, LOOP_STUCK_AFTER_S, READY, STARTED, Check, Endpoints
from gaia.validator.app.observation.serving import Reception
from gaia.validator.app.observation.systemd import ServiceManager
from gaia.validator.utils.files import put_file

_MEASURE_EVERY_S = 5.0
_FRESH_S = 1.0
_log = logging.getLogger("application")


class PublicState:
    """Answers for the family while no IO-Engine serves, and measures it for the one that does.

    Exactly one process accepts clients: the IO-Engine from the moment that it runs until it is reaped, otherwise the
    Supervisor. Connections that arrive between the two wait in the socket's queue. Beside a frozen IO-Engine the
    Supervisor accepts too; each connection still has one answer.

    Parameters
    ----------
    build
        Labels of ``gaia_build_info``.
    see
        Function that returns the present family.
    selector
        Selector that the Supervisor waits on; it passes keys whose data is a `Reception` to that.
    data_dir
        Folder of the validator: its run folder holds the Supervisor's metrics, which the IO-Engine adds to its own.
    """

    def __init__(
        self,
        build: Mapping[str, str],
        see: Callable[[], Family],
        selector: selectors.BaseSelector,
        data_dir: Path,
    ) -> None:
        self.build = build
        """Labels of ``gaia_build_info``; new settings change them."""
        self._see = see
        self._selector = selector
        self._heartbeat = rendezvous.heartbeat_path(data_dir)
        self._page = rendezvous.metrics_page_path(rendezvous.board_path(data_dir))
        self._accounts = Accounts()
        self._measured_at = float("-inf")
        self._text = b""
        self._is_page_old = self._was_started = False
        self._reception: Reception | None = None
        self.manager = ServiceManager.of_environment()

    def serve(self, endpoint: socket.socket, names: Iterable[str] = ()) -> None:
        """Answer on the listening socket `endpoint` from now on, while no IO-Engine does.

        Parameters
        ----------
        names
            Names by which clients may call, beside loopback names and the address of the socket.
        """
        endpoints = Endpoints(
            role=SUPERVISOR,
            probes={path: partial(self._checks, path) for path in (LIVE, READY, STARTED)},
            metrics=self.measured,
        )
        self._reception = Reception(endpoint, endpoints.answer, self._selector, names)
        self.keep_up()

    def keep_up(self) -> None:
        """Do what is due: accept clients or leave them to the IO-Engine, measure, and tell systemd."""
        family, now = self._see(), time.monotonic()
        if self._reception is not None:
            if family.engine is None or family.is_engine_frozen:
                self._reception.open()
            else:
                self._reception.close()
            self._reception.tend(now)
            if now >= self._measured_at + _MEASURE_EVERY_S:
                self.measure()
        self.manager.keep_up(
            self._status(family),
            has_started=family.has_started,
            is_alive=lambda: self._is_alive(family, now),
            is_stopping=not family.wanted,
        )

    def measure(self) -> None:
        """Measure the family now, as before a process that ended is reaped, and write the page."""
        if self._reception is None:
            return  # nobody can ask
        self._measured_at = time.monotonic()
        family = self._see()
        self._accounts.look(family)
        self._text = exposition(self.build, family, self._accounts)
        try:
            put_file(self._page, self._text)
        except OSError as error:
            if not self._is_page_old:
                event(_log, "metrics_not_written", logging.WARNING, error=str(error))
            self._is_page_old = True
        else:
            self._is_page_old = False

    def measured(self) -> bytes:
        """Return the Supervisor's metrics, at most a second old.

        They are always those in the file, so that no counter falls when an IO-Engine reads that file next.
        """
        if time.monotonic() >= self._measured_at + _FRESH_S:
            self.measure()
        return self._text

    def close(self) -> None:
        """Close the connections of all clients; the listening socket stays open."""
        if self._reception is not None:
            self._reception.close()
            self._reception.dismiss_all()
        self._page.unlink(missing_ok=True)

    def _checks(self, path: str) -> list[Check]:
        return probes_without_engine(self._see())[path]

    def _is_alive(self, family: Family, now: float) -> bool:
        """Return whether the IO-Engine's loop turns; without an IO-Engine the Supervisor's own does."""
        if family.engine is None:
            return True
        beat = last_beat(self._heartbeat, family.engine.pid)
        return beat is None or now - beat < LOOP_STUCK_AFTER_S

    def _status(self, family: Family) -> str:
        if not family.wanted:
            return "stopping"
        self._was_started = self._was_started or family.has_started
        awaited = family.missing()
        if not awaited and not family.has_started:
            awaited = ["io_engine reads its first metagraph"]
        if not awaited:
            return "running"
        return f"{'running, but ' if self._was_started else 'starting: '}{', '.join(awaited)}"
