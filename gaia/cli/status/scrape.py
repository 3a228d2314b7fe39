"""Reads the metrics that a validator serves, and the recurring jobs in them."""

from __future__ import annotations

import http.client
import math
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gaia.cli.status.samples import Samples
from gaia.validator.core.status.facts import Job

if TYPE_CHECKING:
    from gaia.validator.utils.settings.observation import ObservationSettings

_TIMEOUT_S = 3.0
_MOST_BYTES = 4 * 2**20
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the addresses that a validator may listen on


def jobs_at(host: str, port: int) -> list[Job]:
    """Return the recurring jobs of the validator that serves metrics at this address.

    Raises
    ------
    OSError
        If nothing answers in time, or the answer is no success.
    ValueError
        If what answers tells no numbers.
    """
    return jobs_of(metrics_at(host, port))


def metrics_at(host: str, port: int) -> str:
    """Return the text of the metrics that are served at this address; raises as `jobs_at` does."""
    return text_at(_url(host, port))


def metrics_url(observation: ObservationSettings) -> str:
    """Return the address of a validator's metrics, as one calls it; "" if none are served."""
    return _url(observation.metrics_host, observation.metrics_port) if observation.metrics_port else ""


def scrape(url: str) -> Samples | str:
    """Return the samples at `url`, or one sentence why there are none."""
    try:
        return Samples(text_at(url))
    except (OSError, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', error)}"


def text_at(url: str) -> str:
    """Return the text that is served at `url`.

    Raises
    ------
    OSError
        If nothing answers in time, the answer is no success, or it is not HTTP.
    ValueError
        If `url` is no address.
    """
    # No proxy, because the endpoint is on this machine or in its network.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            content: bytes = answer.read(_MOST_BYTES)
    except http.client.InvalidURL as error:
        raise ValueError(str(error)) from error
    except http.client.HTTPException as error:
        raise OSError(f"what answers is no HTTP server: {type(error).__name__}") from error
    return content.decode(errors="replace")


def jobs_of(text: str) -> list[Job]:
    """Return the recurring jobs in the text of an exposition, by name.

    >>> jobs_of('gaia_task_overdue{task="main_scoring"} 1.0')
    [Job(name='main_scoring', last_success_at=None, is_overdue=True)]
    """
    samples = Samples(text)
    overdue = samples.by("gaia_task_overdue", "task")
    succeeded = samples.by("gaia_last_success_timestamp_seconds", "task")
    return [
        Job(
            name=name,
            last_success_at=_moment(succeeded.get(name, math.nan)),
            is_overdue=overdue.get(name, 0.0) > 0,
        )
        for name in sorted(overdue.keys() | succeeded.keys())
    ]


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if math.isfinite(seconds) else None


def _url(host: str, port: int) -> str:
    name = _EVERYWHERE.get(host, host)
    address = f"[{name}]" if ":" in name else name
    return f"http://{address}:{port}/metrics"
