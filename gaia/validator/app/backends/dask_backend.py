"""Units on a cluster of Dask workers: the same frames, the same handlers, one unit per worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import structlog

from gaia.validator.app.backends.cluster_workers import Attempt, Workers
from gaia.validator.app.backends.protocols import AttemptLost, Capability
from gaia.validator.app.backends.remote import describe_site, end_worker, execute_unit, is_guarding
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.ipc_types import Failure, FrameReader, ResultUnit, WorkUnit, encode_frame

log = structlog.get_logger(__name__)

_SURVEY_EVERY_S = 1.0
_NURSING_S = 0.05
"""How soon to look again at a worker that its nanny does not guard yet."""
_PROBE = "cluster-probe"
_UNHEARD = (OSError, TimeoutError)
"""What the library raises while the scheduler or a worker can't be reached."""


class DaskBackend:
    """A `ComputeBackend` that hands attempts to the workers of a Dask scheduler.

    Each attempt is sent to one idle worker that we choose, and to no other: so a crash is
    blamed on the unit that was there, Dask never repeats one by itself, and who is lost is
    known from the scheduler's own event rather than from a timer.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://scheduler:8786``.
    data_dir
        Absolute path of the folder that units' paths are in; workers must see it under the same name.
    handlers
        Module whose ``resolve(name)`` returns the handler of that name.
    memory_mib
        A unit that allocates more gets a `MemoryError`; 0: no limit.
    resources
        Only workers that offer these Dask resources are used.
    timeout_s
        Longest wait for the scheduler.
    """

    capabilities = frozenset({Capability.SURVIVES_CRASH, Capability.KILL_RUNNING, Capability.MEMORY_LIMIT})

    def __init__(
        self,
        address: str,
        data_dir: Path,
        *,
        handlers: str = HANDLERS,
        memory_mib: int = 0,
        resources: Mapping[str, float] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._address = address
        self._handlers = handlers
        self._memory_mib = memory_mib
        self._resources = dict(resources or {})
        self._timeout_s = timeout_s
        self._session = secrets.token_hex(4)
        self._probe = data_dir / f"{_PROBE}-{self._session}"
        self._workers = Workers()
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._survey_due = asyncio.Event()
        self._link: Any = None
        """The client's connection that brings the scheduler's events."""
        self._changed: Callable[[], None] = lambda: None
        self._client: Any = None  # the library is imported only where it is used, and typed in part
        self._keeping: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self, changed: Callable[[], None]) -> None:
        """Find the scheduler and its workers.

        Raises
        ------
        ConfigurationError
            If the library is not installed, no scheduler answers, or it has workers and
            none of them sees our files and runs our code.
        """
        self._changed = changed
        self._probe.parent.mkdir(parents=True, exist_ok=True)
        self._probe.write_text(self._session)
        try:
            await self._connect()
            await self._survey()
        except _UNHEARD as error:
            await self.close()
            problem = f"no scheduler answers at {self._address}"
            raise ConfigurationError("GAIA_DASK_SCHEDULER", problem, "start one there") from error
        if self._workers.refused and not self._workers.known:
            problem = next(iter(self._workers.refused.values()))
            await self.close()
            remedy = "read docs/how-to/run-on-a-cluster.md"
            raise ConfigurationError("GAIA_DASK_SCHEDULER", problem, remedy)
        self._keeping = asyncio.create_task(self._keep())

    def capacity(self) -> int:
        """Return how many workers there are that we may use."""
        return len(self._workers.known)

    async def run(self, unit: WorkUnit) -> ResultUnit:
        """Run one attempt on an idle worker, once there is one."""
        try:
            frame = encode_frame(unit)
        except (TypeError, ValueError) as error:
            return ResultUnit(job_id=unit.job_id, attempt=unit.attempt, failure=Failure.of(error))
        attempt = Attempt(await self._workers.seize())
        self._attempts[unit.job_id, unit.attempt] = attempt
        self._workers.held[attempt.address] = attempt
        try:
            return await self._answer(unit, frame, attempt)
        finally:
            del self._attempts[unit.job_id, unit.attempt]
            self._workers.free(attempt.address)
            self._changed()

    async def cancel(self, job_id: str, attempt: int) -> bool:
        """Have the nanny kill the worker that has the attempt; False: there is none to do it."""
        held = self._attempts.get((job_id, attempt))
        if held is None or self._client is None:
            return False
        self._workers.condemn(held.address)
        try:
            ended = await self._client.run(end_worker, workers=[held.address], nanny=True, on_error="return")
        except (*_UNHEARD, KeyError):
            ended = {}  # it has gone by itself, or the scheduler has
        if not any(outcome is True for outcome in ended.values()) and not held.lost.done():
            # Its watchdog will end it at the deadline.
            self._workers.pardon(held.address)
            self._changed()
            return False
        held.lose("cancelled", is_crash=False)
        return True

    async def close(self) -> None:
        """Cancel what runs and leave the cluster as it was."""
        self._is_closed = True
        if self._keeping is not None:
            self._keeping.cancel()  # the library may swallow it
            await asyncio.gather(self._keeping, return_exceptions=True)
        await asyncio.gather(*(self.cancel(*key) for key in list(self._attempts)))
        for attempt in self._attempts.values():
            attempt.lose("the backend was closed", is_crash=False)
        # One turn of the loop, in which they let their workers go.
        await asyncio.sleep(0)
        self._workers.clear()
        if self._client is not None:
            if self._link is not None and self._client.status == "running":
                self._client.unsubscribe_topic("all")
            await self._client.close()
            self._client = None
        self._probe.unlink(missing_ok=True)

    async def _answer(self, unit: WorkUnit, frame: bytes, attempt: Attempt) -> ResultUnit:
        from distributed import KilledWorker

        future = self._client.submit(
            execute_unit,
            frame,
            self._handlers,
            self._memory_mib,
            key=f"{unit.handler}-{self._session}:{unit.job_id}:{unit.attempt}",
            pure=False,
            retries=0,
            priority=-unit.priority,
            workers=[attempt.address],
            allow_other_workers=False,
            resources=self._resources or None,
        )
        attempt.key = str(future.key)
        answer: asyncio.Future[Any] = asyncio.ensure_future(_result_of(future))
        either: set[asyncio.Future[Any]] = {answer, attempt.lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise attempt.lost.result()
            results: FrameReader[ResultUnit] = FrameReader(ResultUnit)
            (result,) = results.feed(answer.result())
        except KilledWorker as error:
            raise AttemptLost(f"the worker at {attempt.address} died") from error
        except CancelledError as error:
            # Whoever was there is not known to its successor, or not yet.
            self._workers.clear()
            self._survey_due.set()
            raise AttemptLost("the scheduler went away", is_crash=False) from error
        finally:
            if not answer.done():
                answer.cancel()
                with contextlib.suppress(*_UNHEARD):
                    await self._client.cancel([future], force=True)
        return result

    async def _connect(self) -> None:
        distributed = _library()
        client = distributed.Client(
            self._address, asynchronous=True, set_as_default=False, timeout=self._timeout_s
        )
        try:
            await client
        except BaseException:
            await client.close()
            raise
        self._client, self._link = client, None

    async def _keep(self) -> None:
        """Know who is there: at once when the scheduler tells, else once a second."""
        while not self._is_closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SURVEY_EVERY_S):
                    await self._survey_due.wait()
            self._survey_due.clear()
            try:
                if self._client is None or self._client.status == "closed":
                    await self._connect()
                await self._survey()
            except _UNHEARD as error:
                if self._workers.known:
                    log.warning("cluster_unreachable", scheduler=self._address, error=str(error))
                self._workers.clear()
                self._changed()

    async def _survey(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            identity = await self._client.scheduler.identity()
        link = self._client.scheduler_comm
        if link is None:
            raise TimeoutError("the scheduler has not taken us back yet")
        if link is not self._link:
            self._client.subscribe_topic("all", self._hear)
            self._link = link
            self._workers.clear()
        fitting = {address for address, worker in identity["workers"].items() if self._is_fit(worker)}
        self._workers.keep_only(fitting)
        for attempt in list(self._workers.held.values()):
            # The event of a loss may have been missed while the connection was down.
            attempt.note_presence(
                is_there=attempt.address in identity["workers"], patience_s=2 * _SURVEY_EVERY_S
            )
        strangers = sorted(fitting - self._workers.seen)
        if strangers:
            nursed = [address for address in strangers if identity["workers"][address]["nanny"]]
            await self._inspect(strangers, nursed)
        self._changed()

    def _is_fit(self, worker: Mapping[str, Any]) -> bool:
        offers = worker["resources"]
        has_ours = all(offers.get(name, 0) >= amount for name, amount in self._resources.items())
        # The others are on their way out, or short of memory.
        return has_ours and worker["status"] == "running"

    async def _inspect(self, strangers: list[str], nursed: list[str]) -> None:
        """Admit the workers that see our files and run our code; those of a nanny once she guards them."""
        expected = [self._session, *describe_site(str(self._probe))[1:]]
        async with asyncio.timeout(self._timeout_s):
            try:
                guarded = await self._client.run(is_guarding, workers=nursed, nanny=True, on_error="return")
            except KeyError:
                return  # one of them has left since
            sites = await self._client.run(
                describe_site, str(self._probe), workers=strangers, on_error="return"
            )
        for address, site in sites.items():
            if guarded.get(address, True) is not True:
                asyncio.get_running_loop().call_later(_NURSING_S, self._survey_due.set)
            elif site == expected:
                self._workers.admit(address)
            else:
                self._refuse(address, site, expected)

    def _refuse(self, address: str, site: Any, expected: list[str]) -> None:
        has = site[1:] if isinstance(site, list) else site
        if has == expected[1:]:
            problem = f"the worker at {address} does not see the folder {self._probe.parent}"
        else:
            problem = f"the worker at {address} does not run our code: it has {has}, we {expected[1:]}"
        self._workers.refused[address] = problem
        log.error("cluster_worker_refused", worker=address, problem=problem)

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take in what the scheduler tells all who listen."""
        _, message = event
        if message.get("action") == "add-worker":
            self._survey_due.set()
        elif message.get("action") == "remove-worker":
            address = message["worker"]
            attempt = self._workers.held.get(address)
            if attempt is not None:
                was_there = attempt.key in message.get("processing-tasks", ())
                is_crash = was_there and not message.get("expected", False)
                attempt.lose(f"the worker at {address} {'died' if is_crash else 'left'}", is_crash=is_crash)
            self._workers.drop(address)
            self._changed()


async def _result_of(future: Any) -> bytes:
    result: bytes = await future
    return result


def _library() -> Any:
    """Import distributed, and have it log as the rest of us does.

    Raises
    ------
    ConfigurationError
        If it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        problem = "is dask, but the library distributed is not installed"
        raise ConfigurationError("GAIA_COMPUTE_BACKEND", problem, "install requirements/dask.lock") from error
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.WARNING)
    return distributed
