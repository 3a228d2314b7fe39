-- What the database must not hold: each statement returns how many rows violate it, and one example.

-- name: verify_completed_runs
-- Completed runs with forecasts that are not at their end.
SELECT count(*) AS rows, min(run_id || ' ' || hotkey) AS example
  FROM forecasts
  JOIN runs USING (run_id)
 WHERE runs.state = 'completed'
   AND forecasts.state NOT IN ('scored', 'rejected', 'excused');

-- name: verify_manifests
-- Frozen manifests whose digest is not the stored one.
SELECT count(*) AS rows, min(run_id || ' ' || hotkey) AS example
  FROM forecasts
 WHERE manifest IS NOT NULL
   AND encode(sha256(manifest), 'hex') IS DISTINCT FROM manifest_sha256;

-- name: verify_lead_scores
-- Leads with scores of fields, and without a score of their own.
SELECT count(*) AS rows, min(concat_ws(' ', run_id, hotkey, rule_set, kind, lead_hours)) AS example
  FROM (SELECT DISTINCT run_id, hotkey, rule_set, kind, lead_hours FROM component_scores) AS scored
 WHERE NOT EXISTS (SELECT FROM lead_scores
                    WHERE (lead_scores.run_id, lead_scores.hotkey, lead_scores.rule_set, lead_scores.kind,
                           lead_scores.lead_hours)
                        = (scored.run_id, scored.hotkey, scored.rule_set, scored.kind, scored.lead_hours));

-- name: verify_overall_scores
-- Scored forecasts without a row that weights are made of, under the rules of their run.
SELECT count(*) AS rows, min(run_id || ' ' || hotkey) AS example
  FROM forecasts
  JOIN runs USING (run_id)
 WHERE forecasts.state = 'scored'
   AND NOT EXISTS (SELECT FROM score_table
                    WHERE (score_table.run_id, score_table.hotkey, score_table.rule_set)
                        = (forecasts.run_id, forecasts.hotkey, runs.rule_set));

-- name: verify_numbers
-- Scores that are no number or infinite; NaN is greater than infinity here.
SELECT count(*) AS rows, min(example) AS example
  FROM (SELECT concat_ws(' ', run_id, hotkey, rule_set, kind, lead_hours, field) AS example
          FROM component_scores
         WHERE NOT (rmse >= 0 AND rmse < 'infinity' AND mse >= 0 AND mse < 'infinity'
                    AND mae >= 0 AND mae < 'infinity' AND bias > '-infinity' AND bias < 'infinity')
         UNION ALL
        SELECT concat_ws(' ', run_id, hotkey, rule_set, kind, lead_hours)
          FROM lead_scores
         WHERE NOT (score BETWEEN -1 AND 1 OR (score = 'NaN' AND reason IS NOT NULL))
         UNION ALL
        SELECT concat_ws(' ', run_id, hotkey, rule_set)
          FROM score_table
         WHERE NOT (overall BETWEEN -1 AND 1)) AS violations;

-- name: verify_weight_inputs
-- Parts of what vectors were computed from, whose key is not their digest.
SELECT count(*) AS rows, min(sha256) AS example
  FROM weight_inputs
 WHERE encode(sha256(convert_to(content, 'UTF8')), 'hex') <> weight_inputs.sha256;

-- name: verify_journal
-- Vectors that stand on chain in no block.
SELECT count(*) AS rows, min(concat_ws(' ', netuid, mechid, epoch)) AS example
  FROM weight_journal
 WHERE state IN ('set', 'revealed')
   AND block IS NULL;

-- name: verify_imported_runs
-- Imported forecasts in runs of our own, or our own in imported runs.
SELECT count(*) AS rows, min(run_id || ' ' || hotkey) AS example
  FROM forecasts
  JOIN runs USING (run_id)
 WHERE is_imported <> (imported_from IS NOT NULL);
