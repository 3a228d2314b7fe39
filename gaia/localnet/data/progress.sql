-- What the view of a local subnet reads from its validator's database.

-- name: runs
-- Every run, oldest first.
SELECT run_id, init_time, rule_set, state, opened_at, completed_at
  FROM runs
 ORDER BY init_time;

-- name: forecasts
-- Every forecast with its overall score, if it has one.
SELECT f.run_id, f.hotkey, f.uid, f.state, f.reason, f.committed_at, s.day1, s.leads, s.overall, s.counted
  FROM forecasts f
  LEFT JOIN score_table s USING (run_id, hotkey)
 ORDER BY f.run_id, f.uid;

-- name: weights
-- The newest vector that landed in a block or later.
SELECT block, block_hash, extrinsic, vector, weights, run_ids, completed_ids, read_back
  FROM weight_journal
 WHERE state IN ('set', 'revealed')
   AND block >= $1
 ORDER BY block DESC
 LIMIT 1;

-- name: references
-- How many sets of reference fields are ready, of how many that are wanted.
SELECT count(*) FILTER (WHERE ready) AS ready, count(*) AS wanted
  FROM reference_sets;

-- name: components
-- Every component score.
SELECT run_id, hotkey, kind, field, lead_hours, rule_set, rmse, mse, mae, bias, acc, skill_climatology, skill_gfs,
       pattern_correlation, clone_distance
  FROM component_scores
 ORDER BY run_id, hotkey, kind, lead_hours, field;
