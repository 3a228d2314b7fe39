"""Processes that coverage does not measure, for tests that read all that these write."""

from __future__ import annotations

from collections.abc import Mapping


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment whose processes start without coverage.

    The sandbox of a worker forbids coverage to write its data, and coverage then prints a traceback at the worker's end.

    >>> unmeasured({"PATH": "/bin", "COVERAGE_PROCESS_CONFIG": "x"})
    {'PATH': '/bin'}
    """
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
