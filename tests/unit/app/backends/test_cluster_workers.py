"""What the ledger learns of a cluster's workers, without a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gaia.validator.app.backends.cluster_workers import Attempt, Workers
from gaia.validator.app.pool.job_events import Assign, Dismiss, Kill
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.app.pool.scheduler import HandsCommand, Scheduler
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import ResultUnit
from tests.support.builders import a_unit
from tests.support.job_queues import answer_of

ADDRESS, OTHER = "tcp://10.0.0.1:4711", "tcp://10.0.0.2:4711"


class Cluster:
    """Hands over workers that do nothing by themselves."""

    def __init__(self) -> None:
        self.ledger = JobLedger(crash_limit=3)
        self.scheduler = Scheduler(self.ledger, self)
        self.workers = Workers(self.scheduler.tell)
        self.assigned: list[Assign] = []

    def carry_out(self, command: HandsCommand) -> None:
        match command:
            case Assign(worker, unit):
                self.assigned.append(command)
                self.workers.member(worker).attempt = Attempt(unit, f"{unit.job_id}:{len(self.assigned)}")
            case Dismiss(worker):
                self.workers.dismiss(worker)
            case Kill(worker, _):
                self.workers.condemn(self.workers.member(worker))

    async def ask(self, name: str = "job") -> asyncio.Task[ResultUnit]:
        asked = asyncio.create_task(self.scheduler.dispatch_and_wait(a_unit(name)))
        await asyncio.sleep(0)
        return asked

    def answer(self, name: str = "job") -> None:
        """Answer the attempt that is under way at that job."""
        (holder,) = (
            each for each in self.workers.holders if each.attempt and each.attempt.unit.job_id == name
        )
        assert holder.attempt is not None
        unit = holder.attempt.unit
        self.workers.answered(holder, ResultUnit(job_id=unit.job_id, attempt=unit.attempt, value={}))

    async def lose(self, address: str, *, is_expected: bool = False, is_at_it: bool = True) -> None:
        """Remove the worker at `address`, and take in what became of its attempt."""
        (holder,) = (each for each in self.workers.holders if each.address == address)
        assert holder.attempt is not None
        attempt = holder.attempt
        self.workers.remove(address, [attempt.key] if is_at_it else [], is_expected=is_expected)
        self.workers.lost(holder, await attempt.lost)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.ledger.check()


async def test_worker_that_is_admitted_gets_one_unit_after_another(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    first, second = await cluster.ask("first"), await cluster.ask("second")
    cluster.answer("first")
    cluster.answer("second")

    assert (await answer_of(first)).succeeded
    assert (await answer_of(second)).succeeded
    assert len({command.worker for command in cluster.assigned}) == 1
    assert cluster.workers.usable == 1


async def test_each_death_at_an_address_that_is_used_again_is_counted(cluster: Cluster) -> None:
    asked = await cluster.ask()
    for _ in range(3):
        cluster.workers.admit(ADDRESS)
        await cluster.lose(ADDRESS)

    result = await answer_of(asked)
    assert result.failure is not None
    assert result.failure.error_type == "QuarantinedError"
    assert result.failure.message.count(f"the worker at {ADDRESS} died") == 3
    assert len({command.worker for command in cluster.assigned}) == 3


@pytest.mark.parametrize(("is_expected", "is_at_it"), [(True, True), (False, False)])
async def test_worker_that_left_in_good_order_or_without_the_unit_blames_nobody(
    cluster: Cluster, is_expected: bool, is_at_it: bool
) -> None:
    await cluster.ask()
    cluster.workers.admit(ADDRESS)

    await cluster.lose(ADDRESS, is_expected=is_expected, is_at_it=is_at_it)

    assert cluster.ledger.crashes.by_job[JobId("job")].crashes == 0
    assert cluster.ledger.waiting == 1


async def test_worker_that_is_withdrawn_ends_its_unit_and_gets_no_other(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    asked, _ = await cluster.ask("first"), await cluster.ask("second")
    cluster.workers.keep_only(set(), {ADDRESS})
    assert (cluster.workers.usable, cluster.ledger.busy) == (0, 1)

    cluster.answer("first")

    assert (await answer_of(asked)).succeeded
    assert (cluster.ledger.waiting, cluster.ledger.busy) == (1, 0)


async def test_worker_that_is_admitted_anew_with_its_unit_keeps_it(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    asked, _ = await cluster.ask("first"), await cluster.ask("second")
    cluster.workers.withdraw_all()
    cluster.workers.admit(ADDRESS)

    cluster.answer("first")

    assert (await answer_of(asked)).attempt == 1
    assert [command.unit.job_id for command in cluster.assigned] == ["first", "second"]


async def test_answer_of_a_worker_that_is_gone_counts_and_brings_it_nothing(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    asked, _ = await cluster.ask("first"), await cluster.ask("second")
    cluster.workers.remove(ADDRESS, [], is_expected=True)

    cluster.answer("first")

    assert (await answer_of(asked)).succeeded
    assert cluster.ledger.waiting == 1


async def test_idle_worker_that_is_gone_gets_nothing(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    cluster.workers.remove(ADDRESS, [], is_expected=False)
    await cluster.ask()
    assert cluster.ledger.waiting == 1

    cluster.workers.admit(OTHER)

    assert cluster.ledger.busy == 1


async def test_worker_that_nothing_kills_gets_no_unit_until_its_own_has_ended(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    (await cluster.ask("first")).cancel()
    await cluster.ask("second")
    (holder,) = cluster.workers.holders
    cluster.workers.spare(holder)
    assert ADDRESS in cluster.workers.seen
    assert cluster.workers.usable == 0

    cluster.answer("first")
    assert ADDRESS not in cluster.workers.seen
    assert cluster.ledger.busy == 0
    cluster.workers.admit(ADDRESS)

    assert cluster.assigned[-1].unit.job_id == "second"


async def test_answer_that_crosses_the_kill_leaves_the_worker_to_its_death(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    (await cluster.ask("first")).cancel()
    await cluster.ask("second")

    cluster.answer("first")

    assert ADDRESS in cluster.workers.seen
    assert (cluster.ledger.waiting, cluster.ledger.busy) == (1, 0)
    cluster.workers.remove(ADDRESS, [], is_expected=False)
    assert ADDRESS not in cluster.workers.seen


async def test_holder_that_the_scheduler_names_no_more_is_lost_after_a_while(cluster: Cluster) -> None:
    cluster.workers.admit(ADDRESS)
    await cluster.ask()
    (holder,) = cluster.workers.holders
    assert holder.attempt is not None

    holder.note_presence(is_there=False, patience_s=0.0)
    assert not holder.attempt.lost.done()
    holder.note_presence(is_there=True, patience_s=0.0)
    holder.note_presence(is_there=False, patience_s=0.0)
    assert not holder.attempt.lost.done()
    holder.note_presence(is_there=False, patience_s=0.0)

    assert not holder.attempt.lost.result().is_crash


async def test_worker_that_was_refused_may_be_inspected_again_once_it_has_been_away(cluster: Cluster) -> None:
    cluster.workers.refused[ADDRESS] = "other code"
    assert ADDRESS in cluster.workers.seen

    cluster.workers.keep_only(set(), set())

    assert cluster.workers.seen == set()
