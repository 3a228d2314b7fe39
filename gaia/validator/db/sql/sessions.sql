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

-- name: bound_session
-- Ends a transaction of this session in which we are silent, because a takeover waits for it; finds out that we are gone.
SELECT set_config('idle_in_transaction_session_timeout', '5s', false),
       set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false);
