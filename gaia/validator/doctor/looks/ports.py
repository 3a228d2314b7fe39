"""Looks at the address of the metrics, and at the proxies that the environment names."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gaia.validator.app.startup.endpoint import require_free
from gaia.validator.doctor.facts import Port, Proxy
from gaia.validator.doctor.looks.processes import ancestors_of, command_of, listener_at
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.proxies import PROXIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gaia.validator.utils.settings.observation import ObservationSettings

_DIAL_S = 2.0
_NEXT_PORTS = 200
_LOWEST_PORT, _HIGHEST_PORT = 1024, 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Scheme of a proxy -> port that httpx takes where its address has none."""


def look_at_port(observation: ObservationSettings) -> Port:
    """Return whether the metrics can be served where the settings say, and who else is there."""
    host, port = observation.metrics_host, observation.metrics_port
    try:
        require_free(host, port)
    except ConfigurationError as error:
        pid = listener_at(_addresses(host), port)
        return Port(
            problem=error.problem,
            holder_pid=pid,
            holder=command_of(pid),
            ancestors=ancestors_of(pid),
            free=next_free_port(host, port),
        )
    return Port(problem="", holder_pid=0, holder="", ancestors=frozenset(), free=port)


def next_free_port(host: str, port: int) -> int | None:
    """Return the next port of `host` at which nothing listens, first above `port`; None if all near are used."""
    above = range(port + 1, min(port + _NEXT_PORTS, _HIGHEST_PORT) + 1)
    below = range(port - 1, max(port - _NEXT_PORTS, _LOWEST_PORT) - 1, -1)
    for other in itertools.chain(above, below):
        try:
            require_free(host, other)
        except ConfigurationError:
            continue
        return other
    return None


def look_at_proxies(environment: Mapping[str, str]) -> Sequence[Proxy]:
    """Return each proxy that the environment names, and whether it can be reached."""
    return [_proxy(name, environment[name]) for name in PROXIES if environment.get(name)]


def _proxy(variable: str, address: str) -> Proxy:
    place = "no host"
    try:
        target = urlsplit(address if "://" in address else f"http://{address}")
        place = target.hostname or place
        if target.scheme not in _DEFAULT_PORTS:
            return Proxy(variable=variable, place=place, problem=f"{target.scheme} is no protocol of proxies")
        port = _DEFAULT_PORTS[target.scheme] if target.port is None else target.port
        place = f"{place}:{port}"
        with socket.create_connection((target.hostname or "", port), _DIAL_S):
            return Proxy(variable=variable, place=place, problem="")
    except (OSError, ValueError) as error:
        return Proxy(variable=variable, place=place, problem=getattr(error, "strerror", None) or str(error))


def _addresses(host: str) -> frozenset[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(address[0]) for _, _, _, _, address in found)
