-- What each epoch of the chain gave us.

-- name: consensus_seen
-- Store what the epoch before `epoch` gave us; the first reading of it stays.
INSERT INTO consensus_epochs (netuid, hotkey, epoch, block, seen_at, validator_trust, dividends, emission)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (netuid, hotkey, epoch) DO NOTHING;

-- name: consensus_usual_trust
-- The median of our trust over the newest epochs; NULL if none is known.
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY validator_trust)
  FROM (SELECT validator_trust
          FROM consensus_epochs
         WHERE netuid = $1 AND hotkey = $2
         ORDER BY epoch DESC
         LIMIT $3) AS newest;

-- name: consensus_days
-- What the epochs of each of the newest days (UTC) gave us, oldest first.
SELECT *
  FROM (SELECT date_trunc('day', seen_at AT TIME ZONE 'UTC')::date AS day,
               count(*) AS epochs,
               avg(validator_trust) AS validator_trust,
               min(validator_trust) AS least_trust,
               avg(dividends) AS dividends,
               sum(emission) AS emission
          FROM consensus_epochs
         WHERE netuid = $1 AND hotkey = $2
         GROUP BY day
         ORDER BY day DESC
         LIMIT $3) AS newest
 ORDER BY day;
