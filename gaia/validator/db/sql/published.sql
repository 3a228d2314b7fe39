-- What the pages for operators and miners show beside whole runs.

-- name: recent_weights
-- The newest vectors, newest first, with the weight of each hotkey.
SELECT epoch, rule_set, state, intended_at, settled_at, block, extrinsic, weights, run_ids
  FROM weight_journal
 ORDER BY epoch DESC
 LIMIT $1;

-- name: fields_of_run
-- The main measures of one run under one rule set, field by field.
SELECT hotkey, kind, lead_hours, field, rmse, bias, acc, skill_climatology, skill_gfs
  FROM component_scores
 WHERE run_id = $1
   AND rule_set = $2
 ORDER BY hotkey, kind, lead_hours, field;
