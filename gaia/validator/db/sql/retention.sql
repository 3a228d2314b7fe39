-- Retention: parts of large tables that are made ahead, and what is removed once it is old.

-- name: brief_locks
-- Lets this transaction wait for a lock only a moment, because others wait behind it.
SELECT set_config('lock_timeout', $1, true);

-- name: make_score_months
-- Makes the parts for scores of all months before one; their names.
SELECT component_scores_make($1);

-- name: drop_score_months
-- Removes the scores of months that ended before one, unless a run of theirs is open; their names.
SELECT component_scores_drop($1);

-- name: score_months
-- Parts for scores of fields, with their sizes and the month after their last one; the last part is for all other rows.
SELECT part, month_after, pg_total_relation_size(part::regclass) AS size_bytes
  FROM component_scores_parts()
 ORDER BY month_after;

-- name: newest_run
-- Initial time of the newest run; NULL: there is none.
SELECT max(init_time)
  FROM runs;

-- name: runs_with_old_manifests
-- Completed runs of before a moment that have manifests still, oldest first.
SELECT run_id
  FROM runs
 WHERE state = 'completed'
   AND init_time < $1
   AND EXISTS (SELECT FROM forecasts WHERE forecasts.run_id = runs.run_id AND manifest IS NOT NULL)
 ORDER BY init_time
 LIMIT $2;

-- name: remove_manifests
-- Removes what miners signed for one run; the digests stay.
UPDATE forecasts
   SET manifest = NULL,
       signature = NULL
 WHERE run_id = $1
   AND manifest IS NOT NULL;
