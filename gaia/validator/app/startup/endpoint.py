"""Opens the listening socket of the endpoints: metrics and probes."""

from __future__ import annotations

import contextlib
import errno
import socket

from gaia.validator.utils.errors import ConfigurationError, ExitCode

_BACKLOG = 128


def open_endpoint(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens on `host` and `port`; None for port 0, which serves nothing.

    Raises
    ------
    ConfigurationError
        If another program uses the port, or the address is not one of this machine.
    """
    if port == 0:
        return None
    listener = _bound(host, port)
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _trouble(error, host, port) from error
    return listener


def require_free(host: str, port: int) -> None:
    """Raise as `open_endpoint` does. It never listens, so it refuses the port to nobody meanwhile."""
    if port:
        _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            # A connection of an earlier validator may still be closing.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()
            return listener
    except OSError as error:
        raise _trouble(error, host, port) from error


def _trouble(error: OSError, host: str, port: int) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            "GAIA_METRICS_PORT",
            f"port {port} on {host} is in use",
            "choose a free port, or 0 to serve no metrics",
            ExitCode.PORT_BUSY,
        )
    return ConfigurationError(
        "GAIA_METRICS_HOST",
        f"cannot listen on {host}, port {port} ({error.strerror or error})",
        "set it to an address of this machine and GAIA_METRICS_PORT above 1023",
    )
