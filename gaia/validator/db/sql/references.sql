-- Sets of reference fields: one source at one time.

-- name: read_reference
-- What is known of one set of reference fields.
SELECT ready, attempts, retry_at, missed_since, given_up_at, fields
  FROM reference_sets
 WHERE reference_id = $1;

-- name: record_reference
-- Stores a prepared set; the first one stays.
INSERT INTO reference_sets (reference_id, ready, digest, fields)
VALUES ($1, true, $2, $3)
    ON CONFLICT (reference_id) DO UPDATE
   SET ready = true,
       digest = excluded.digest,
       fields = excluded.fields,
       retry_at = NULL,
       last_error = NULL,
       attempts = 0,
       missed_since = NULL
 WHERE NOT reference_sets.ready;

-- name: withdraw_reference
-- Marks a prepared set as damaged: it is awaited again, and must then be what it was.
UPDATE reference_sets
   SET ready = false, retry_at = NULL, last_error = $2
 WHERE reference_id = $1
   AND ready;

-- name: postpone_reference
-- Stores when to ask a source again that failed or has nothing yet.
INSERT INTO reference_sets (reference_id, attempts, retry_at, last_error, missed_since, given_up_at)
VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (reference_id) DO UPDATE
   SET attempts = excluded.attempts,
       retry_at = excluded.retry_at,
       last_error = excluded.last_error,
       missed_since = excluded.missed_since,
       given_up_at = excluded.given_up_at
 WHERE NOT reference_sets.ready;

-- name: count_references
-- How many sets of reference fields are ready, and how many are awaited.
SELECT count(*) FILTER (WHERE ready) AS ready,
       count(*) FILTER (WHERE NOT ready) AS awaited
  FROM reference_sets;

-- name: awaited_references
-- What archives have not delivered yet and why, by source: the first part of a set's name.
SELECT split_part(reference_id, '/', 1) AS source,
       count(*) AS sets,
       min(retry_at) AS retry_at,
       (array_agg(last_error ORDER BY attempts DESC, reference_id))[1] AS last_error,
       max(attempts) AS failures,
       min(missed_since) AS missed_since
  FROM reference_sets
 WHERE NOT ready
   AND last_error IS NOT NULL
 GROUP BY source
 ORDER BY source;

-- name: reference_progress
-- What is known of some reference sets, without their fields.
SELECT reference_id, ready, attempts, retry_at, last_error, given_up_at
  FROM reference_sets
 WHERE reference_id = ANY($1::text[]);
