"""Backups of a real server: whole or not there, made in time, and by programs that fit."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background.backups import BackupKeeper
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.backup import making
from gaia.validator.db.backup.folders import Backup, Reason, backups_in
from gaia.validator.db.backup.making import Destination, make_backup
from gaia.validator.db.backup.programs import BackupFailed
from gaia.validator.db.backup.restoring import Server
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import Migrator
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.machine.disk_space import Space
from gaia.validator.utils.settings.backup import BackupSettings
from tests.support.backups import ROWS, put_backup, put_program
from tests.support.patience import patience

NOW = datetime(2026, 3, 26, 8, tzinfo=UTC)
NEWEST = read_migrations()[-1].version
OF_MATRICES = next(each.version for each in read_migrations() if each.name == "matrix_contents")
"""The migration that changes the table of Gram matrices."""
PLENTY = 1 << 60


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database with one run of twenty miners."""
    async with database.transaction() as connection:
        for statement in ROWS:
            await connection.execute(statement)
    return database


async def made(database: Database, dsn: str, folder: Path) -> Backup:
    return await make_backup(database, dsn, Destination(folder, 0), Reason.REQUEST, NOW)


async def restored_scores(server: Server, backup: Backup) -> list[float]:
    async with server.restored(backup, f"scratch_{os.getpid()}") as scratch:
        connection = await asyncpg.connect(scratch)
        rows = await connection.fetch("SELECT score FROM lead_scores ORDER BY hotkey")
        await connection.close()
    return [row["score"] for row in rows]


def keeper(database: Database, dsn: str, folder: Path, now: datetime = NOW, **given: object) -> BackupKeeper:
    settings = BackupSettings.model_validate(given)
    return BackupKeeper(settings, Destination(folder, 0), database, dsn, now.timestamp)


async def test_backup_is_restored_bit_for_bit(filled: Database, empty_dsn: str, tmp_path: Path) -> None:
    async with filled.reading() as connection:
        rows = await connection.fetch("SELECT score FROM lead_scores ORDER BY hotkey")

    backup = await made(filled, empty_dsn, tmp_path)

    assert (backup.name, backup.manifest.schema_version) == ("2026-03-26T08-00-00Z", NEWEST)
    assert backup.manifest.tables["lead_scores"].rows == 20
    assert backups_in(tmp_path) == [backup]
    assert await restored_scores(Server(empty_dsn, patience(10)), backup) == [row["score"] for row in rows]


async def test_value_that_is_not_as_it_was_saved_is_found(
    filled: Database, empty_dsn: str, tmp_path: Path
) -> None:
    backup = await made(filled, empty_dsn, tmp_path / "one")
    async with filled.transaction() as connection:
        await connection.execute("UPDATE forecasts SET attempts = 1 WHERE uid = 7")
    other = await made(filled, empty_dsn, tmp_path / "two")
    mixed = Backup(other.folder, msgspec.structs.replace(other.manifest, tables=backup.manifest.tables))

    with pytest.raises(
        BackupFailed, match="table forecasts has as many rows as were saved, and other values"
    ):
        await restored_scores(Server(empty_dsn, patience(10)), mixed)


async def test_scratch_database_is_gone_after_success_and_failure(
    filled: Database, empty_dsn: str, tmp_path: Path
) -> None:
    backup = await made(filled, empty_dsn, tmp_path)
    server = Server(empty_dsn, patience(10))
    await restored_scores(server, backup)
    with pytest.raises(RuntimeError, match="of the body"):
        async with server.restored(backup, f"scratch_{os.getpid()}"):
            raise RuntimeError("of the body")

    connection = await asyncpg.connect(empty_dsn)
    found = await connection.fetch("SELECT FROM pg_database WHERE datname = $1", f"scratch_{os.getpid()}")
    await connection.close()
    assert found == []


async def test_without_space_nothing_is_written(filled: Database, empty_dsn: str, tmp_path: Path) -> None:
    destination = Destination(tmp_path / "backups", PLENTY)

    with pytest.raises(BackupFailed, match="there is no space for a backup .* by GAIA_BACKUP_DIR"):
        await make_backup(filled, empty_dsn, destination, Reason.DAILY, NOW)

    assert list((tmp_path / "backups").iterdir()) == []


