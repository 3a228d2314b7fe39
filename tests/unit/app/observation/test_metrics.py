"""Metrics: each is served under its one name, and a taken port is told in one sentence."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partialmethod
from pathlib import Path
from socketserver import BaseServer
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from gaia.validator.app.observation import metrics, observer
from gaia.validator.app.observation.observer import Observer
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.db.connection import Database
from gaia.validator.utils.borders import UNFORESEEN, Party, border
from gaia.validator.utils.errors import ConfigurationError, ExitCode, OwnFailure, TransientError
from tests.support.patience import patience

NAMES = {
    "gaia_ipc_queue_depth",
    "gaia_io_event_loop_lag_seconds",
    "gaia_child_process_restarts_total",
    "gaia_process_memory_rss_bytes",
    "gaia_process_cpu_seconds_total",
    "gaia_compute_job_duration_seconds",
    "gaia_compute_job_failures_total",
    "gaia_pool_healthy_seats",
    "gaia_sandbox_level",
    "gaia_weather_runs_active",
    "gaia_weather_forecasts",
    "gaia_miner_requests_total",
    "gaia_chain_block",
    "gaia_weights_last_set_block",
    "gaia_update_available",
    "gaia_errors_total",
    "gaia_unforeseen_errors_total",
}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def quick_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the standard library looks twice a second whether it should stop; here, oftener."""
    often = partialmethod(BaseServer.serve_forever, poll_interval=0.01)
    monkeypatch.setattr(BaseServer, "serve_forever", often)


@pytest.mark.usefixtures("quick_to_stop")
def test_every_metric_is_served_under_its_name_and_with_its_unit() -> None:
    port = _free_port()
    stop = metrics.serve("127.0.0.1", port)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    stop()

    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE gaia_")}
    assert {name for name in served if not name.endswith("_created")} == NAMES


@pytest.mark.parametrize("party", Party)
def test_unforeseen_errors_of_every_party_are_served_before_the_first(party: Party) -> None:
    value = REGISTRY.get_sample_value("gaia_unforeseen_errors_total", {"party": party.value})

    assert value is not None


async def test_an_exception_that_no_border_foresaw_is_counted_by_the_observer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    labels = {"party": Party.ARCHIVE.value}
    monkeypatch.setattr(observer, "_LAG_PERIOD_S", 0.001)
    monkeypatch.setattr(observer, "_LOOK_EVERY_S", 0.001)
    pool: Any = SimpleNamespace(queue_depth=0, busy=0, healthy_seats=0, sandbox_level=0)
    # An observer shows all that its process has met, be it before it looked.
    shown = (REGISTRY.get_sample_value("gaia_unforeseen_errors_total", labels) or 0) + UNFORESEEN[
        Party.ARCHIVE
    ]
    watching = asyncio.create_task(Observer(pool, _NoDatabase(), _no_metagraph(), tmp_path / "board").run())

    with pytest.raises(TransientError), border(Party.ARCHIVE, "reading"):
        raise KeyError("step")

    async with asyncio.timeout(patience(10)):
        while REGISTRY.get_sample_value("gaia_unforeseen_errors_total", labels) != shown + 1:
            await asyncio.sleep(0.001)
    watching.cancel()


class _NoDatabase(Database):
    """Is away."""

    def __init__(self) -> None:
        return

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        raise OwnFailure("database")
        yield


def _no_metagraph() -> MetagraphKeeper:
    source: Any = None
    return MetagraphKeeper(source)


@pytest.mark.usefixtures("quick_to_stop")
def test_stopped_server_leaves_the_port_free() -> None:
    port = _free_port()
    metrics.serve("127.0.0.1", port)()

    metrics.serve("127.0.0.1", port)()


def test_taken_port_ends_with_its_own_exit_code(taken_port: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        metrics.serve("127.0.0.1", taken_port)

    assert caught.value.exit_code is ExitCode.PORT_BUSY
    assert str(caught.value) == (
        f"GAIA_METRICS_PORT: port {taken_port} is in use on 127.0.0.1; choose a free port, or 0 for none."
    )


def test_address_of_another_machine_names_the_host_setting() -> None:
    with pytest.raises(ConfigurationError) as caught:
        metrics.serve("192.0.2.1", _free_port())

    assert caught.value.setting == "GAIA_METRICS_HOST"


def test_port_that_needs_privileges_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(metrics, "start_http_server", refuse)

    with pytest.raises(ConfigurationError, match="port 80 needs privileges"):
        metrics.serve("127.0.0.1", 80)


def test_port_0_serves_nothing() -> None:
    metrics.serve("127.0.0.1", 0)()
