-- The journal of weight vectors: one vector an epoch, promised before it is signed.

-- name: journal_intent
-- Promises one vector for an epoch, before it is signed; no row back: the epoch has one.
INSERT INTO weight_journal (
    netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, completed_ids, intended_at, inputs,
    promised_block, tried_block)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
        $12, $12)
    ON CONFLICT DO NOTHING
RETURNING epoch;

-- name: record_weight_input
-- Stores one part of what vectors are computed from, once.
INSERT INTO weight_inputs (sha256, content)
VALUES ($1, $2)
    ON CONFLICT DO NOTHING;

-- name: journal_entry
-- What was promised for an epoch, and who was registered then.
SELECT epoch, vector, vector_sha256, state, promised_block, tried_block, sealed, reveal_round, commit_epoch, reveal_epoch,
       commit_block, block,
       (SELECT content FROM weight_inputs WHERE sha256 = inputs ->> 'present') AS present,
       (SELECT content FROM weight_inputs WHERE sha256 = inputs ->> 'terms') AS terms
  FROM weight_journal
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3;

-- name: journal_doubts
-- Vectors of which it is not known yet whether they landed, oldest first.
SELECT epoch, vector, vector_sha256, state, promised_block, tried_block, sealed, reveal_round, commit_epoch, reveal_epoch,
       commit_block, block
  FROM weight_journal
 WHERE netuid = $1
   AND mechid = $2
   AND state IN ('intended', 'failed')
   AND sealed IS NULL
 ORDER BY epoch;

-- name: journal_standing
-- The newest vector that was set plainly.
SELECT epoch, vector, vector_sha256, state, promised_block, tried_block, sealed, reveal_round, commit_epoch, reveal_epoch,
       commit_block, block
  FROM weight_journal
 WHERE netuid = $1
   AND mechid = $2
   AND state = 'set'
 ORDER BY epoch DESC
 LIMIT 1;

-- name: journal_commits
-- Sealed vectors of which the end is not known yet, oldest first.
SELECT epoch, vector, vector_sha256, state, promised_block, tried_block, sealed, reveal_round, commit_epoch, reveal_epoch,
       commit_block, block
  FROM weight_journal
 WHERE netuid = $1
   AND mechid = $2
   AND state IN ('intended', 'failed', 'committed')
   AND sealed IS NOT NULL
 ORDER BY epoch;

-- name: journal_unsealed
-- Forgets a sealed vector that is not on chain, before the vector is set plainly.
UPDATE weight_journal
   SET sealed = NULL, reveal_round = NULL, commit_epoch = NULL, reveal_epoch = NULL
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed');

-- name: journal_uncommitted
-- Marks a commit that is no longer on chain as failed, so that it is sent again.
UPDATE weight_journal
   SET state = 'failed', error = $4, commit_block = NULL
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state = 'committed';

-- name: journal_sealed
-- Stores a sealed vector before it is signed.
UPDATE weight_journal
   SET sealed = $4, reveal_round = $5, commit_epoch = $6, reveal_epoch = $7
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed');

-- name: journal_committed
-- Marks a promise as committed.
UPDATE weight_journal
   SET state = 'committed', commit_block = $4, extrinsic = $5, error = NULL
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed');

-- name: journal_revealed
-- Marks a commit as revealed.
UPDATE weight_journal
   SET state = 'revealed',
       block = $4,
       block_hash = '',
       extrinsic = coalesce(extrinsic, ''),
       read_back = $5,
       settled_at = $6,
       error = NULL
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed', 'committed');

-- name: journal_not_revealed
-- Marks a commit as lost: the chain did not reveal it, or never had it.
UPDATE weight_journal
   SET state = 'lost', error = $4, settled_at = $5
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed', 'committed');

-- name: journal_known_block
-- The newest block in which a vector of ours is known to have landed, plainly or as a commit; 0 if none is.
SELECT coalesce(max(greatest(block, commit_block)), 0)
  FROM weight_journal
 WHERE netuid = $1
   AND mechid = $2
   AND (block IS NOT NULL OR commit_block IS NOT NULL);

