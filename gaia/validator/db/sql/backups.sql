-- Backups: what a database holds, and databases made, renamed and dropped beside it. The server takes no name as a
-- parameter, so some statements here write statements.

-- name: plain_output
-- Writes values in one form until the transaction ends, whatever the settings of the server and the role.
SELECT set_config('DateStyle', 'ISO, YMD', true),
       set_config('IntervalStyle', 'iso_8601', true),
       set_config('TimeZone', 'UTC', true),
       set_config('bytea_output', 'hex', true),
       set_config('extra_float_digits', '1', true);

-- name: statements_of_contents
-- For each table: the statement that counts its rows and sums up their digests.
SELECT relname::text AS name,
       format('SELECT count(*) AS rows,'
              ' coalesce(sum((''x'' || substr(md5((%1$I.*)::text), 1, 15))::bit(60)::bigint), 0)::text AS digest'
              ' FROM %1$I', relname) AS statement
  FROM pg_class
 WHERE relnamespace = current_schema()::regnamespace
   AND relkind IN ('r', 'p')
   AND NOT relispartition
 ORDER BY relname;

-- name: facts_for_backup
-- Version of the server, database, its size, the snapshot of this transaction, and the newest migration.
SELECT current_setting('server_version_num')::integer / 10000 AS major,
       current_setting('server_version') AS server,
       current_database()::text AS database,
       pg_database_size(current_database()) AS size_bytes,
       pg_export_snapshot() AS snapshot,
       (SELECT max(version) FROM schema_migrations) AS schema_version;

-- name: server_major
-- Major version of the server.
SELECT current_setting('server_version_num')::integer / 10000;

-- name: database_exists
-- Whether the server has a database of this name.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1);

-- name: statement_that_makes
-- Writes the statement that makes an empty database with the collation of another one, or of this one if that is missing.
SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',
              $1::text, 'UTF8', datcollate, datctype)
  FROM pg_database
 WHERE datname IN ($2, current_database())
 ORDER BY datname = $2 DESC
 LIMIT 1;

-- name: statement_that_drops
-- Writes the statement that drops a database, if it exists.
SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text);

-- name: statement_that_renames
-- Writes the statement that renames a database.
SELECT format('ALTER DATABASE %I RENAME TO %I', $1::text, $2::text);

-- name: databases_beside
-- Databases of the server whose names begin so, with their sizes.
SELECT datname::text AS name, pg_database_size(oid) AS size_bytes
  FROM pg_database
 WHERE starts_with(datname, $1)
 ORDER BY datname;

-- name: first_run_opened
-- When the first run was opened; NULL: there is none yet.
SELECT min(opened_at)
  FROM runs;
