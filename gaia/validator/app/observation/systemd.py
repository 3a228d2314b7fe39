"""Tells systemd how the validator is: sd_notify's datagrams, without a library."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable

from gaia.validator.app.logging_config import event

_log = logging.getLogger("application")


class ServiceManager:
    """Sends notifications to the service manager that started this process; without one, nothing.

    Parameters
    ----------
    address
        Path of its datagram socket, or a name that begins with @ (abstract); "" if there is none.
    watchdog_s
        Seconds without a sign of life after which it restarts the service; 0: it never does.
    """

    def __init__(self, address: str, watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._next_sign_at = 0.0
        self._status = ""
        self._is_ready = self._is_stopping = False
        self._unsent: dict[str, bytes] = {}
        """What is waiting, by the name of its first assignment; a later one replaces an earlier one of its name."""
        self._has_complained = False

    @classmethod
    def of_environment(cls) -> ServiceManager:
        """Return the manager that the environment names; remove its variables, which no child may use."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        given, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        is_for_us = given.isdigit() and pid in ("", str(os.getpid()))
        return cls(address, int(given) / 1e6 if is_for_us else 0.0)

    def keep_up(
        self, status: str, *, has_started: bool, is_alive: Callable[[], bool], is_stopping: bool
    ) -> None:
        """Send what changed since the last call, and a sign of life if one is due.

        Parameters
        ----------
        status
            One line for people.
        has_started
            Whether the service is up; only the first time matters.
        is_alive
            Function that returns whether a sign of life may be sent; called when one is due.
        """
        if not self._address:
            return
        if is_stopping and not self._is_stopping:
            self._is_stopping = True
            self._say("STOPPING=1")
        if has_started and not self._is_ready and not is_stopping:
            self._is_ready = True
            self._say("READY=1")
        if status != self._status:
            self._status = status
            self._say(f"STATUS={status}")
        now = time.monotonic()
        if self._watchdog_s and now >= self._next_sign_at and is_alive():
            self._next_sign_at = now + self._watchdog_s / 2
            self._say("WATCHDOG=1")
        self._send()

    def reloading(self) -> None:
        """Say that the settings are read again; `reloaded` must follow."""
        if self._is_ready:
            self._say(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
            self._send()

    def reloaded(self) -> None:
        """Say that the reading of the settings has ended, whether or not they were allowed."""
        if self._is_ready:
            self._say("READY=1")
            self._send()

    def _say(self, assignments: str) -> None:
        if not self._address:
            return
        name = assignments.partition("=")[0]
        # At the end, because it is true now: READY after RELOADING.
        self._unsent.pop(name, None)
        self._unsent[name] = assignments.encode()

    def _send(self) -> None:
        """Send what is waiting; what the manager cannot take now waits for the next call."""
        if not self._unsent:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                while self._unsent:
                    name, words = next(iter(self._unsent.items()))
                    sender.sendto(words, self._address)
                    del self._unsent[name]
            except OSError as error:
                if not self._has_complained:
                    event(_log, "service_manager_not_told", logging.WARNING, error=str(error))
                self._has_complained = True
            else:
                self._has_complained = False
