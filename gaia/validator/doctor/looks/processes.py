"""Looks at processes of this machine: their command lines, parents and connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil

from gaia.validator.doctor.supervisors import is_supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOKS = 3
_MAPPED = "::ffff:"
"""Begin of an IPv6 address that stands for one of IPv4."""


def command_of(pid: int) -> str:
    """Return the command line of a process; "" if it cannot be read."""
    try:
        return " ".join(psutil.Process(pid).cmdline()) if pid > 0 else ""
    except psutil.Error:
        return ""


def user_of(pid: int) -> int | None:
    """Return the user of a process; None if there is none, or it cannot be looked at."""
    try:
        return int(psutil.Process(pid).uids().effective) if pid > 0 else None
    except psutil.Error:
        return None


def ancestors_of(pid: int) -> frozenset[int]:
    """Return the processes that started a process."""
    try:
        return frozenset(parent.pid for parent in psutil.Process(pid).parents()) if pid > 0 else frozenset()
    except psutil.Error:
        return frozenset()


def supervisor_of(pid: int, uid: int) -> int:
    """Return the Supervisor that a process is or descends from, if it runs as user `uid`; else 0."""
    try:
        process = psutil.Process(pid) if pid > 0 else None
        line = [] if process is None else [process, *process.parents()]
        found = (each for each in line if is_supervisor(" ".join(each.cmdline())))
        return next((each.pid for each in found if each.uids().effective == uid), 0)
    except psutil.Error:
        return 0


def listener_at(addresses: frozenset[str], port: int) -> int:
    """Return the process that listens on `port` of one of these addresses, or of all; 0 if unknown."""
    wanted = addresses | {"0.0.0.0", "::"}  # noqa: S104 - who listens on all addresses listens there too
    return _owner(
        lambda each: (
            each.status == psutil.CONN_LISTEN
            and each.laddr.port == port
            and each.laddr.ip.removeprefix(_MAPPED) in wanted
        )
    )


def client_at(address: str, port: int) -> int:
    """Return the process of this machine that is connected from `address` and `port`; 0 if unknown."""
    return _owner(
        lambda each: (
            bool(each.raddr) and each.laddr.port == port and each.laddr.ip.removeprefix(_MAPPED) == address
        )
    )


def _owner(is_it: Callable[[Any], bool]) -> int:
    """Return the process of the connection that is meant; what begins or ends meanwhile can spoil one look."""
    for _ in range(_LOOKS):
        try:
            found = psutil.net_connections("tcp")
        except psutil.Error:
            continue
        if owner := next((each.pid or 0 for each in found if each.laddr and is_it(each)), 0):
            return owner
    return 0
