"""Triggers that note who writes under which lease, and what they have noted.

Each validator logs in with a role of its own. A statement that changes rows is noted with that role, the token
of the lease, and whether its transaction holds the row of the lease. A deferred trigger looks again at the
commit. The triggers are marked as internal, because the validator refuses a schema with triggers of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_SCHEMA: Final = """
CREATE SCHEMA campaign;
CREATE TABLE campaign.takes (token bigint, who text, at timestamptz);
CREATE TABLE campaign.moves (run_id text, hotkey text, at timestamptz, is_asked boolean, is_frozen boolean);
CREATE TABLE campaign.writes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    relation text,
    who text,
    rows bigint,
    token bigint,
    is_held boolean,
    token_at_end bigint,
    at timestamptz DEFAULT clock_timestamp()
);
CREATE INDEX ON campaign.writes (id);

CREATE FUNCTION campaign.holds(locker xid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE ours xid := pg_current_xact_id()::xid;
BEGIN
    -- Whoever locks a row is its xmax, or a member of the set that its xmax names.
    RETURN locker = ours OR EXISTS (SELECT FROM pg_get_multixact_members(locker) AS member WHERE member.xid = ours);
EXCEPTION WHEN invalid_parameter_value OR internal_error THEN
    RETURN false;
END $$;

CREATE FUNCTION campaign.note_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE number bigint;
BEGIN
    SELECT count(*) INTO number FROM touched;
    IF number > 0 THEN
        INSERT INTO campaign.writes (relation, who, rows, token, is_held)
        SELECT TG_TABLE_NAME, session_user, number, lease.token, campaign.holds(lease.xmax) FROM lease;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION campaign.look_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE campaign.writes SET token_at_end = lease.token FROM lease WHERE id = NEW.id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER look_again AFTER INSERT ON campaign.writes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION campaign.look_again();

CREATE FUNCTION campaign.note_take() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign.takes VALUES (NEW.token, session_user, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_take AFTER UPDATE ON lease
    FOR EACH ROW WHEN (NEW.token <> OLD.token) EXECUTE FUNCTION campaign.note_take();

CREATE FUNCTION campaign.note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign.moves
    VALUES (NEW.run_id, NEW.hotkey, clock_timestamp(), NEW.state <> 'planned', NEW.manifest_sha256 IS NOT NULL);
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_move AFTER UPDATE ON forecasts FOR EACH ROW EXECUTE FUNCTION campaign.note_move();

DO $$
DECLARE
    relation text;
    kind text;
BEGIN
    FOR relation IN
        SELECT relname
          FROM pg_class
         WHERE relnamespace = current_schema()::regnamespace
           AND relkind IN ('r', 'p')
           AND NOT relispartition
           AND relname NOT IN ('lease', 'schema_migrations')
    LOOP
        FOREACH kind IN ARRAY ARRAY['INSERT', 'UPDATE', 'DELETE'] LOOP
            EXECUTE format(
                'CREATE TRIGGER campaign_%s AFTER %s ON %I REFERENCING %s TABLE AS touched'
                ' FOR EACH STATEMENT EXECUTE FUNCTION campaign.note_write()',
                lower(kind), kind, relation, CASE kind WHEN 'DELETE' THEN 'OLD' ELSE 'NEW' END
            );
        END LOOP;
    END LOOP;
END $$;
UPDATE pg_trigger SET tgisinternal = true WHERE tgname LIKE 'campaign\\_%';
"""
_WRITTEN: Final = """
SELECT coalesce(sum(rows), 0)::bigint AS rows,
       count(DISTINCT relation) AS tables,
       coalesce(sum(rows) FILTER (WHERE takes.who IS DISTINCT FROM writes.who
                                     OR token_at_end IS DISTINCT FROM writes.token), 0)::bigint AS under_old_token,
       coalesce(sum(rows) FILTER (WHERE NOT is_held), 0)::bigint AS without_lease
  FROM campaign.writes AS writes
  LEFT JOIN campaign.takes AS takes USING (token)
"""
_WRONG: Final = """
SELECT relation, writes.who, takes.who AS holder, rows, token, token_at_end, is_held
  FROM campaign.writes AS writes
  LEFT JOIN campaign.takes AS takes USING (token)
 WHERE takes.who IS DISTINCT FROM writes.who
    OR token_at_end IS DISTINCT FROM writes.token
    OR NOT is_held
 ORDER BY takes.who = writes.who AND token_at_end = token, id
 LIMIT 5
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One change of the lease's token."""

    token: int
    who: str
    """Role of the validator that has taken it."""
    at: float
    """Unix seconds, by the server's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One change of a forecast's row."""

    at: float
    is_asked: bool
    """Whether the answer to the first question is stored by it, or was before."""
    is_frozen: bool
    """Whether a manifest is."""


async def install(connection: Connection, roles: Sequence[str]) -> None:
    """Make the roles of the validators, and the triggers, in a database that has its schema."""
    for role in roles:
        await connection.execute(f'CREATE ROLE "{role}" SUPERUSER LOGIN')
    await connection.execute(_SCHEMA)


async def newest_take(connection: Connection) -> Take | None:
    """Return who has taken the lease last; None: nobody yet."""
    return next(iter(await takes(connection, newest=1)), None)


async def takes(connection: Connection, newest: int | None = None) -> list[Take]:
    """Return the changes of the lease's token, newest first."""
    rows = await connection.fetch(
        "SELECT token, who, extract(epoch FROM at)::float8 AS at FROM campaign.takes ORDER BY token DESC LIMIT $1",
        newest,
    )
    return [Take(**row) for row in rows]


async def moves(connection: Connection) -> dict[tuple[str, str], list[Move]]:
    """Return (run, hotkey) -> the changes of the forecast's row, oldest first."""
    found: dict[tuple[str, str], list[Move]] = {}
    for row in await connection.fetch(
        "SELECT run_id, hotkey, extract(epoch FROM at)::float8 AS at, is_asked, is_frozen"
        " FROM campaign.moves ORDER BY at"
    ):
        move = Move(at=row["at"], is_asked=row["is_asked"], is_frozen=row["is_frozen"])
        found.setdefault((row["run_id"], row["hotkey"]), []).append(move)
    return found


async def written(connection: Connection) -> tuple[dict[str, int], list[str]]:
    """Return how much was written by whom, and a line for each of the first violations."""
    row = await connection.fetchrow(_WRITTEN)
    assert row is not None
    lines = [
        f"{each['rows']} rows of {each['relation']} by {each['who']}: token {each['token']} is of {each['holder']},"
        f" {each['token_at_end']} at the commit, lease held: {each['is_held']}"
        for each in await connection.fetch(_WRONG)
    ]
    return dict(row), lines
