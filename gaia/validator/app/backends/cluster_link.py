"""Connection to a Dask scheduler, and a survey of the workers that can run our units."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gaia.validator.app.backends.remote import describe_site, end_worker, is_guarding
from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from gaia.validator.app.backends.cluster_workers import Workers

log = structlog.get_logger(__name__)
_security = structlog.get_logger("security")

UNHEARD = (OSError, TimeoutError)
"""Errors of the library while the scheduler or a worker cannot be reached."""

_SURVEY_EVERY_S = 1.0
_NURSING_S = 0.05
"""Seconds until a worker without a guarding nanny is checked again."""
_PROBE = "cluster-probe"


class ClusterLink:
    """Keeps `workers` in agreement with the scheduler at `address`.

    Parameters
    ----------
    address
        Address of the scheduler, such as ``tcp://scheduler:8786``.
    data_dir
        Absolute path of the folder with the files of units; workers must have it at the same path.
    workers
        Gets the workers that come and go.
    resources
        Only workers that offer these Dask resources are used.
    timeout_s
        Time limit for answers of the scheduler.
    """

    def __init__(
        self,
        address: str,
        data_dir: Path,
        workers: Workers,
        *,
        resources: Mapping[str, float],
        timeout_s: float,
    ) -> None:
        self._address = address
        self._workers = workers
        self._resources = resources
        self._timeout_s = timeout_s
        self.session = secrets.token_hex(4)
        """Name that no other validator and no earlier engine has used."""
        self._probe = data_dir / f"{_PROBE}-{self.session}"
        self._survey_due = asyncio.Event()
        self._comm: Any = None
        """The client's connection that brings the scheduler's events."""
        self.client: Any = None  # the library is imported only where it is used, and typed in part
        """Client of the library; None if there is none."""
        self._keeping: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Connect to the scheduler, find its workers, and keep watching.

        Raises
        ------
        ConfigurationError
            If the library is not installed or no scheduler answers. Also if it has workers, but
            none that has our files and our code.
        """
        self._probe.parent.mkdir(parents=True, exist_ok=True)
        self._probe.write_text(self.session)
        try:
            await self._connect()
            await self._survey()
        except UNHEARD as error:
            await self.close()
            problem = f"no scheduler answers at {self._address}"
            raise ConfigurationError("GAIA_DASK_SCHEDULER", problem, "start one there") from error
        if self._workers.refused and not self._workers.usable:
            problem = next(iter(self._workers.refused.values()))
            await self.close()
            remedy = "read docs/how-to/run-on-a-cluster.md"
            raise ConfigurationError("GAIA_DASK_SCHEDULER", problem, remedy)
        self._keeping = asyncio.create_task(self._keep())

    async def stop_looking(self) -> None:
        """Stop watching; the connection stays."""
        self._is_closed = True
        if self._keeping is not None:
            self._keeping.cancel()  # the library may swallow it
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def close(self) -> None:
        """Disconnect, and leave nothing on the cluster."""
        await self.stop_looking()
        if self.client is not None:
            if self._comm is not None and self.client.status == "running":
                self.client.unsubscribe_topic("all")
            await self.client.close()
            self.client = None
        self._probe.unlink(missing_ok=True)

    def survey_soon(self) -> None:
        """Check the workers at once, instead of within a second."""
        self._survey_due.set()

    async def kill(self, address: str) -> bool:
        """Let the nanny kill the worker at `address`; return False if there is no nanny, or it cannot be reached."""
        if self.client is None:
            return False
        try:
            ended = await self.client.run(end_worker, workers=[address], nanny=True, on_error="return")
        except (*UNHEARD, KeyError):
            return False  # the worker or the scheduler has ended
        return any(outcome is True for outcome in ended.values())

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
        self.client, self._comm = client, None

    async def _keep(self) -> None:
        """Check the workers after each event of the scheduler, else once a second."""
        while not self._is_closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SURVEY_EVERY_S):
                    await self._survey_due.wait()
            self._survey_due.clear()
            try:
                if self.client is None or self.client.status == "closed":
                    await self._connect()
                await self._survey()
            except UNHEARD as error:
                if self._workers.usable:
                    log.warning("cluster_unreachable", scheduler=self._address, error=str(error))
                self._workers.withdraw_all()

    async def _survey(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            identity = await self.client.scheduler.identity()
        comm = self.client.scheduler_comm
        if comm is None:
            raise TimeoutError("the scheduler has not taken us back yet")
        if comm is not self._comm:
            self.client.subscribe_topic("all", self._hear)
            self._comm = comm
            self._workers.withdraw_all()
        present = identity["workers"]
        fitting = {address for address, worker in present.items() if self._is_fit(worker)}
        self._workers.keep_only(fitting, set(present))
        for holder in self._workers.holders:
            # The event of a loss may be missed while the connection is down.
            holder.note_presence(is_there=holder.address in present, patience_s=2 * _SURVEY_EVERY_S)
        strangers = sorted(fitting - self._workers.seen)
        if strangers:
            nursed = [address for address in strangers if present[address]["nanny"]]
            await self._inspect(strangers, nursed)

    def _is_fit(self, worker: Mapping[str, Any]) -> bool:
        offers = worker["resources"]
        has_ours = all(offers.get(name, 0) >= amount for name, amount in self._resources.items())
        # The others are about to leave, or short of memory.
        return has_ours and worker["status"] == "running"

    async def _inspect(self, strangers: list[str], nursed: list[str]) -> None:
        """Admit the workers that have our files and our code, and that a nanny, if any, guards."""
        expected = [self.session, *describe_site(str(self._probe))[1:]]
        async with asyncio.timeout(self._timeout_s):
            try:
                guarded = await self.client.run(is_guarding, workers=nursed, nanny=True, on_error="return")
            except KeyError:
                return  # one of them has left since
            sites = await self.client.run(
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
        _security.error("cluster_worker_refused", worker=address, problem=problem)

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Process an event that the scheduler sends to all listeners."""
        _, message = event
        if message.get("action") == "add-worker":
            self._survey_due.set()
        elif message.get("action") == "remove-worker":
            running, is_expected = message.get("processing-tasks", ()), message.get("expected", False)
            self._workers.remove(message["worker"], running, is_expected=is_expected)


def _library() -> Any:
    """Return the library distributed, which then logs like the rest of the process.

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
