-- Forecasts: one miner's part in one run, moved from state to state by `lifecycle.TRANSITIONS`.

-- name: plan_forecasts
-- Plans one forecast a miner, with the run.
INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at)
SELECT $1, miner.hotkey, miner.uid, miner.registered_at, $5, $5, $5
  FROM unnest($2::text[], $3::int[], $4::bigint[]) AS miner (hotkey, uid, registered_at)
    ON CONFLICT DO NOTHING;

-- name: due_forecasts
-- Forecasts in one of the given states whose time has come; no column whose size a miner chose.
SELECT run_id, hotkey, uid, registered_at, state, opened_at, attempts, next_at, job_id, manifest_sha256,
       window_ends_at
  FROM forecasts
 WHERE run_id = $1
   AND state = ANY($2::text[])
   AND next_at <= $3
 ORDER BY hotkey;

-- name: forecasts_named
-- Forecasts of some hotkeys in one run, whatever their state; no column whose size a miner chose.
SELECT run_id, hotkey, uid, registered_at, state, opened_at, attempts, next_at, job_id, manifest_sha256,
       window_ends_at
  FROM forecasts
 WHERE run_id = $1
   AND hotkey = ANY($2::text[])
 ORDER BY hotkey;

-- name: due_states
-- In which of the given states open runs have forecasts whose time has come.
SELECT DISTINCT run_id, forecasts.state
  FROM forecasts
  JOIN runs USING (run_id)
 WHERE runs.state = 'open'
   AND forecasts.state = ANY($1::text[])
   AND next_at <= $2;

-- name: manifests
-- The manifests that some miners signed.
SELECT run_id, hotkey, manifest
  FROM forecasts
  JOIN unnest($1::text[], $2::text[]) AS wanted (run_id, hotkey) USING (run_id, hotkey);

-- name: advance_forecast
-- Moves one forecast if, and only if, its state allows it; no row back: it did not move.
UPDATE forecasts
   SET state = move.target,
       reason = coalesce($5, reason),
       evidence = coalesce($6, evidence),
       attempts = 0,
       next_at = $7,
       changed_at = $7
  FROM unnest($3::text[], $4::text[]) AS move (source, target)
 WHERE run_id = $1
   AND hotkey = $2
   AND state = move.source
RETURNING state;

-- name: record_job
-- Stores the job that a planned miner accepted, and the end of its freeze window where our delay moved it.
UPDATE forecasts
   SET job_id = $3,
       window_ends_at = coalesce($4, window_ends_at)
 WHERE run_id = $1
   AND hotkey = $2
   AND state = 'planned';

-- name: record_manifest
-- Freezes what a miner signed; the first manifest stays.
UPDATE forecasts
   SET manifest = $3,
       signature = $4,
       manifest_sha256 = $5,
       committed_at = $6,
       committed_round = $7,
       signed_by = $8
 WHERE run_id = $1
   AND hotkey = $2
   AND manifest IS NULL;

-- name: postpone_forecast
-- Tries a forecast again later, unless it has moved on meanwhile.
UPDATE forecasts
   SET attempts = $3,
       next_at = $4,
       window_ends_at = coalesce($5, window_ends_at)
 WHERE run_id = $1
   AND hotkey = $2
   AND state = $6;

-- name: lock_forecast
-- The state of a forecast, which no other transaction moves until this one ends, and whether its run's contract is stored.
SELECT forecasts.state, runs.contract IS NOT NULL AS has_contract
  FROM forecasts
  JOIN runs USING (run_id)
 WHERE run_id = $1
   AND hotkey = $2
   FOR UPDATE OF forecasts;

-- name: settle_forecast
-- Moves a locked forecast from one state to another, or leaves it in its state; it is due again at once.
UPDATE forecasts
   SET state = $4,
       attempts = 0,
       next_at = $5,
       changed_at = CASE WHEN state = $4 THEN changed_at ELSE $5 END
 WHERE run_id = $1
   AND hotkey = $2
   AND state = $3;

-- name: next_attention
-- When the next postponed forecast in one of the given states is due.
SELECT min(next_at)
  FROM forecasts
  JOIN runs USING (run_id)
 WHERE runs.state = 'open'
   AND forecasts.state = ANY($1::text[])
   AND next_at > $2;

-- name: count_forecasts
-- How many forecasts of open runs are in each state.
SELECT forecasts.state, count(*)
  FROM forecasts
  JOIN runs USING (run_id)
 WHERE runs.state = 'open'
 GROUP BY forecasts.state
 ORDER BY forecasts.state;

-- name: states_of_open_runs
-- How many forecasts of each open run are in each state, the oldest run first.
SELECT run_id, forecasts.state, count(hotkey) AS count
  FROM runs
  LEFT JOIN forecasts USING (run_id)
 WHERE runs.state = 'open'
 GROUP BY run_id, forecasts.state
 ORDER BY init_time, forecasts.state;

-- name: forecasts_of_runs
-- The forecasts of some runs; no column whose size a miner chose.
SELECT run_id, hotkey, uid, registered_at, state, reason, manifest_sha256, committed_at
  FROM forecasts
 WHERE run_id = ANY($1::text[])
 ORDER BY run_id, hotkey;

-- name: signed_forecasts_of_runs
-- The forecasts of some runs with what their miners signed, for those who check it anew.
SELECT run_id, hotkey, uid, registered_at, state, reason, manifest_sha256, committed_at, manifest, signature,
       signed_by
  FROM forecasts
 WHERE run_id = ANY($1::text[])
 ORDER BY run_id, hotkey;

-- name: committed_after
-- How long after a run opened each forecast was committed, less our own delay, which moved the end of its window.
SELECT run_id, hotkey,
       coalesce(committed_round, committed_at) - opened_at
         - coalesce(window_ends_at - opened_at - $2::interval, interval '0') AS after
  FROM forecasts
 WHERE run_id = ANY($1::text[])
   AND committed_at IS NOT NULL
 ORDER BY run_id, hotkey;

-- name: progress_of_run
-- Where each forecast of a run stands, what is due next, and its scores under one rule set; no column whose size a
-- miner chose.
SELECT hotkey, uid, state, reason, committed_at, changed_at, attempts, next_at, window_ends_at,
       forecasts.opened_at, day1, overall
  FROM forecasts
  LEFT JOIN (SELECT run_id, hotkey, day1, overall FROM score_table WHERE rule_set = $2) AS scores
      USING (run_id, hotkey)
 WHERE run_id = $1
 ORDER BY uid, hotkey;

-- name: import_forecasts
-- Stores the scored forecasts of an imported run, without their manifests.
INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, next_at, changed_at, is_imported)
SELECT $1, miner.hotkey, miner.uid, miner.registered_at, 'scored', $5, $5, miner.scored_at, true
  FROM unnest($2::text[], $3::int[], $4::bigint[], $6::timestamptz[]) AS miner (hotkey, uid, registered_at, scored_at);
