-- Which migrations a database has, what its schema is, and the lock under which it is changed.

-- name: create_migrations
-- Makes the record of applied migrations where there is none.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: extend_migrations
-- Gives the record of an earlier release the columns of this one: what takes a migration back, and how long it took.
ALTER TABLE schema_migrations
    ADD COLUMN IF NOT EXISTS down text,
    ADD COLUMN IF NOT EXISTS seconds double precision;

-- name: is_extended
-- Whether the record has the columns of this release.
SELECT count(*) = 2
  FROM pg_attribute
 WHERE attrelid = to_regclass('schema_migrations')
   AND attname IN ('down', 'seconds')
   AND NOT attisdropped;

-- name: has_migrations
-- Whether any release has set this database up.
SELECT to_regclass('schema_migrations') IS NOT NULL;

-- name: own_tables
-- Names of the tables in the schema that the role writes to.
SELECT relname::text
  FROM pg_class
 WHERE relnamespace = current_schema()::regnamespace
   AND relkind IN ('r', 'p')
 ORDER BY relname;

-- name: unlimited
-- Lets statements of this session take any time, but wait for locks only a moment, because others wait behind us.
SELECT set_config('lock_timeout', $1, false),
       set_config('statement_timeout', '0', false),
       set_config('idle_in_transaction_session_timeout', '0', false);

-- name: lock_migrations
-- Waits until no other session migrates this database; held until the session ends.
SELECT pg_advisory_lock($1);

-- name: migration_holder
-- The session that holds the lock of migrations, and whether it is one of ours.
SELECT pid, application_name, application_name = $2 AS is_ours
  FROM pg_locks
  JOIN pg_stat_activity USING (pid)
 WHERE locktype = 'advisory'
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (classid, objid, objsubid) = (0, $1, 1)
   AND granted;

-- name: session_lives
-- Whether the server still has a session.
SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1);

-- name: applied_migrations
-- Which migrations the database has, in which form.
SELECT version, name, sha256
  FROM schema_migrations
 ORDER BY version;

-- name: migrations_in_detail
-- Which migrations the database has, since when, how long each took, and what takes it back.
SELECT version, name, applied_at, seconds, down
  FROM schema_migrations
 ORDER BY version;

-- name: record_migration
-- Stores that a migration was applied, how long that took, and what takes it back.
INSERT INTO schema_migrations (version, name, sha256, down, seconds)
VALUES ($1, $2, $3, $4, $5);

-- name: forget_migration
-- Removes a migration that was taken back.
DELETE FROM schema_migrations
 WHERE version = $1;

-- name: drop_invalid_indexes
-- Removes what an interrupted CREATE INDEX CONCURRENTLY left behind.
DO $$ BEGIN EXECUTE (
    SELECT coalesce(string_agg(format('DROP INDEX %s', indexrelid::regclass), '; '), 'SELECT 1')
      FROM pg_index
      JOIN pg_class ON pg_class.oid = indexrelid
     WHERE relnamespace = current_schema()::regnamespace
       AND NOT indisvalid); END $$;

-- name: catalogue
-- What the schema is, a line for each column, constraint, index, trigger and function; without partitions.
WITH relations AS (
    SELECT oid, relname, quote_ident(current_schema()) || '.' AS prefix
      FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace
       AND relkind IN ('r', 'p')
       AND NOT relispartition
)
SELECT relname::text AS owner,
       'column ' || attname AS name,
       format_type(atttypid, atttypmod)
           || CASE WHEN attnotnull THEN ' not null' ELSE '' END
           || CASE attidentity WHEN '' THEN '' ELSE ' identity' END
           || coalesce(' default ' || pg_get_expr(adbin, adrelid), '') AS form
  FROM relations
  JOIN pg_attribute ON attrelid = relations.oid
  LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
 WHERE attnum > 0
   AND NOT attisdropped
UNION ALL
SELECT relname::text, 'constraint ' || conname, pg_get_constraintdef(pg_constraint.oid)
  FROM relations
  JOIN pg_constraint ON conrelid = relations.oid
 WHERE contype IN ('c', 'f', 'p', 'u', 'x')
   AND conparentid = 0
UNION ALL
SELECT relations.relname::text,
       CASE WHEN indisunique THEN 'unique index ' ELSE 'index ' END || indexes.relname,
       replace(pg_get_indexdef(indexrelid), prefix, '') || CASE WHEN indisvalid THEN '' ELSE ' invalid' END
  FROM relations
  JOIN pg_index ON indrelid = relations.oid
  JOIN pg_class AS indexes ON indexes.oid = indexrelid
UNION ALL
SELECT relname::text, 'trigger ' || tgname, replace(pg_get_triggerdef(pg_trigger.oid), prefix, '')
  FROM relations
  JOIN pg_trigger ON tgrelid = relations.oid
 WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname::text, md5(prosrc)
  FROM pg_proc
 WHERE pronamespace = current_schema()::regnamespace
 ORDER BY 1, 2;
