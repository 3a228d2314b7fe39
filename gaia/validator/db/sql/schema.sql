-- Which migrations a database has; `database_setup` applies the rest under an advisory lock.

-- name: create_migrations
-- Makes the table of applied migrations where there is none.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: has_migrations
-- Whether any release has set this database up.
SELECT to_regclass('schema_migrations') IS NOT NULL;

-- name: lock_migrations
-- Waits until no other validator migrates this database; held until the transaction ends.
SELECT pg_advisory_xact_lock($1);

-- name: applied_migrations
-- Which migrations the database has, in which form.
SELECT version, sha256
  FROM schema_migrations;

-- name: record_migration
-- Stores that a migration was applied.
INSERT INTO schema_migrations (version, name, sha256)
VALUES ($1, $2, $3);
