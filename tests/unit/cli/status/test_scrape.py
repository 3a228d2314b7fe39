"""The metrics of a validator are asked where they are served, and what answers may be anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from gaia.cli.status.scrape import jobs_at, metrics_url, scrape, text_at
from gaia.validator.utils.settings.observation import ObservationSettings


@pytest.fixture
def stranger() -> Iterator[int]:
    """Port of a server that greets each caller in a protocol of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    caller = server.accept()[0]
                except OSError:
                    return
                with caller:
                    caller.recv(1)
                    caller.sendall(b"220 mail.example.org ready\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 9090, "http://127.0.0.1:9090/metrics"),
        ("0.0.0.0", 9090, "http://127.0.0.1:9090/metrics"),
        ("::", 9100, "http://[::1]:9100/metrics"),
        ("fd00::1", 9100, "http://[fd00::1]:9100/metrics"),
        ("validator", 9100, "http://validator:9100/metrics"),
        ("127.0.0.1", 0, ""),
    ],
)
def test_metrics_are_asked_where_they_are_served(host: str, port: int, url: str) -> None:
    assert metrics_url(ObservationSettings(metrics_host=host, metrics_port=port)) == url


def test_server_of_another_protocol_is_no_endpoint_and_no_crash(stranger: int) -> None:
    with pytest.raises(OSError, match="no HTTP server"):
        jobs_at("127.0.0.1", stranger)

    assert "no HTTP server" in str(scrape(f"http://127.0.0.1:{stranger}/metrics"))


@pytest.mark.parametrize("url", ["http://[::1/metrics", "http://a b/metrics"])
def test_text_that_is_no_address_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="."):
        text_at(url)

    assert url in str(scrape(url))
