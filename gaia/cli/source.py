"""Opens the validator's database; starts the embedded server if it does not run."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import asyncpg

from gaia.cli.tables import print_note
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres
from gaia.validator.app.startup.accepted import agreeing
from gaia.validator.app.startup.opening import dsn_of
from gaia.validator.app.startup.preflight import claim_data_dir
from gaia.validator.app.startup.published import last_settings
from gaia.validator.app.startup.reading import named_file, read_settings
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import migrate_within
from gaia.validator.db.statements import SQL
from gaia.validator.utils.config import Settings, names_of
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.setting_sources import Variables

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.settings.database import DatabaseSettings

Answer = TypeVar("Answer")

_STOP_S = 10.0
_LOOK_S = 0.05
_CLUSTER = Path("postgres", "cluster", "PG_VERSION")
_REHEARSALS = Path(".localnet")
_PLACES = {"data_dir", "database_url", "database_host"}
"""Settings that locate a validator's data."""


class Source:
    """One validator's database and data folder; its server runs while it is open.

    Parameters
    ----------
    settings
        Settings of the validator.
    makes_cluster
        Make an embedded server where there is none.
    """

    def __init__(self, settings: Settings, *, makes_cluster: bool = False) -> None:
        self.settings = settings
        """Settings of the validator; of a rehearsal, as far as it published them."""
        self._database = settings.database
        self._makes_cluster = makes_cluster
        self._elsewhere = ""
        self._stack = ExitStack()
        self.is_live = False
        """Whether the validator runs: another process holds its folder, or its database is elsewhere."""

    def __enter__(self) -> Self:
        self.is_live = self._stack.enter_context(
            _server_running(self.settings.data_dir, self._database, self._makes_cluster)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def data_dir(self) -> Path:
        """Folder that holds the spool and the reference fields."""
        return self.settings.data_dir.resolve()

    def elsewhere(self, dsn: str) -> Source:
        """Return the same validator with another database of its server, which nobody else uses."""
        other = Source(self.settings)
        other._elsewhere = dsn
        return other

    def read(
        self,
        query: Callable[[Connection], Awaitable[Answer]],
        patience_s: float = math.inf,
        *,
        is_migrated: bool = True,
    ) -> Answer:
        """Return what `query` reads, in one read-only snapshot; wait at most `patience_s` for a connection.

        If this command started the server, a database of an earlier release is migrated inside the
        snapshot, and the migration is rolled back. Without `is_migrated`, the database is read as it is.

        Raises
        ------
        ConfigurationError
            If there is no database, or it is of another release.
        TransientError
            If the database went away during the query.
        """
        timeout_s = min(patience_s, self._database.database_timeout_s)
        migrates = is_migrated and not self.is_live
        return asyncio.run(self._read(query, timeout_s, migrates=migrates))

    def use(self, body: Callable[[Database], Awaitable[Answer]]) -> Answer:
        """Return what `body` makes of the database, which it may change.

        Raises
        ------
        ConfigurationError
            If the database cannot be reached.
        DatabaseFailure
            If the database fails.
        """

        async def run() -> Answer:
            database = await self._connected(self._database.database_timeout_s)
            try:
                return await body(database)
            finally:
                await database.close()

        return asyncio.run(run())

    async def _connected(self, timeout_s: float) -> Database:
        dsn = self._elsewhere or dsn_of(self.settings)
        return await Database.connect(dsn, timeout_s=timeout_s, pool_size=2, name="gaia-cli")

    async def _read(
        self, query: Callable[[Connection], Awaitable[Answer]], timeout_s: float, *, migrates: bool
    ) -> Answer:
        database = await self._connected(timeout_s)
        try:
            async with database.transaction() as connection, _left_as_it_is(connection):
                # Caught inside the transaction: outside, the database's errors are of our types.
                try:
                    if migrates and await connection.fetchval(SQL["has_migrations"]):
                        await migrate_within(connection, read_migrations())
                    await connection.execute("SET TRANSACTION READ ONLY")
                    return await query(connection)
                except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
                    raise ConfigurationError(
                        "GAIA_DATABASE_URL",
                        f"the database was made by another release ({error})",
                        "start the validator of this release once, which brings it up to date",
                        ExitCode.DATABASE_UNREACHABLE,
                    ) from error
        finally:
            await database.close()


@asynccontextmanager
async def _left_as_it_is(connection: Connection) -> AsyncIterator[None]:
    """Read one snapshot of the database, and roll back every change."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    undone = connection.transaction()
    await undone.start()
    yield
    # After an error the outer transaction rolls back everything, within its own time limit.
    await undone.rollback()


def open_source(
    state_dir: Path | None, env_file: Path | None = None, *, makes_cluster: bool = False
) -> Source:
    """Return the database that the validator's settings name, or the one kept in `state_dir`.

    If no setting names a folder and the default one holds no data, the newest rehearsal is
    opened. A note on standard error says so.

    Parameters
    ----------
    state_dir
        Folder of a rehearsal, or data folder of a validator; None: as in the settings.
    env_file
        File of the settings, as `--env-file` names it; None: `.env`, if it exists.
    makes_cluster
        Make an embedded server where the settings want one and there is none.

    Raises
    ------
    ConfigurationError
        If the settings are not allowed, or there is no database in `state_dir`.
    """
    if state_dir is None:
        settings = read_settings(named_file(env_file))
        is_placed = env_file is not None or _is_placed(settings.model_fields_set, settings.data_dir)
        rehearsal = None if is_placed else _newest_rehearsal()
        if rehearsal is None:
            return Source(settings, makes_cluster=makes_cluster)
        print_note(f"reading the rehearsal in {rehearsal}; choose another with --state or GAIA_DATA_DIR")
        state_dir = rehearsal
    for data_dir in (state_dir / "validator", state_dir):
        if (data_dir / _CLUSTER).exists():
            return Source(_settings_published_in(data_dir))
    raise ConfigurationError(
        "--state", f"there is no database in {state_dir}", "name the folder of a rehearsal or of a validator"
    )


def _settings_published_in(data_dir: Path) -> Settings:
    """Return the settings that the last engine of `data_dir` published, else the defaults."""
    last = last_settings(data_dir)
    given = {} if last is None else Variables(Settings, str(data_dir), last.given(), names_of)()
    # The folder may have been moved, and its database is the one in it.
    mine = {name: value for name, value in given.items() if not name.startswith(("database_", "data_dir"))}
    return agreeing({"data_dir": data_dir, **mine})[0]


def _is_placed(given: AbstractSet[str], data_dir: Path) -> bool:
    """Return whether a setting names the data folder, or the default folder holds data."""
    return not _PLACES.isdisjoint(given) or (data_dir / _CLUSTER).exists()


def _newest_rehearsal() -> Path | None:
    """Return the folder of the local subnet with the newest database; None if there is none."""
    made = _REHEARSALS.glob(f"*/validator/{_CLUSTER}")
    newest = max(made, key=lambda path: (path.stat().st_mtime_ns, path), default=None)
    return None if newest is None else _REHEARSALS / newest.relative_to(_REHEARSALS).parts[0]


@contextmanager
def _server_running(data_dir: Path, database: DatabaseSettings, makes_cluster: bool) -> Iterator[bool]:  # noqa: FBT001 - a private helper
    """Ensure that an embedded server runs; yield whether another process owns it."""
    if not database.is_embedded:
        yield True
        return
    if not makes_cluster and not (data_dir / _CLUSTER).exists():
        raise ConfigurationError(
            "GAIA_DATA_DIR",
            f"there is no database in {data_dir.absolute()}",
            "name the validator's file of settings with --env-file, or its data folder with --state",
            ExitCode.DATABASE_UNREACHABLE,
        )
    try:
        lock = claim_data_dir(data_dir)
    except ConfigurationError as error:
        if error.exit_code is not ExitCode.DATA_DIR_IN_USE:
            raise
        # The validator runs, and so does its server.
        yield True
        return
    try:
        with _our_server(data_dir, database.database_timeout_s):
            yield False
    finally:
        os.close(lock)


@contextmanager
def _our_server(data_dir: Path, timeout_s: float) -> Iterator[None]:
    server = EmbeddedPostgres(data_dir)
    server.prepare()
    end = time.monotonic() + timeout_s
    while not server.is_free(time.monotonic()):
        time.sleep(_LOOK_S)
    process = server.start()
    try:
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > end:
                raise ConfigurationError(
                    "GAIA_DATA_DIR",
                    f"the embedded database in {data_dir} does not start",
                    "read postgres/postgres.log there",
                    ExitCode.DATABASE_UNREACHABLE,
                )
            time.sleep(_LOOK_S)
        yield
    finally:
        process.terminate()
        process.wait(_STOP_S)
