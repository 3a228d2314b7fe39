"""What a task is, and what it may ask of the process that runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gaia.validator.utils.identities import MinerJobId

if TYPE_CHECKING:
    from gaia.validator.utils.ipc_types import Metagraph, Neuron, ResultUnit, WorkUnit


class Clock(Protocol):
    """The calendar: the real one, or one that a rehearsal advances."""

    def now(self) -> datetime:
        """Return the present, aware, in UTC."""
        ...

    async def idle_until(self, moment: datetime | None) -> None:
        """Say that nothing is due before `moment`; a simulated clock then jumps there."""
        ...


class UnitRunner(Protocol):
    """Runs units of work in processes that may die."""

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        """Run `unit` and return its result, a `Failure` included; never raises for the unit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOffer:
    """A miner's answer to the request for a forecast."""

    accepted: bool
    job_id: MinerJobId
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAccess:
    """Where a finished forecast is served, and the right to read it."""

    url_path: str
    """Absolute path on the miner's server, without scheme, host or query."""
    manifest_sha256: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedManifest:
    """The miner's commitment, as received."""

    content: bytes
    signature: bytes


class Miners(Protocol):
    """Speaks to miners: signed, bounded, one deadline per call.

    Every method raises `MinerUnreachable` when no valid answer came in time
    and `MinerFault` when the answer breaks the protocol.
    """

    async def request_forecast(self, miner: Neuron, init_time: datetime) -> JobOffer: ...

    async def forecast_ready(self, miner: Neuron, job_id: MinerJobId) -> bool:
        """True once the forecast can be read; raises `MinerFault` when the job failed."""
        ...

    async def open_store(self, miner: Neuron, job_id: MinerJobId) -> StoreAccess: ...

    async def fetch_manifest(self, miner: Neuron, access: StoreAccess) -> SignedManifest: ...

    async def fetch_files(
        self, miner: Neuron, access: StoreAccess, paths: Sequence[str], directory: Path
    ) -> int:
        """Store each of `paths` (relative to the store) below `directory`; return the bytes fetched.

        A file that is already there is not fetched again. A path the miner
        answers with 404 raises `MinerFault`.
        """
        ...


class GfsArchive(Protocol):
    async def fetch(
        self, init_time: datetime, lead_hours: int, fields: Sequence[str], destination: Path
    ) -> None:
        """Write the GRIB2 messages of `fields` to `destination`, atomically.

        Raises `NotYetAvailable` before publication, `TransientError` on any other failure.
        """
        ...


class Era5Archive(Protocol):
    async def fetch(self, valid_time: datetime, fields: Sequence[str], destination: Path) -> None:
        """Write the ERA5 GRIB messages of `fields` at `valid_time` to `destination`, atomically."""
        ...


class ClimatologyArchive(Protocol):
    async def fetch(self, valid_time: datetime, fields: Sequence[str], directory: Path) -> None:
        """Mirror below `directory` the zarr metadata and the chunks that hold `valid_time`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """The sources of truth, one client each."""

    gfs: GfsArchive
    era5: Era5Archive
    climatology: ClimatologyArchive


class MetagraphView(Protocol):
    def latest(self) -> Metagraph | None:
        """Return the newest metagraph read, or None before the first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCopies:
    """What is known of forecasts of some runs that are the same work."""

    pairs: Sequence[tuple[str, str, float]]
    """Each two hotkeys that share work, with how much of it, in (0, 1]."""
    committed: Mapping[str, int]
    """Hotkey -> when it usually binds itself: the round of questions, 0 being the first."""
    products: Sequence[tuple[str, int, str]]
    """Run, lead in hours and sha256 of what `pairs` were found from."""


class CopyFinder(Protocol):
    """Knows who shares work with whom."""

    async def find(self, members: Mapping[str, Collection[str]], earning: Sequence[str]) -> FoundCopies:
        """Return what those who are `earning` share in some runs (run -> hotkeys that count in it).

        Raises `NotYetAvailable` while that is still being found out.
        """
        ...


class GaiaTask(ABC):
    """Something the subnet pays for."""

    name: str

    @abstractmethod
    async def advance(self, now: datetime) -> datetime | None:
        """Do whatever is due at `now`; return when something will next be due, if known.

        What takes long may go on after the return; the answer is then `now`.
        """

    async def close(self) -> None:  # noqa: B027 - a task may have nothing in hand
        """Begin nothing more; return once what is in hand has ended. Cancelled: end it at once."""
