"""The page of metrics that the IO-Engine serves: its own, and those that the Supervisor measured."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import generate_latest

from gaia.validator.app.observation.metrics import REGISTRY


def all_metrics(supervisors: Path) -> bytes:
    """Return all metrics in Prometheus' text format.

    The Supervisor's families stay its own, because they must not change with the process that answers.

    Parameters
    ----------
    supervisors
        File of the Supervisor's metrics; a missing file counts as empty.
    """
    try:
        measured = supervisors.read_bytes()
    except FileNotFoundError:
        measured = b""
    return generate_latest(REGISTRY) + measured
