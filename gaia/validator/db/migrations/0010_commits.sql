-- Weights that are committed as sealed vectors and revealed by the chain.

ALTER TABLE weight_journal
    ADD COLUMN sealed       bytea,         -- the ciphertext; NULL: the vector is set plainly
    ADD COLUMN reveal_round bigint,        -- round of the beacon that opens it
    ADD COLUMN commit_epoch bigint,        -- epoch of the chain in which it must be committed
    ADD COLUMN reveal_epoch bigint,        -- epoch of the chain in which it is revealed
    ADD COLUMN commit_block bigint;        -- block of the commit; NULL: it is not known to be on chain

-- 'committed' waits for its reveal; 'revealed' stands on chain, as 'set' does.
ALTER TABLE weight_journal DROP CONSTRAINT weight_journal_state_check;
ALTER TABLE weight_journal ADD CONSTRAINT weight_journal_state_check
    CHECK (state IN ('intended', 'set', 'failed', 'lost', 'committed', 'revealed'));
ALTER TABLE weight_journal ADD CHECK (state NOT IN ('committed', 'revealed') OR sealed IS NOT NULL);
ALTER TABLE weight_journal ADD CHECK (state <> 'revealed' OR block IS NOT NULL);
