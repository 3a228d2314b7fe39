-- Sessions of the database server.

-- name: blocked_sessions
-- Sessions that wait for a lock of another one, longest first.
SELECT waiting.pid,
       (pg_blocking_pids(waiting.pid))[1] AS blocked_by,
       extract(epoch FROM clock_timestamp() - waiting.state_change)::double precision AS waited_s
  FROM pg_stat_activity AS waiting
 WHERE waiting.datname = current_database()
   AND cardinality(pg_blocking_pids(waiting.pid)) > 0
 ORDER BY waited_s DESC, waiting.pid;
