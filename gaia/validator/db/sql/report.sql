-- The server itself: what a report about a problem says of it.

-- name: server_version
-- Version and settings of the server that decide how it behaves.
SELECT version() AS version,
       pg_database_size(current_database()) AS bytes,
       current_setting('max_connections') AS max_connections,
       pg_postmaster_start_time() AS started_at;

-- name: table_statistics
-- Tables with their sizes and their estimated numbers of rows, the largest first.
SELECT relname AS name,
       n_live_tup AS rows,
       n_dead_tup AS dead_rows,
       pg_total_relation_size(relid) AS bytes
  FROM pg_stat_user_tables
 ORDER BY bytes DESC, name;

-- name: session_statistics
-- Sessions by program, state and what they wait for; no text of a statement.
SELECT application_name AS program,
       state,
       wait_event_type AS waits_for,
       count(*) AS sessions,
       max(extract(epoch FROM now() - state_change))::float8 AS longest_s
  FROM pg_stat_activity
 WHERE datname = current_database()
 GROUP BY application_name, state, wait_event_type
 ORDER BY application_name, state, wait_event_type;
