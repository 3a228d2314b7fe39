"""The Celery application of the benchmark; it needs an environment with Celery."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.pool_peers import handlers


def make_app() -> Any:
    """Return the application for the Redis server that the environment names."""
    import celery  # type: ignore[import-not-found]

    url = os.environ["BENCH_REDIS"]
    made = celery.Celery("bench", broker=url, backend=url)
    made.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )

    @made.task(name="bench.run")  # type: ignore[untyped-decorator]
    def run(name: str, *arguments: Any) -> Any:
        return getattr(handlers, name)(*arguments)

    return made


if "BENCH_REDIS" in os.environ:
    app = make_app()
