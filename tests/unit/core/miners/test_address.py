"""Whom we speak to, and which store addresses we follow."""

from __future__ import annotations

import pytest

from gaia.validator.core.miners.address import base_url_of, canonical_store_path
from gaia.validator.utils.errors import MinerFault, MinerUnreachable
from tests.support.miners import a_neuron


def test_public_address_becomes_a_url() -> None:
    assert (
        base_url_of(a_neuron("k", "8.8.8.8", 33333), "https", allow_private=False) == "https://8.8.8.8:33333"
    )


@pytest.mark.parametrize(
    ("ip", "port"),
    [
        ("", 33333),
        ("0.0.0.0", 33333),
        ("8.8.8.8", 0),
        ("8.8.8.8", 80),
        ("8.8.8.8", 65536),
        ("8.8.8.8", -1),
        ("127.0.0.1", 33333),
        ("10.0.0.1", 33333),
        ("169.254.169.254", 33333),
        ("100.64.0.1", 33333),
        ("224.0.0.1", 33333),
        ("240.0.0.1", 33333),
        ("255.255.255.255", 33333),
        ("192.0.0.8", 33333),
        ("192.88.99.1", 33333),
        ("127.1", 33333),
        ("0x7f.1", 33333),
        ("2130706433", 33333),
        ("8.8.8.8\n", 33333),
        ("010.8.8.8", 33333),
        ("::1", 33333),
        ("::ffff:8.8.8.8", 33333),
        ("example.org", 33333),
        ("8.8.8.8@127.0.0.1", 33333),
    ],
)
def test_address_that_is_not_public_is_not_spoken_to(ip: str, port: int) -> None:
    with pytest.raises(MinerUnreachable, match="axon"):
        base_url_of(a_neuron("k", ip, port), "https", allow_private=False)


def test_rehearsal_may_speak_to_loopback_but_not_to_everyone_at_once() -> None:
    assert base_url_of(a_neuron("k", "127.0.0.7", 81), "http", allow_private=True) == "http://127.0.0.7:81"
    with pytest.raises(MinerUnreachable):
        base_url_of(a_neuron("k", "224.0.0.1", 33333), "http", allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "/forecasts/a_b-c.zarr",
        "/forecasts/a_b-c.zarr/",
        "https://1.2.3.4:33333/forecasts/a_b-c.zarr",
        "http://elsewhere.example/forecasts/a_b-c.zarr?token=x#y",
    ],
)
def test_relative_and_absolute_store_addresses_are_one(url: str) -> None:
    assert canonical_store_path(url) == "/forecasts/a_b-c.zarr"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "/forecasts",
        "/forecasts/",
        "/elsewhere/a.zarr",
        "/forecasts/../etc",
        "/forecasts/a/./b",
        "/forecasts//a",
        "/forecasts/%2e%2e/a",
        "/forecasts/a b",
        "/forecasts/a\\b",
        "forecasts/a.zarr",
        "http://[::1/forecasts/a.zarr",
        "/forecasts/" + "a" * 600,
    ],
)
def test_store_address_outside_the_forecasts_is_the_miners_fault(url: str) -> None:
    with pytest.raises(MinerFault, match="store address"):
        canonical_store_path(url)