-- name: journal_explains
-- Whether a vector of ours dates our neuron with block $4 of epoch $3: it landed there or later, or, if $5, is revealed there.
SELECT EXISTS (SELECT 1
                 FROM weight_journal
                WHERE netuid = $1
                  AND mechid = $2
                  AND (greatest(block, commit_block) >= $4 OR ($5 AND reveal_epoch = $3)));

-- name: journal_tried
-- Stores the block as of which a promise is handed to the signer again.
UPDATE weight_journal
   SET tried_block = $4
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed');

-- name: journal_set
-- Marks a promise as set on chain; a vector that was set or lost stays so.
UPDATE weight_journal
   SET state = 'set',
       block = $4,
       block_hash = $5,
       extrinsic = $6,
       read_back = $7,
       settled_at = $8,
       error = NULL
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed');

-- name: journal_unset
-- Marks a promise as failed or lost; a vector that was set or lost stays so.
UPDATE weight_journal
   SET state = $4, error = $5, settled_at = $6
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state IN ('intended', 'failed');

-- name: journal_vanished
-- Marks weights that were set and are no longer on chain as failed, so that they are set again.
UPDATE weight_journal
   SET state = 'failed',
       error = $4,
       tried_block = $5,
       block = NULL,
       block_hash = NULL,
       extrinsic = NULL,
       read_back = NULL,
       settled_at = NULL
 WHERE netuid = $1
   AND mechid = $2
   AND epoch = $3
   AND state = 'set';

-- name: journal_last
-- The newest vectors as of a block that stand, stood or will be revealed, and what they were computed from.
SELECT epoch, weights, run_ids, completed_ids, inputs, promised_block
  FROM weight_journal
 WHERE netuid = $1
   AND mechid = $2
   AND state IN ('committed', 'set', 'revealed')
   AND coalesce(promised_block, 0) <= $3
 ORDER BY coalesce(promised_block, 0) DESC, epoch DESC
 LIMIT 4;

-- name: newest_vectors
-- The newest vectors of one subnet, or of any, newest first, whatever became of them.
SELECT netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, state, intended_at, block,
       block_hash, extrinsic, error, inputs, promised_block, commit_block, read_back
  FROM weight_journal
 WHERE $2::integer IS NULL
    OR netuid = $2
 ORDER BY epoch DESC
 LIMIT $1;

-- name: recent_vectors
-- The newest vectors, newest first, without their values.
SELECT epoch, rule_set, state, intended_at, settled_at, block, extrinsic, error,
       jsonb_array_length(run_ids) AS runs, (inputs ->> 'renewal_of')::bigint AS renews
  FROM weight_journal
 ORDER BY epoch DESC
 LIMIT $1;

-- name: vector_on_chain
-- The newest vector that stands on chain.
SELECT epoch, block, block_hash, extrinsic, settled_at
  FROM weight_journal
 WHERE state IN ('set', 'revealed')
 ORDER BY epoch DESC
 LIMIT 1;

-- name: vectors_in_doubt
-- Vectors of any subnet of which it is not known yet whether they stand on chain, oldest first.
SELECT epoch, state, intended_at, error
  FROM weight_journal
 WHERE state IN ('intended', 'failed')
 ORDER BY epoch;

-- name: vector_of_run
-- The newest vector that was made from a run and stands on chain.
SELECT netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, state, intended_at, block,
       block_hash, extrinsic, error, inputs, promised_block, commit_block
  FROM weight_journal
 WHERE state IN ('set', 'revealed')
   AND run_ids ? $1
 ORDER BY epoch DESC
 LIMIT 1;

-- name: vectors_of_runs
-- The vectors that were made from some runs, oldest first.
SELECT netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, state, intended_at, block,
       block_hash, extrinsic, error, inputs, promised_block, commit_block
  FROM weight_journal
 WHERE run_ids ?| $1::text[]
 ORDER BY netuid, mechid, epoch;

-- name: weight_inputs
-- Parts of what vectors were computed from.
SELECT sha256, content
  FROM weight_inputs
 WHERE sha256 = ANY($1::text[]);
