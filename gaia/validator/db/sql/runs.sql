-- Runs: opened by the schedule, completed once none of their forecasts has work left.

-- name: recorded_init_times
-- Initial times of the runs since a moment, from which the schedule derives what is missing.
SELECT init_time
  FROM runs
 WHERE init_time >= $1;

-- name: open_run
-- Opens a run once; a repeated call changes nothing and returns no row.
INSERT INTO runs (run_id, init_time, rule_set, opened_at)
VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING
RETURNING run_id;

-- name: open_runs
-- Runs with work left, oldest first.
SELECT run_id, init_time, rule_set, opened_at
  FROM runs
 WHERE state = 'open'
 ORDER BY init_time;

-- name: complete_run
-- Completes an open run none of whose forecasts is in one of the given states; no row back: it is not complete.
UPDATE runs
   SET state = 'completed', completed_at = $2
 WHERE run_id = $1
   AND state = 'open'
   AND NOT EXISTS (SELECT FROM forecasts WHERE run_id = $1 AND state = ANY($3::text[]))
RETURNING run_id;

-- name: record_contract
-- Stores what a run asks of miners; the first contract stays.
UPDATE runs
   SET contract = $2
 WHERE run_id = $1
   AND contract IS NULL;

-- name: living_runs
-- Runs whose inputs may not be removed yet: those open, and those completed after a moment.
SELECT run_id, init_time
  FROM runs
 WHERE state = 'open'
    OR completed_at > $1;

-- name: run_endings
-- How many forecasts of a run ended in which state for which reason, most frequent first.
SELECT state, coalesce(reason, '') AS reason, count(*) AS forecasts
  FROM forecasts
 WHERE run_id = $1
 GROUP BY state, reason
 ORDER BY forecasts DESC, state, reason;

-- name: lead_endings
-- How many forecasts of a run were scored at each lead under one rule set, how many were not, and since when.
SELECT kind, lead_hours,
       count(*) FILTER (WHERE reason IS NULL) AS scored,
       count(*) FILTER (WHERE reason IS NOT NULL) AS lost,
       min(scored_at) FILTER (WHERE reason IS NULL) AS first_scored_at,
       coalesce(sum(cpu_s), 0) AS cpu_s
  FROM lead_scores
 WHERE run_id = $1
   AND rule_set = $2
 GROUP BY kind, lead_hours
 ORDER BY kind, lead_hours;

-- name: run_summaries
-- Every run, oldest first, with how many of its forecasts ended how.
SELECT run_id, init_time, rule_set, runs.state, runs.opened_at, completed_at, contract, imported_from,
       count(hotkey) AS forecasts,
       count(*) FILTER (WHERE forecasts.state IN ('planned', 'requested')) AS unfrozen,
       count(*) FILTER (WHERE forecasts.state = 'scored') AS scored,
       count(*) FILTER (WHERE forecasts.state = 'rejected') AS rejected,
       count(*) FILTER (WHERE forecasts.state = 'excused') AS excused,
       EXISTS (SELECT FROM lead_scores
                WHERE lead_scores.run_id = runs.run_id AND reason IS NULL) AS has_scores
  FROM runs
  LEFT JOIN forecasts USING (run_id)
 GROUP BY run_id
 ORDER BY init_time;

-- name: known_runs
-- Every run, and which of them are imported.
SELECT run_id, init_time, imported_from IS NOT NULL AS is_imported
  FROM runs;

-- name: import_run
-- Opens a run of the original; no row back: there is a run of this initial time.
INSERT INTO runs (run_id, init_time, rule_set, opened_at, imported_from)
VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING
RETURNING run_id;

-- name: count_imported
-- Number of imported runs.
SELECT count(*)
  FROM runs
 WHERE imported_from IS NOT NULL;
