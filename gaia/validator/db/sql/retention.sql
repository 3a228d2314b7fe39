-- Retention: parts of large tables that are made ahead, and what is removed once it is old.

-- name: brief_locks
-- Lets this transaction wait for a lock only a moment, because others wait behind it.
SELECT set_config('lock_timeout', $1, true);

-- name: make_score_days
-- Makes the parts for scores of all days before one; their names. What is older than the first day gets one part.
SELECT component_scores_make($1, $2);

-- name: drop_score_days
-- Removes the scores of days before one, unless a run of theirs or of before is open; their names.
SELECT component_scores_drop($1);

-- name: newest_run
-- Initial time of the newest run; NULL: there is none.
SELECT max(init_time)
  FROM runs;

-- name: runs_with_old_manifests
-- Runs of before a moment, completed before another, that have manifests still, oldest first.
SELECT run_id
  FROM runs
 WHERE state = 'completed'
   AND init_time < $1
   AND completed_at < $2
   AND EXISTS (SELECT FROM forecasts WHERE forecasts.run_id = runs.run_id AND manifest IS NOT NULL)
 ORDER BY init_time
 LIMIT $3;

-- name: remove_matrix_contents
-- Removes the copies of Gram matrices of completed runs of before a moment; no weight asks for them any more.
UPDATE gram_matrices
   SET content = NULL
  FROM runs
 WHERE runs.run_id = gram_matrices.run_id
   AND runs.state = 'completed'
   AND runs.init_time < $1
   AND content IS NOT NULL;

-- name: remove_manifests
-- Removes what miners signed for one run; the digests stay.
UPDATE forecasts
   SET manifest = NULL,
       signature = NULL
 WHERE run_id = $1
   AND manifest IS NOT NULL;
