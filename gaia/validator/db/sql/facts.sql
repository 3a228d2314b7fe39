-- What metrics show of the database; every statement is cheap enough to run a few times a minute.

-- name: run_facts
-- Number of open runs, when the oldest of them was opened, and when the newest run of all was.
SELECT count(*) FILTER (WHERE state = 'open') AS active,
       min(opened_at) FILTER (WHERE state = 'open') AS oldest_opened_at,
       max(opened_at) AS last_opened_at
  FROM runs;

-- name: vector_facts
-- Number of vectors in doubt, and the newest vector that stands on chain: its epoch, and when it was found there.
SELECT in_doubt, epoch AS last_set_epoch, settled_at AS last_set_at
  FROM (SELECT count(*) AS in_doubt FROM weight_journal WHERE state IN ('intended', 'failed')) AS doubts
  LEFT JOIN (SELECT epoch, settled_at
               FROM weight_journal
              WHERE netuid = $1 AND mechid = $2 AND state IN ('set', 'revealed')
              ORDER BY epoch DESC
              LIMIT 1) AS newest
    ON true;

-- name: score_spread
-- How the scores of miners are spread, for each kind of lead, in the newest run that has any: of each forecast
-- the mean of its scored leads.
  WITH newest AS (
       SELECT kind,
              (SELECT run_id
                 FROM runs
                WHERE EXISTS (SELECT
                                FROM lead_scores
                               WHERE lead_scores.run_id = runs.run_id
                                 AND lead_scores.rule_set = $1
                                 AND lead_scores.kind = kinds.kind
                                 AND score <> 'NaN')
                ORDER BY init_time DESC
                LIMIT 1) AS run_id
         FROM unnest(ARRAY['day1', 'final']) AS kinds (kind)),
       means AS (
       SELECT kind, avg(score) AS score
         FROM newest
         JOIN lead_scores USING (run_id, kind)
        WHERE rule_set = $1
          AND score <> 'NaN'
        GROUP BY kind, hotkey)
SELECT kind,
       percentile_cont(0.1) WITHIN GROUP (ORDER BY score) AS p10,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY score) AS median,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY score) AS p90
  FROM means
 GROUP BY kind;

-- name: source_facts
-- Number of reference sets of each source that are ready and awaited, and the newest one that is ready and a truth:
-- one for the moment at which it begins.
SELECT split_part(reference_id, '/', 1) AS source,
       count(*) FILTER (WHERE ready) AS ready,
       count(*) FILTER (WHERE NOT ready AND given_up_at IS NULL) AS awaited,
       max(reference_id) FILTER (WHERE ready AND (strpos(reference_id, '+') = 0 OR strpos(reference_id, '+0/') > 0))
           AS newest_truth
  FROM reference_sets
 GROUP BY source;

-- name: settled_references
-- Which of some reference sets are ready, or given up.
SELECT reference_id
  FROM reference_sets
 WHERE reference_id = ANY($1::text[])
   AND (ready OR given_up_at IS NOT NULL);

-- name: database_bytes
-- Size of this database on disk.
SELECT pg_database_size(current_database());
