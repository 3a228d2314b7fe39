"""Records the jobs submitted to the Climate Data Store, so that a restart does not submit them again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from gaia.validator.utils.files import whole_file

log = structlog.get_logger(__name__)

KEPT_FOR: Final = timedelta(days=2)
"""Age at which a job is given up; the store forgets finished jobs, and no queue is as long."""


class Job(msgspec.Struct, frozen=True):
    """A job of the store."""

    job_id: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the store."""

    dataset: str
    inputs: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Name of the request; equal requests have equal names."""
        content = msgspec.json.encode([self.dataset, dict(self.inputs)], order="sorted")
        return hashlib.sha256(content).hexdigest()


class JobFile:
    """The jobs of one valid time, in a file that exists while there are any.

    An unreadable file counts as empty, because a job submitted twice costs only its place in
    the queue.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: dict[str, Job] = {}
        try:
            self._jobs = msgspec.json.decode(path.read_bytes(), type=dict[str, Job])
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            log.warning("cds_jobs_unreadable", path=str(path), error=str(error))

    def find(self, request: Request, now: datetime) -> Job | None:
        """Return the job submitted for `request` if it may still run; else None."""
        job = self._jobs.get(request.key)
        return job if job is not None and now - job.submitted_at < KEPT_FOR else None

    def remember(self, request: Request, job: Job) -> None:
        self._jobs[request.key] = job
        self._save()

    def forget(self, request: Request) -> None:
        if self._jobs.pop(request.key, None) is not None:
            self._save()

    def clear(self) -> None:
        self._jobs.clear()
        self._save()

    def _save(self) -> None:
        if not self._jobs:
            self._path.unlink(missing_ok=True)
            return
        with whole_file(self._path) as file:
            file.write(msgspec.json.encode(self._jobs))
