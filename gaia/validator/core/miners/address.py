"""Checks the addresses of miners, and the paths of forecasts on their servers."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gaia.tasks.defined_tasks.weather.wire.messages import FORECASTS_PREFIX, printable
from gaia.validator.utils.errors import MinerFault, MinerUnreachable

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Neuron

_LEAST_PORT = 1024
_GREATEST_PORT = 65535
# Python counts these as global: protocol assignments and the former 6to4 anycast.
_NOT_GLOBAL = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("192.88.99.0/24"))
_STORE_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+\Z")
_MAX_STORE_PATH = 512


def base_url_of(miner: Neuron, scheme: str, *, allow_private: bool) -> str:
    """Return "scheme://ip:port" of the miner's axon.

    Only global unicast IPv4 addresses and ports from 1024 up are accepted. `allow_private` also
    accepts private and loopback addresses, and any port.

    Raises
    ------
    MinerUnreachable
        If the axon is not served, or its address is not accepted.
    """
    if not miner.ip or miner.ip == "0.0.0.0" or miner.port == 0:  # noqa: S104 - refused, not bound
        raise MinerUnreachable("axon is not served")
    try:
        address = ipaddress.IPv4Address(miner.ip)
    except ValueError as error:
        raise MinerUnreachable(f"axon address {printable(miner.ip, 64)!r} is no IPv4 address") from error
    if not _is_allowed(address, allow_private=allow_private):
        raise MinerUnreachable(f"axon address {address} is not a public one")
    if not (1 if allow_private else _LEAST_PORT) <= miner.port <= _GREATEST_PORT:
        raise MinerUnreachable(f"axon port {miner.port} is not allowed")
    return f"{scheme}://{address}:{miner.port}"


def canonical_store_path(url: str) -> str:
    """Return the path in a store's address, which may have a scheme and a host.

    The host is ignored, because forecasts are only read from the address on chain.

    Raises
    ------
    MinerFault
        If the path is not a plain path below /forecasts/.

    Examples
    --------
    >>> canonical_store_path("https://192.0.2.1:33333/forecasts/a.zarr/?x=1")
    '/forecasts/a.zarr'
    """
    try:
        path = urlsplit(url).path.rstrip("/")
    except ValueError as error:
        raise MinerFault(f"store address {printable(url, 64)!r} cannot be read") from error
    segments = path.split("/")[1:]
    plain = _STORE_PATH.match(path) is not None and not {".", ".."} & set(segments)
    if not plain or not path.startswith(FORECASTS_PREFIX) or len(path) > _MAX_STORE_PATH:
        raise MinerFault(f"store address {printable(url, 64)!r} is not below {FORECASTS_PREFIX}")
    return path


def _is_allowed(address: ipaddress.IPv4Address, *, allow_private: bool) -> bool:
    if address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if allow_private:
        return True
    return address.is_global and not any(address in network for network in _NOT_GLOBAL)
