"""One validator writes: a second one waits, takes over, and the first can write nothing any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from gaia.validator.db.access.lease import Holder, Lease, holder_of
from gaia.validator.db.connection import Database
from gaia.validator.db.failures import LeaseLost
from tests.support.patience import patience

LEASE_S = 1.0
ONE, TWO = Holder("one", "one:/data"), Holder("two", "two:/data")
WRITE = "INSERT INTO weight_inputs (sha256, content) VALUES ($1, '')"


def nobody(_: str) -> None:
    """Take no note of whom we wait for."""


@pytest.fixture
async def leases(database: Database, empty_dsn: str) -> AsyncIterator[Callable[[Holder], Lease]]:
    """Makes leases, each of a pool of its own, as another validator has."""
    made: list[Lease] = []

    def make(holder: Holder) -> Lease:
        pool = Database(database._open, database._open_alone, timeout_s=patience(5), pool_size=2)
        made.append(Lease(pool, holder, lease_s=LEASE_S))
        return made[-1]

    yield make
    for lease in made:
        await lease.release()
        await lease._database.close()


async def write(lease: Lease, key: str) -> None:
    async with lease._database.transaction() as connection:
        await connection.execute(WRITE, key)


async def silence(lease: Lease) -> None:
    """Renew the lease no more, as a holder that is stopped does not."""
    assert lease._keeping is not None
    lease._keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lease._keeping


async def test_second_validator_waits_while_the_first_renews_and_is_told_who_it_is(
    leases: Callable[[Holder], Lease],
) -> None:
    first, second = leases(ONE), leases(TWO)
    await first.take(nobody)
    told: list[str] = []
    taking = asyncio.create_task(second.take(told.append))

    await asyncio.sleep(2 * LEASE_S)

    assert not taking.done()
    assert (told, second.holder, second.seconds_left) == (["one:/data"], "one:/data", 0)
    first.require()
    with pytest.raises(LeaseLost):
        second.require()
    taking.cancel()


async def test_lease_that_is_given_back_passes_at_once(leases: Callable[[Holder], Lease]) -> None:
    first, second = leases(ONE), leases(TWO)
    await first.take(nobody)
    begun = time.monotonic()
    taking = asyncio.create_task(second.take(nobody))
    await first.release()

    await taking

    assert time.monotonic() - begun < patience(2.5)
    await write(second, "of two")


async def test_holder_that_was_paused_can_write_nothing_after_a_takeover(
    leases: Callable[[Holder], Lease],
) -> None:
    first, second = leases(ONE), leases(TWO)
    await first.take(nobody)
    await silence(first)
    await second.take(nobody)

    with pytest.raises(LeaseLost, match="another validator has taken the database over"):
        await write(first, "of one")
    async with first._database.reading() as connection:
        assert await connection.fetchval("SELECT count(*) FROM weight_inputs") == 0
    await write(second, "of two")


async def test_takeover_waits_for_a_write_that_is_under_way(leases: Callable[[Holder], Lease]) -> None:
    first, second = leases(ONE), leases(TWO)
    await first.take(nobody)
    await silence(first)

    async with first._database.transaction() as connection:
        await connection.execute(WRITE, "of one")
        taking = asyncio.create_task(second.take(nobody))
        await asyncio.sleep(2 * LEASE_S)
        assert not taking.done()

    await taking
    async with second._database.reading() as connection:
        assert await connection.fetchval("SELECT count(*) FROM weight_inputs") == 1


async def test_holder_that_learns_of_a_takeover_says_so_and_stops(leases: Callable[[Holder], Lease]) -> None:
    first, second = leases(ONE), leases(TWO)
    await first.take(nobody)
    lost = asyncio.Event()
    first.when_lost(lost.set)
    async with second._database.transaction() as connection:
        await connection.execute("UPDATE lease SET expires_at = 'epoch'")
        await connection.execute("UPDATE lease SET token = token + 1, holder = 'two'")

    async with asyncio.timeout(patience(5)):
        await lost.wait()

    assert (first.token, first.seconds_left) == (None, 0)


async def test_next_engine_of_the_same_folder_need_not_wait(leases: Callable[[Holder], Lease]) -> None:
    killed, successor = leases(ONE), leases(ONE)
    await killed.take(nobody)
    begun = time.monotonic()

    await successor.take(nobody)

    assert time.monotonic() - begun < patience(0.9)
    with pytest.raises(LeaseLost):
        await write(killed, "of the killed one")


async def test_outage_of_the_database_loses_nothing_unless_another_validator_takes_over(
    leases: Callable[[Holder], Lease], empty_dsn: str
) -> None:
    first = leases(ONE)
    await first.take(nobody)
    administrator = await asyncpg.connect(empty_dsn)
    table_locked = administrator.transaction()
    await table_locked.start()
    await administrator.execute("LOCK TABLE lease IN ACCESS EXCLUSIVE MODE")
    async with asyncio.timeout(patience(10)):
        while first.seconds_left > 0:
            await asyncio.sleep(0.05)
    with pytest.raises(LeaseLost, match="not known to be ours"):
        first.require()
    await table_locked.rollback()
    await administrator.close()

    async with asyncio.timeout(patience(10)):
        while first.seconds_left <= 0:
            await asyncio.sleep(0.05)

    await write(first, "of one")


async def test_reading_needs_no_lease_and_cannot_write(leases: Callable[[Holder], Lease]) -> None:
    first, second = leases(ONE), leases(TWO)
    await first.take(nobody)
    await silence(first)
    await second.take(nobody)

    async with first._database.reading() as connection:
        assert await connection.fetchval("SELECT name FROM lease") == "two:/data"
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute(WRITE, "of one")


def test_holder_is_one_for_a_folder_and_another_for_its_copy(tmp_path: Path) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    folder.mkdir()
    copy.mkdir()
    (tmp_path / "link").symlink_to(folder)

    assert holder_of(folder) == holder_of(tmp_path / "link")
    assert holder_of(folder).identity != holder_of(copy).identity
    assert holder_of(folder).name.endswith(str(folder))
