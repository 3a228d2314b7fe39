"""Requests to miners, sources and the chain are counted by outcome and timed, and answered unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gaia.tasks.defined_tasks.base import Archives, JobOffer
from gaia.validator.app.observation.counted import CountedChain, CountedMiners, counted
from gaia.validator.app.observation.registry import REGISTRY
from gaia.validator.utils.errors import (
    ConfigurationError,
    DigestMismatch,
    MinerFault,
    MinerUnreachable,
    NotYetAvailable,
    OwnFailure,
    TransientError,
)
from gaia.validator.utils.identities import MinerJobId
from tests.support.builders import a_metagraph, a_neuron
from tests.support.subnet import vector

NOW = datetime(2026, 3, 25, tzinfo=UTC)
OFFER = JobOffer(accepted=True, job_id=MinerJobId("j"), message="")


class _Answers:
    """Stands for miners, archives and the chain: it answers, raises, or never ends."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def _give(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is Ellipsis:
            await asyncio.Event().wait()
        return self._answer

    async def request_forecast(self, miner: object, init_time: object) -> Any:
        return await self._give()

    async def fetch(self, *arguments: object) -> None:
        await self._give()

    async def read_metagraph(self) -> Any:
        return await self._give()

    async def set_weights(self, *arguments: object) -> Any:
        return await self._give()


def _sample(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None
    return value


def _requests(outcome: str) -> float:
    return _sample("gaia_miner_requests_total", call="request_forecast", outcome=outcome)


def _miners(answer: object) -> CountedMiners:
    answers: Any = _Answers(answer)
    return CountedMiners(answers)


async def test_answer_of_a_miner_is_returned_counted_and_timed() -> None:
    before = _requests("ok"), _sample("gaia_miner_request_seconds_count", call="request_forecast")

    assert await _miners(OFFER).request_forecast(a_neuron(), NOW) is OFFER

    after = _requests("ok"), _sample("gaia_miner_request_seconds_count", call="request_forecast")
    assert after == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MinerFault("liar"), "MinerFault"),
        (DigestMismatch("another file"), "MinerFault"),
        (MinerUnreachable("silent"), "MinerUnreachable"),
        (OwnFailure("signer"), "OwnFailure"),
        (ConfigurationError("GAIA_X", "is wrong", "correct it"), "OwnFailure"),
    ],
)
async def test_failed_request_is_counted_by_who_is_to_blame(error: Exception, outcome: str) -> None:
    before = _requests(outcome), _requests("ok")

    with pytest.raises(type(error)):
        await _miners(error).request_forecast(a_neuron(), NOW)

    assert (_requests(outcome), _requests("ok")) == (before[0] + 1, before[1])


async def test_request_that_we_cancelled_has_no_outcome() -> None:
    outcomes = ("ok", "MinerFault", "MinerUnreachable", "OwnFailure")
    before = [_requests(outcome) for outcome in outcomes]
    task = asyncio.create_task(_miners(...).request_forecast(a_neuron(), NOW))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait([task])

    assert [_requests(outcome) for outcome in outcomes] == before


def _archives(answer: object) -> Archives:
    answers: Any = _Answers(answer)
    return counted(Archives(gfs=answers, era5=answers, climatology=answers))


async def _ask(archives: Archives, source: str) -> None:
    fields: Sequence[str] = ["2t"]
    match source:
        case "gfs":
            await archives.gfs.fetch(NOW, 12, fields, Path("x"))
        case "era5":
            await archives.era5.fetch(NOW, fields, Path("x"))
        case _:
            await archives.climatology.fetch(NOW, fields, Path("x"))


@pytest.mark.parametrize("source", ["gfs", "era5", "climatology"])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(None, "ok"), (NotYetAvailable("ERA5", NOW), "not_yet"), (TransientError("503"), "failed")],
)
async def test_request_to_a_source_is_counted_by_outcome(source: str, answer: object, outcome: str) -> None:
    before = _sample("gaia_source_requests_total", source=source, outcome=outcome)

    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            await _ask(_archives(answer), source)
    else:
        await _ask(_archives(answer), source)

    assert _sample("gaia_source_requests_total", source=source, outcome=outcome) == before + 1
    assert _sample("gaia_source_request_seconds_total", source=source) > 0


def _chain(answer: object) -> CountedChain:
    answers: Any = _Answers(answer)
    return CountedChain(answers)


async def test_status_of_the_chain_follows_its_last_reading() -> None:
    metagraph = a_metagraph()
    failures = _sample("gaia_substrate_failures_total")

    with pytest.raises(TransientError):
        await _chain(TransientError("away")).read_metagraph()
    lost = _sample("gaia_substrate_connection_status"), _sample("gaia_substrate_failures_total")
    assert await _chain(metagraph).read_metagraph() is metagraph

    assert lost == (0, failures + 1)
    assert _sample("gaia_substrate_connection_status") == 1
    assert _sample("gaia_substrate_failures_total") == failures + 1


async def test_refused_weights_are_a_failure_but_no_lost_connection() -> None:
    await _chain(a_metagraph()).read_metagraph()
    failures = _sample("gaia_substrate_failures_total")

    with pytest.raises(TransientError):
        await _chain(TransientError("refused")).set_weights(vector(1, {1: 65535}), None)

    assert _sample("gaia_substrate_failures_total") == failures + 1
    assert _sample("gaia_substrate_connection_status") == 1
