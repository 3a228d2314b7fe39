-- Scores: components and leads are written once; score_table is derived from leads.

-- name: record_component
-- Stores what one forecast scored in one field at one lead; the first score stays.
INSERT INTO component_scores (
    run_id, hotkey, rule_set, kind, field, lead_hours, forecast_digest, truth_digest, scored_at,
    rmse, mse, mae, bias, error_sd, acc, acc_uncentred,
    skill_climatology, skill_gfs, skill_persistence, skill_blend,
    activity, pattern_correlation, clone_distance,
    mse_climatology, mse_gfs, mse_persistence, mse_blend)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,
        $10, $11, $12, $13, $14, $15, $16,
        $17, $18, $19, $20,
        $21, $22, $23,
        $24, $25, $26, $27)
    ON CONFLICT DO NOTHING;

-- name: record_lead
-- Stores the score of one lead and the CPU seconds it took; the first score stays.
INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, reason, cpu_s, scored_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT DO NOTHING;

-- name: lead_scores
-- All lead scores of a run under one rule set.
SELECT hotkey, kind, lead_hours, score
  FROM lead_scores
 WHERE run_id = $1
   AND rule_set = $2;

-- name: lead_scores_of
-- All lead scores of one forecast under each of some rule sets.
SELECT rule_set, kind, lead_hours, score
  FROM lead_scores
 WHERE run_id = $1
   AND hotkey = $2
   AND rule_set = ANY($3::text[]);

-- name: record_score
-- Stores the row that weights are made of, derived anew each time.
INSERT INTO score_table (run_id, hotkey, rule_set, day1, leads, overall, counted, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (run_id, hotkey, rule_set) DO UPDATE
   SET day1 = excluded.day1,
       leads = excluded.leads,
       overall = excluded.overall,
       counted = excluded.counted,
       updated_at = excluded.updated_at;

-- name: window_scores
-- Forecasts of the runs in the window before the newest run that has scores, and what they scored.
-- A run none of whose leads is scored yet is left out.
SELECT runs.run_id, runs.state, forecasts.hotkey, uid, registered_at, forecasts.state AS forecast_state, overall,
       leads, score_table.updated_at
  FROM runs
  JOIN forecasts USING (run_id)
  LEFT JOIN score_table
    ON score_table.run_id = runs.run_id
   AND score_table.hotkey = forecasts.hotkey
   AND score_table.rule_set = $1
 WHERE runs.init_time > (SELECT max(init_time)
                           FROM runs
                           JOIN score_table USING (run_id)
                          WHERE score_table.rule_set = $1) - $2::interval
   AND (runs.state = 'completed'
        OR EXISTS (SELECT FROM lead_scores
                    WHERE lead_scores.run_id = runs.run_id AND lead_scores.rule_set = $1))
   AND EXISTS (SELECT FROM score_table
                WHERE score_table.run_id = runs.run_id AND score_table.rule_set = $1)
 ORDER BY runs.init_time, forecasts.hotkey;

-- name: components_of_runs
-- Every measure of some runs, whatever measures there are, in the order of the primary key.
SELECT *
  FROM component_scores
 WHERE run_id = ANY($1::text[])
 ORDER BY run_id, hotkey, rule_set, kind, lead_hours, field;

-- name: components_under
-- Every measure of one run under one rule set.
SELECT *
  FROM component_scores
 WHERE run_id = $1
   AND rule_set = $2;

-- name: leads_of_runs
-- The score of every lead of some runs, and what it cost.
SELECT run_id, hotkey, rule_set, kind, lead_hours, score, reason, cpu_s
  FROM lead_scores
 WHERE run_id = ANY($1::text[])
 ORDER BY run_id, hotkey, rule_set, kind, lead_hours;

-- name: scores_of_runs
-- The rows of some runs that weights are made of.
SELECT run_id, hotkey, rule_set, day1, leads, overall, counted
  FROM score_table
 WHERE run_id = ANY($1::text[])
 ORDER BY run_id, hotkey, rule_set;

-- name: overall_scores
-- Overall scores of all runs, with who earned them.
SELECT run_id, init_time, runs.state AS run_state, score_table.rule_set, hotkey, uid, registered_at,
       forecasts.state, day1, overall, counted
  FROM score_table
  JOIN runs USING (run_id)
  JOIN forecasts USING (run_id, hotkey)
 ORDER BY init_time, hotkey, rule_set;

-- name: costs
-- CPU seconds of each run under each rule set, and the number of leads they were spent on.
SELECT run_id, rule_set, count(cpu_s) AS leads, coalesce(sum(cpu_s), 0) AS cpu_s
  FROM lead_scores
 GROUP BY run_id, rule_set;

-- name: leads_of_run
-- Which leads of a run have a row under one rule set, by miner, and whether it was measured.
SELECT hotkey, kind, lead_hours, reason IS NULL AS is_measured
  FROM lead_scores
 WHERE run_id = $1
   AND rule_set = $2;

-- name: newest_scored_init_time
-- Initial time of the newest run with a score under a rule set.
SELECT max(init_time)
  FROM runs
  JOIN score_table USING (run_id)
 WHERE score_table.rule_set = $1;

-- name: import_leads
-- Stores the lead scores of an imported run.
INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, reason, scored_at)
SELECT $1, lead.hotkey, $2, lead.kind, lead.lead_hours, lead.score, lead.reason, lead.scored_at
  FROM unnest($3::text[], $4::text[], $5::int[], $6::float8[], $7::text[], $8::timestamptz[])
       AS lead (hotkey, kind, lead_hours, score, reason, scored_at);

-- name: import_scores
-- Stores the rows of an imported run that weights are made of.
INSERT INTO score_table (run_id, hotkey, rule_set, day1, leads, overall, counted, updated_at)
SELECT $1, miner.hotkey, $2, miner.day1, miner.leads::jsonb, miner.overall, true, miner.scored_at
  FROM unnest($3::text[], $4::float8[], $5::text[], $6::float8[], $7::timestamptz[])
       AS miner (hotkey, day1, leads, overall, scored_at);
