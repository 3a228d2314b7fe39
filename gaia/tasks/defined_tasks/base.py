"""Interfaces of a task and of the services that a task uses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gaia.validator.utils.identities import MinerJobId

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
    from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit


class Clock(Protocol):
    """The calendar: the real one, or the simulated one of a rehearsal."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        ...

    async def idle_until(self, moment: datetime | None) -> None:
        """Tell the clock that nothing is due before `moment`; a simulated clock jumps there."""
        ...


class UnitRunner(Protocol):
    """Runs units of work in processes that may die."""

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        """Run `unit`; return its result, which may be a `Failure`; never raise because of the unit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOffer:
    """A miner's answer to the request for a forecast."""

    accepted: bool
    job_id: MinerJobId
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAccess:
    """Address of a finished forecast, and a token to read it."""

    url_path: str
    """Absolute path on the miner's server, without scheme, host or query."""
    manifest_sha256: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedManifest:
    """The miner's manifest and signature, as received."""

    content: bytes
    signature: bytes


class Miners(Protocol):
    """Sends signed requests to miners, with bounded answers and one deadline per call.

    Every method raises `MinerUnreachable` if no valid answer came in time, and `MinerFault` if
    the answer breaks the protocol.
    """

    async def request_forecast(self, miner: Neuron, init_time: datetime) -> JobOffer: ...

    async def forecast_ready(self, miner: Neuron, job_id: MinerJobId) -> bool:
        """Return whether the forecast can be read; raise `MinerFault` if the job failed."""
        ...

    async def open_store(self, miner: Neuron, job_id: MinerJobId) -> StoreAccess: ...

    async def fetch_manifest(self, miner: Neuron, access: StoreAccess) -> SignedManifest: ...

    async def fetch_files(
        self, miner: Neuron, access: StoreAccess, paths: Sequence[str], directory: Path
    ) -> int:
        """Download each of `paths` (relative to the store) to `directory`; return the bytes received.

        A file that exists is not downloaded again. A path that the miner answers with 404 raises
        `MinerFault`.
        """
        ...


class GfsArchive(Protocol):
    """Source of GFS fields."""

    async def fetch(
        self, init_time: datetime, lead_hours: int, fields: Sequence[str], destination: Path
    ) -> None:
        """Write the GRIB2 messages of `fields` to `destination`, atomically.

        Raises `NotYetAvailable` before publication, and `TransientError` on any other failure.
        """
        ...


class Era5Archive(Protocol):
    """Source of ERA5 fields."""

    async def fetch(self, valid_time: datetime, fields: Sequence[str], destination: Path) -> None:
        """Write the ERA5 GRIB messages of `fields` at `valid_time` to `destination`, atomically."""
        ...


class ClimatologyArchive(Protocol):
    """Source of the climatology."""

    async def fetch(self, valid_time: datetime, fields: Sequence[str], directory: Path) -> None:
        """Mirror the zarr metadata and the chunks that hold `valid_time` to `directory`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """The clients of all data sources."""

    gfs: GfsArchive
    era5: Era5Archive
    climatology: ClimatologyArchive


class MetagraphView(Protocol):
    """Read access to the newest metagraph."""

    def latest(self) -> Metagraph | None:
        """Return the newest metagraph read, or None before the first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCopies:
    """Overlaps of the forecasts of some runs."""

    pairs: Sequence[tuple[str, str, float]]
    """Two hotkeys and their overlap, in (0, 1]."""
    committed: Mapping[str, int]
    """Hotkey -> the polling round in which it usually commits; 0 is the first."""
    products: Sequence[tuple[str, int, str]]
    """Run, lead in hours and sha256 of each Gram matrix from which `pairs` were computed."""


class CopyFinder(Protocol):
    """Finds forecasts that share work."""

    async def find(
        self,
        members: Mapping[str, Collection[str]],
        earning: Sequence[str],
        renamed: Mapping[str, Mapping[str, str]],
    ) -> FoundCopies:
        """Return the overlaps of the `earning` hotkeys in the runs of `members` (run -> hotkeys that count).

        `renamed` tells by run which hotkeys have other names by now, in `members` and `earning`.

        Raises `NotYetAvailable` while they are not computed yet.
        """
        ...


class GaiaTask(ABC):
    """A competition of the subnet, such as weather forecasts."""

    name: str

    @abstractmethod
    async def advance(self, now: datetime) -> datetime | None:
        """Do what is due at `now`; return the next due moment, if known.

        Long work may continue after the return; the next due moment is then `now`.
        """

    async def close(self) -> None:  # noqa: B027 - a task may have nothing to finish
        """Start nothing more, and wait for the work in progress; if cancelled, end it at once."""
