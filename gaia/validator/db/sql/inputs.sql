-- Inputs: what scores were made from, kept so that they can be made again.

-- name: record_inputs
-- Stores what the units of a lead are given; the first unit's inputs stay.
INSERT INTO lead_inputs (run_id, rule_set, kind, lead_hours, handler, payload, digests)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT DO NOTHING;

-- name: read_inputs
-- What one lead of a run was compared with from its first forecast on.
SELECT handler, payload, digests
  FROM lead_inputs
 WHERE run_id = $1
   AND rule_set = $2
   AND kind = $3
   AND lead_hours = $4;

-- name: inputs_of_runs
-- What each lead of some runs was compared with.
SELECT run_id, rule_set, kind, lead_hours, handler, payload, digests
  FROM lead_inputs
 WHERE run_id = ANY($1::text[])
 ORDER BY run_id, rule_set, kind, lead_hours;
