"""Somewhere to run units, and the marks that try a test on each kind of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gaia.validator.app.backends.dask_backend import DaskBackend
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.app.pool.protocols import Capability, ComputeBackend
from gaia.validator.utils.ipc_types import ResultUnit
from tests.support.backends import WORKERS, eventually, lines_in
from tests.support.builders import a_unit

CAPABILITIES = {"local": ComputePool.capabilities, "dask": DaskBackend.capabilities}
MOST_WAITING = 4
Asked = asyncio.Task[ResultUnit]

everywhere = pytest.mark.parametrize("compute", CAPABILITIES, indirect=True)


def where(capability: Capability) -> pytest.MarkDecorator:
    """Try it with each that declares `capability`."""
    able = [name for name, has in CAPABILITIES.items() if capability in has]
    return pytest.mark.parametrize("compute", able, indirect=True)


@dataclass
class Compute:
    """Somewhere to run units."""

    pool: ComputeBackend
    folder: Path
    gates: list[Path] = field(default_factory=list)
    occupying: list[Asked] = field(default_factory=list)

    def ask(self, name: str, handler: str, *, timeout_s: float = 60.0, **unit: Any) -> Asked:
        """Begin to wait for one unit; no other test's has its job id."""
        changes = {"handler": handler, "deadline_at": time.time() + timeout_s, **unit}
        return asyncio.create_task(self.pool.dispatch_and_wait(a_unit(self.job_id(name), **changes)))

    def job_id(self, name: str) -> str:
        return f"{self.folder.name}/{name}"

    async def run(self, name: str, handler: str, **unit: Any) -> ResultUnit:
        """Run one unit."""
        return await self.ask(name, handler, **unit)

    async def occupy(self) -> None:
        """Have every worker hold a unit, until its gate is there."""
        await eventually(lambda: self.pool.workers >= WORKERS, "all workers")
        started = self.folder / "occupied"
        for number in range(WORKERS):
            self.gates.append(self.folder / f"gate{number}")
            payload = {"started": str(started), "gate": str(self.gates[-1])}
            self.occupying.append(self.ask(f"occupy{number}", "test.gated", priority=-1000, payload=payload))
        await lines_in(started, WORKERS)

    async def release(self) -> None:
        """Open all gates, and wait until everybody has gone through."""
        for gate in self.gates:
            gate.touch()
        await asyncio.gather(*self.occupying, return_exceptions=True)
