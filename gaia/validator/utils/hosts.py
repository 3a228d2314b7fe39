"""Tells which names and addresses mean this machine alone."""

from __future__ import annotations

import ipaddress
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
