-- What the server says of itself and of our role, for `gaia doctor`, and what was stored, for `gaia budget`.

-- name: server_facts
-- Version, encoding, rights and limits of the server, the database and the role.
SELECT current_setting('server_version_num')::integer AS version,
       current_setting('server_encoding') AS encoding,
       has_schema_privilege(current_schema(), 'CREATE') AS can_create,
       current_setting('default_transaction_read_only')::boolean AS is_read_only,
       pg_is_in_recovery() AS is_standby,
       extract(epoch FROM current_setting('statement_timeout')::interval) AS statement_timeout_s,
       current_user::text AS role,
       current_database()::text AS database,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer AS server_limit;

-- name: durability
-- Parameters that keep a commit through a crash, with what gave each its value.
SELECT name, setting, source
  FROM pg_settings
 WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
 ORDER BY name;

-- name: other_validators
-- Sessions of a validator in this database, besides this one: backend, and where it comes from.
SELECT pid, coalesce(host(client_addr), '') AS address, coalesce(client_port, -1) AS port
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND application_name = 'gaia-validator'
   AND pid <> pg_backend_pid()
 ORDER BY pid;

-- name: work_done
-- What the stored runs cost so far, how long they took, and how many miners the newest one asked.
SELECT count(*) AS runs,
       coalesce(extract(epoch FROM max(opened_at) - min(opened_at)), 0)::float8 AS span_s,
       (SELECT count(*)
          FROM forecasts
         WHERE run_id = (SELECT run_id FROM runs ORDER BY init_time DESC LIMIT 1)) AS miners,
       (SELECT coalesce(sum(cpu_s), 0)::float8 FROM lead_scores) AS cpu_s,
       (SELECT count(*)
          FROM reference_sets
         WHERE ready
           AND reference_id LIKE 'era5/%') AS era5_sets,
       pg_database_size(current_database()) AS database_bytes
  FROM runs;

-- name: size_of_database
-- Version of the server, and size of the database.
SELECT current_setting('server_version') AS server, pg_database_size(current_database()) AS size_bytes;
