-- Observations of the validator itself: its database and its memory.

-- name: database_sessions
-- What each other session of this database does, and for how long.
SELECT coalesce(state, 'unknown') AS state,
       coalesce(wait_event_type = 'Lock', false) AS is_waiting,
       coalesce(extract(epoch FROM clock_timestamp() - query_start), 0)::float8 AS statement_s,
       coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 AS transaction_s
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND backend_type = 'client backend'
   AND pid <> pg_backend_pid();

-- name: database_counters
-- Size of this database, and what the server has counted for it.
SELECT pg_database_size(current_database()) AS size_bytes,
       xact_commit AS commits,
       xact_rollback AS rollbacks,
       blks_hit AS blocks_hit,
       blks_read AS blocks_read,
       deadlocks
  FROM pg_stat_database
 WHERE datname = current_database();

-- name: record_database_snapshot
-- Stores one observation of the database.
INSERT INTO database_snapshots (
       at, active, idle, waiting, longest_statement_s, longest_transaction_s, answer_s,
       size_bytes, commits, rollbacks, blocks_hit, blocks_read, deadlocks)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT DO NOTHING;

-- name: forget_database_snapshots
-- Deletes observations of the database that are older than a moment.
DELETE FROM database_snapshots
 WHERE at < $1;

-- name: database_snapshots
-- Observations of the database since a moment, oldest first.
SELECT at, active, idle, waiting, longest_statement_s, longest_transaction_s, answer_s,
       size_bytes, commits, rollbacks, blocks_hit, blocks_read, deadlocks
  FROM database_snapshots
 WHERE at >= $1
 ORDER BY at;

-- name: record_memory_snapshot
-- Stores the memory of the processes of each role at one moment.
INSERT INTO memory_snapshots (at, role, processes, resident_bytes, private_bytes)
SELECT $1, taken.role, taken.processes, taken.resident_bytes, taken.private_bytes
  FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[])
       AS taken (role, processes, resident_bytes, private_bytes)
    ON CONFLICT DO NOTHING;

-- name: forget_memory_snapshots
-- Deletes memory snapshots that are older than a moment.
DELETE FROM memory_snapshots
 WHERE at < $1;

-- name: memory_snapshots
-- Memory of each role since a moment, oldest first.
SELECT at, role, processes, resident_bytes, private_bytes
  FROM memory_snapshots
 WHERE at >= $1
 ORDER BY at, role;
