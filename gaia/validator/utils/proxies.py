"""Excludes addresses of this machine from the environment's proxies, which cannot reach it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from urllib.parse import urlsplit

from gaia.validator.utils.machine.hosts import is_loopback

PROXIES = tuple(
    name for scheme in ("https", "http", "all") for name in (f"{scheme.upper()}_PROXY", f"{scheme}_proxy")
)
"""Variables with the address of a proxy, which may hold its password."""

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def spare_loopback(*urls: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Add this machine, and the hosts of `urls` with loopback addresses, to NO_PROXY.

    Libraries that read proxies only from the environment need this.

    Examples
    --------
    >>> environment = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.org"}
    >>> spare_loopback("ws://127.0.0.7:9944", "wss://chain.example.net", environment=environment)
    >>> environment["no_proxy"]
    'example.org,localhost,127.0.0.1,::1,127.0.0.7'
    """
    spared = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip() for name in spared.split(",") if name.strip()]
    hosts = [urlsplit(url).hostname or "" for url in urls]
    names += [*_THIS_MACHINE, *filter(is_loopback, hosts)]
    for variable in ("no_proxy", "NO_PROXY"):
        environment[variable] = ",".join(dict.fromkeys(names))
