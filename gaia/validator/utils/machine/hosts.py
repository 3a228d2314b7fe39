"""Tells which names and addresses mean this machine, and which a client may call it by."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

_NAME: Final = "localhost"


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address or a name that always means one; no name is resolved.

    >>> [is_loopback(host) for host in ("127.0.0.7", "::1", "LOCALHOST.", "app.localhost", "10.0.0.1", "localhost.com")]
    [True, True, True, True, False, False]
    """
    address = address_of(host)
    if address is not None:
        return address.is_loopback
    name = host.lower().rstrip(".")
    return name == _NAME or name.endswith(f".{_NAME}")


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that `host` is; None for a name. An IPv4 address that is mapped into IPv6 is returned as IPv4.

    >>> address_of("::ffff:127.0.0.1")
    IPv4Address('127.0.0.1')
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Addressee:
    """Names and addresses by which clients may call one listening socket.

    A web page can have its own name resolve to this machine. A browser then lets that page read the answers, because
    they seem to come from the page's own server. Only the name in the request gives it away.

    Parameters
    ----------
    listener
        The listening socket; its address is accepted.
    names
        Further names, such as that of the machine in its network.
    """

    def __init__(self, listener: socket.socket, names: Iterable[str] = ()) -> None:
        self._bound = str(listener.getsockname()[0])
        self._is_private = is_loopback(self._bound)
        self._names = {_plain(name) for name in names}

    def is_meant(self, host: str) -> bool:
        """Return whether a request with this Host may be answered.

        Any address is accepted where other machines may call, because no foreign name can stand behind an address.

        Parameters
        ----------
        host
            Name or address, with or without a port.
        """
        name = _without_port(host)
        if is_loopback(name) or _plain(name) in self._names:
            return True
        address = address_of(name)
        return address is not None and (not self._is_private or address == address_of(self._bound))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    # More colons are those of an IPv6 address.
    return host.partition(":")[0] if host.count(":") == 1 else host


def _plain(name: str) -> str:
    return name.lower().rstrip(".")
