"""Wrappers that count and time what goes to miners, data sources and the chain."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from gaia.tasks.defined_tasks.base import Archives
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.validator.app.observation.registry import counter, gauge, histogram
from gaia.validator.core.weights.committing import CommitSigner
from gaia.validator.utils.errors import (
    GaiaError,
    MinerFault,
    MinerUnreachable,
    NotYetAvailable,
    OwnFailure,
    TransientError,
)
from gaia.validator.utils.identities import MinerJobId

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import (
        ClimatologyArchive,
        Era5Archive,
        GfsArchive,
        JobOffer,
        Miners,
        SignedManifest,
        StoreAccess,
    )
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
    from gaia.validator.utils.signer_messages import (
        CommitAsked,
        CommitsRead,
        JournalledVector,
        SealedWeights,
        WeightsCommitted,
        WeightsRead,
        WeightsSet,
    )

T = TypeVar("T")

_OK: Final = "ok"
_CALLS: Final = ("request_forecast", "forecast_ready", "open_store", "fetch_manifest", "fetch_files")
_BLAMES: Final = tuple(kind.__name__ for kind in (MinerFault, MinerUnreachable, OwnFailure))

_MINER_REQUESTS = counter(
    "gaia_miner_requests_total",
    "Requests to miners, by call and outcome.",
    call=_CALLS,
    outcome=(_OK, *_BLAMES),
)
_MINER_SECONDS = histogram(
    "gaia_miner_request_seconds",
    "Seconds of a request to a miner with its waits for a free slot, by call.",
    (1.0, 10.0, 60.0),
    call=_CALLS,
)
_SOURCE_REQUESTS = counter(
    "gaia_source_requests_total",
    "Requests for a set to a data source, by outcome: not_yet means not published, or still in its queue.",
    source=list(ReferenceSource),
    outcome=(_OK, "not_yet", "failed"),
)
_SOURCE_SECONDS = counter(
    "gaia_source_request_seconds_total",
    "Seconds of requests for sets to a data source.",
    source=list(ReferenceSource),
)
_CHAIN_FAILURES = counter(
    "gaia_substrate_failures_total", "Readings of the chain and submissions to it that failed."
)
_CHAIN_STATUS = gauge("gaia_substrate_connection_status", "1 if the last reading of the chain succeeded.")


class CountedMiners:
    """Forwards requests to miners, and counts and times them."""

    def __init__(self, miners: Miners) -> None:
        self._miners = miners

    async def request_forecast(self, miner: Neuron, init_time: datetime) -> JobOffer:
        return await _counted("request_forecast", self._miners.request_forecast(miner, init_time))

    async def forecast_ready(self, miner: Neuron, job_id: MinerJobId) -> bool:
        return await _counted("forecast_ready", self._miners.forecast_ready(miner, job_id))

    async def open_store(self, miner: Neuron, job_id: MinerJobId) -> StoreAccess:
        return await _counted("open_store", self._miners.open_store(miner, job_id))

    async def fetch_manifest(self, miner: Neuron, access: StoreAccess) -> SignedManifest:
        return await _counted("fetch_manifest", self._miners.fetch_manifest(miner, access))

    async def fetch_files(
        self, miner: Neuron, access: StoreAccess, paths: Sequence[str], directory: Path
    ) -> int:
        call = self._miners.fetch_files(miner, access, paths, directory)
        return await _counted("fetch_files", call)


async def _counted(call: str, answer: Awaitable[T]) -> T:
    """Count one request by its outcome; one that we cancelled has none."""
    began = time.monotonic()
    try:
        value = await answer
    except GaiaError as error:
        _MINER_REQUESTS.labels(call, _blame(error)).inc()
        raise
    else:
        _MINER_REQUESTS.labels(call, _OK).inc()
        return value
    finally:
        _MINER_SECONDS.labels(call).observe(time.monotonic() - began)


def _blame(error: GaiaError) -> str:
    """Return the outcome that `error` means; what no miner can cause is our own failure."""
    for kind in (MinerFault, MinerUnreachable):
        if isinstance(error, kind):
            return kind.__name__
    return OwnFailure.__name__


def counted(archives: Archives) -> Archives:
    """Return archives that forward requests to these, and count and time them."""
    return Archives(
        gfs=_CountedGfs(archives.gfs),
        era5=_CountedEra5(archives.era5),
        climatology=_CountedClimatology(archives.climatology),
    )


class _CountedGfs:
    def __init__(self, archive: GfsArchive) -> None:
        self._archive = archive

    async def fetch(
        self, init_time: datetime, lead_hours: int, fields: Sequence[str], destination: Path
    ) -> None:
        with _asking(ReferenceSource.GFS):
            await self._archive.fetch(init_time, lead_hours, fields, destination)


class _CountedEra5:
    def __init__(self, archive: Era5Archive) -> None:
        self._archive = archive

    async def fetch(self, valid_time: datetime, fields: Sequence[str], destination: Path) -> None:
        with _asking(ReferenceSource.ERA5):
            await self._archive.fetch(valid_time, fields, destination)


class _CountedClimatology:
    def __init__(self, archive: ClimatologyArchive) -> None:
        self._archive = archive

    async def fetch(self, valid_time: datetime, fields: Sequence[str], directory: Path) -> None:
        with _asking(ReferenceSource.CLIMATOLOGY):
            await self._archive.fetch(valid_time, fields, directory)


@contextmanager
def _asking(source: ReferenceSource) -> Iterator[None]:
    """Count one request by its outcome; one that we cancelled has none."""
    began = time.monotonic()
    try:
        yield
    except NotYetAvailable:
        _SOURCE_REQUESTS.labels(source, "not_yet").inc()
        raise
    except Exception:
        _SOURCE_REQUESTS.labels(source, "failed").inc()
        raise
    else:
        _SOURCE_REQUESTS.labels(source, _OK).inc()
    finally:
        _SOURCE_SECONDS.labels(source).inc(time.monotonic() - began)


class Chain(CommitSigner, Protocol):
    """Access to the chain, through the signer."""

    async def read_metagraph(self) -> Metagraph: ...

    async def read_weights(self) -> WeightsRead: ...

    async def check_update(self) -> int: ...

    async def set_weights(self, vector: JournalledVector, promised_block: int | None) -> WeightsSet: ...


class CountedChain:
    """Forwards requests to the chain, and counts those that fail; the status is that of the last reading."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def read_metagraph(self) -> Metagraph:
        return await self._reading(self._chain.read_metagraph())

    async def read_weights(self) -> WeightsRead:
        return await self._reading(self._chain.read_weights())

    async def check_update(self) -> int:
        return await self._writing(self._chain.check_update())

    async def set_weights(self, vector: JournalledVector, promised_block: int | None) -> WeightsSet:
        return await self._writing(self._chain.set_weights(vector, promised_block))

    async def seal_weights(self, vector: JournalledVector) -> SealedWeights:
        return await self._writing(self._chain.seal_weights(vector))

    async def commit_weights(self, vector: JournalledVector, sealed: SealedWeights) -> WeightsCommitted:
        return await self._writing(self._chain.commit_weights(vector, sealed))

    async def read_commits(self, commits: Sequence[CommitAsked]) -> CommitsRead:
        return await self._reading(self._chain.read_commits(commits))

    @staticmethod
    async def _writing(answer: Awaitable[T]) -> T:
        try:
            return await answer
        except TransientError:
            _CHAIN_FAILURES.inc()
            raise

    @staticmethod
    async def _reading(answer: Awaitable[T]) -> T:
        try:
            value = await answer
        except TransientError:
            _CHAIN_FAILURES.inc()
            _CHAIN_STATUS.set(0)
            raise
        _CHAIN_STATUS.set(1)
        return value
