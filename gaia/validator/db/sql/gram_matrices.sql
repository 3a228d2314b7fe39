-- Gram matrices of forecast errors: one row a run and lead.

-- name: finalised_hotkeys
-- Forecasts scored at a lead at which every forecast that delivers is scored, while the lead has no matrix.
SELECT array_agg(scored.hotkey ORDER BY scored.hotkey)
  FROM lead_scores scored
 WHERE scored.run_id = $1
   AND scored.lead_hours = $2
   AND scored.rule_set = $3
   AND scored.kind = 'final'
   AND scored.reason IS NULL
   AND NOT EXISTS (SELECT FROM forecasts
                    WHERE forecasts.run_id = $1
                      AND forecasts.state NOT IN ('rejected', 'excused')
                      AND NOT EXISTS (SELECT FROM lead_scores own
                                       WHERE own.run_id = $1
                                         AND own.hotkey = forecasts.hotkey
                                         AND own.rule_set = $3
                                         AND own.kind = 'final'
                                         AND own.lead_hours = $2))
   AND NOT EXISTS (SELECT FROM gram_matrices
                    WHERE gram_matrices.run_id = $1 AND gram_matrices.lead_hours = $2);

-- name: record_matrix
-- Stores the matrix of a lead; the first one stays.
INSERT INTO gram_matrices (run_id, lead_hours, sha256, hotkeys, made_at, content)
VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING;

-- name: matrices_of_runs
-- The matrices of some runs.
SELECT run_id, lead_hours, sha256, hotkeys
  FROM gram_matrices
 WHERE run_id = ANY($1::text[])
 ORDER BY run_id, lead_hours;

-- name: matrix_content
-- What the file of a matrix holds; nothing if an earlier release stored the row.
SELECT content
  FROM gram_matrices
 WHERE sha256 = $1
   AND content IS NOT NULL
 LIMIT 1;

-- name: matrices_without_content
-- Matrices that only the data folder of their validator holds, and their number of forecasts.
SELECT DISTINCT sha256, jsonb_array_length(hotkeys) AS size
  FROM gram_matrices
 WHERE content IS NULL
   AND sha256 <> '';

-- name: add_matrix_content
-- Adds what the file of a matrix holds to the row of an earlier release.
UPDATE gram_matrices
   SET content = $2
 WHERE sha256 = $1
   AND content IS NULL;

-- name: scored_without_matrix
-- Forecasts scored at those leads of a run that have no matrix yet.
SELECT lead_hours, array_agg(hotkey ORDER BY hotkey) AS hotkeys
  FROM lead_scores scored
 WHERE run_id = $1
   AND rule_set = $2
   AND kind = 'final'
   AND reason IS NULL
   AND NOT EXISTS (SELECT FROM gram_matrices
                    WHERE gram_matrices.run_id = scored.run_id
                      AND gram_matrices.lead_hours = scored.lead_hours)
 GROUP BY lead_hours
 ORDER BY lead_hours;

-- name: forget_matrices
-- Deletes the matrices of runs that have left the window.
DELETE FROM gram_matrices
 USING runs
 WHERE runs.run_id = gram_matrices.run_id
   AND runs.init_time <= (SELECT max(init_time)
                            FROM runs
                            JOIN score_table USING (run_id)
                           WHERE score_table.rule_set = $1) - $2::interval;

-- name: matrix_digests
-- The digests of the files that are still referred to.
SELECT DISTINCT sha256
  FROM gram_matrices;

-- name: matrix_leads
-- The leads whose matrices are kept.
SELECT run_id, lead_hours
  FROM gram_matrices;