async def test_failed_program_is_quoted_and_leaves_nothing(
    filled: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = put_program(tmp_path / "bin", "pg_dump", "echo 'pg_dump: error: out of luck' >&2; exit 1")
    put_program(programs, "pg_restore", "exit 1")
    monkeypatch.setenv("PG_BINDIR", str(programs))

    with pytest.raises(BackupFailed, match="pg_dump failed: pg_dump: error: out of luck"):
        await made(filled, empty_dsn, tmp_path / "backups")

    assert list((tmp_path / "backups").iterdir()) == []


async def test_cancelled_backup_ends_its_program_and_leaves_nothing(
    filled: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    programs = put_program(tmp_path / "bin", "pg_dump", f"echo $$ > {told}; exec sleep 1000")
    put_program(programs, "pg_restore", "exit 1")
    monkeypatch.setenv("PG_BINDIR", str(programs))

    making = asyncio.create_task(made(filled, empty_dsn, tmp_path / "backups"))
    pid = int(await asyncio.to_thread(told.read_text))
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    assert not Path(f"/proc/{pid}").exists()
    assert list((tmp_path / "backups").iterdir()) == []


async def test_password_is_not_in_the_list_of_processes(
    filled: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    programs = put_program(tmp_path / "bin", "pg_dump", f'echo "$PGPASSWORD|$*" > {said}; exit 1')
    put_program(programs, "pg_restore", "exit 1")
    monkeypatch.setenv("PG_BINDIR", str(programs))
    parts = urlsplit(empty_dsn)
    dsn = parts._replace(netloc=parts.netloc.replace("postgres@", "postgres:se%40cret@")).geturl()

    with pytest.raises(BackupFailed):
        await made(filled, dsn, tmp_path / "backups")

    password, _, arguments = said.read_text().partition("|")
    assert password == "se@cret"
    assert "cret" not in arguments
    assert "--dbname=postgresql://postgres@/" in arguments


async def test_older_programs_than_the_server_are_refused(
    filled: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filled.reading() as connection:
        major = await connection.fetchval("SELECT current_setting('server_version_num')::integer / 10000")
    monkeypatch.setattr(
        "gaia.validator.db.backup.programs.folders_with", lambda *_: [tmp_path / "old", tmp_path / "older"]
    )
    monkeypatch.setattr(
        "gaia.validator.db.backup.programs.major_of",
        lambda program: major - 1 if program.parent.name == "old" else None,
    )

    with pytest.raises(ConfigurationError, match=f"no pg_dump of PostgreSQL {major} or later is found"):
        await made(filled, empty_dsn, tmp_path / "backups")


async def test_daily_backup_is_made_once_the_last_is_old(
    filled: Database, empty_dsn: str, tmp_path: Path
) -> None:
    for hours, number in ((0, 1), (23, 1), (24, 2), (30, 2)):
        now = datetime.fromtimestamp(NOW.timestamp() + 3600 * hours, UTC)
        with capture_logs() as lines:
            await keeper(filled, empty_dsn, tmp_path, now).daily_backup()
        assert len(backups_in(tmp_path)) == number
        assert len(lines) == (hours in (0, 24))


async def test_daily_backup_of_a_young_database_waits(
    database: Database, empty_dsn: str, tmp_path: Path
) -> None:
    await keeper(database, empty_dsn, tmp_path).daily_backup()
    async with database.transaction() as connection:
        await connection.execute(ROWS[0])
    young = datetime(2026, 3, 25, 20, tzinfo=UTC)
    await keeper(database, empty_dsn, tmp_path, young).daily_backup()
    await keeper(database, empty_dsn, tmp_path, backup_every_hours=0).daily_backup()

    assert backups_in(tmp_path) == []


async def test_daily_backup_that_needs_the_operator_is_a_failure_that_stops_nothing(
    filled: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaia.validator.db.backup.programs.folders_with", lambda *_: [])

    with pytest.raises(BackupFailed, match="install the package postgresql-client"):
        await keeper(filled, empty_dsn, tmp_path).daily_backup()


async def test_old_backups_are_removed_with_a_new_one(
    filled: Database, empty_dsn: str, tmp_path: Path
) -> None:
    for hours in (0, 24, 48):
        now = datetime.fromtimestamp(NOW.timestamp() + 3600 * hours, UTC)
        await keeper(filled, empty_dsn, tmp_path, now, backups_kept=2).daily_backup()

    assert [backup.name[:10] for backup in backups_in(tmp_path)] == ["2026-03-27", "2026-03-28"]


async def test_schema_changes_after_a_backup(filled: Database, empty_dsn: str, tmp_path: Path) -> None:
    await Migrator(filled, patience(10)).roll_back(NEWEST - 1)

    setup = await run_comprehensive_database_setup(
        filled, before=keeper(filled, empty_dsn, tmp_path).before_migration
    )

    (backup,) = backups_in(tmp_path)
    assert (backup.manifest.reason, backup.manifest.schema_version) == (Reason.MIGRATION, NEWEST - 1)
    assert len(setup.applied) == 1
    await run_comprehensive_database_setup(
        filled, before=keeper(filled, empty_dsn, tmp_path).before_migration
    )
    assert len(backups_in(tmp_path)) == 1


async def test_schema_stays_as_it_is_without_a_backup(
    filled: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Migrator(filled, patience(10)).roll_back(NEWEST - 1)
    monkeypatch.setattr("gaia.validator.db.backup.programs.folders_with", lambda *_: [])
    wanted = keeper(filled, empty_dsn, tmp_path).before_migration

    with pytest.raises(ConfigurationError, match=r"no backup can be made \(no pg_dump of") as raised:
        await run_comprehensive_database_setup(filled, before=wanted)

    assert raised.value.exit_code is ExitCode.DATABASE_MISFIT
    async with filled.reading() as connection:
        assert await connection.fetchval("SELECT max(version) FROM schema_migrations") == NEWEST - 1
    unwanted = keeper(filled, empty_dsn, tmp_path, backup_before_migration=False).before_migration
    assert len((await run_comprehensive_database_setup(filled, before=unwanted)).applied) == 1


async def test_migration_that_waits_for_a_lock_makes_one_backup(
    filled: Database, empty_dsn: str, tmp_path: Path
) -> None:
    await Migrator(filled, patience(10)).roll_back(OF_MATRICES - 1)
    reader = await asyncpg.connect(empty_dsn)
    reading = reader.transaction()
    await reading.start()
    await reader.fetch("SELECT FROM gram_matrices")

    with capture_logs() as lines:
        migrating = asyncio.create_task(
            run_comprehensive_database_setup(
                filled, before=keeper(filled, empty_dsn, tmp_path).before_migration
            )
        )
        async with asyncio.timeout(patience(60)):
            while sum(line["event"] == "database_setup_waits" for line in lines) < 2:
                await asyncio.sleep(0.05)
            await reading.rollback()
            await migrating
    await reader.close()

    assert len(backups_in(tmp_path)) == 1


async def test_older_backups_make_room_for_a_new_one(
    filled: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours in (0, 24, 48):
        now = datetime.fromtimestamp(NOW.timestamp() + 3600 * hours, UTC)
        await keeper(filled, empty_dsn, tmp_path, now).daily_backup()
    least = 2 * backups_in(tmp_path)[-1].manifest.archive_bytes

    def space(folder: Path) -> Space:
        """Enough for another backup once two are gone."""
        return Space(free=least if len(backups_in(folder)) == 1 else 0, used=1)

    monkeypatch.setattr("gaia.validator.db.backup.making.space_of", space)
    await keeper(filled, empty_dsn, tmp_path, datetime(2026, 3, 30, tzinfo=UTC)).daily_backup()

    assert [backup.name[:10] for backup in backups_in(tmp_path)] == ["2026-03-28", "2026-03-30"]


async def test_backup_of_the_future_does_not_stand_for_one_of_today(
    filled: Database, empty_dsn: str, tmp_path: Path
) -> None:
    put_backup(tmp_path, datetime(2036, 1, 1, tzinfo=UTC))

    await keeper(filled, empty_dsn, tmp_path).daily_backup()

    assert [backup.name[:4] for backup in backups_in(tmp_path)] == ["2026", "2036"]


async def test_limits_of_the_role_end_no_backup(filled: Database) -> None:
    async with filled.transaction() as connection:
        name = await connection.fetchval("SELECT current_database()")
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            await connection.execute(f"ALTER DATABASE {name} SET {limit} = '9s'")

    async with making._unlimited(filled) as connection:
        found = [
            await connection.fetchval(f"SHOW {limit}")
            for limit in ("statement_timeout", "idle_in_transaction_session_timeout")
        ]

    assert found == ["0", "0"]
