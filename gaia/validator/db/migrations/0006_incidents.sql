-- What the validator waits for, and what became of every vector it promised.

-- One row for each time that a party outside of us failed; open while `ended_at` is NULL.
CREATE TABLE incidents (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party       text NOT NULL,             -- chain: reading the subnet; weights: setting them
    began_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,      -- when it failed last
    ended_at    timestamptz,
    evidence    text NOT NULL              -- the last words
);
CREATE UNIQUE INDEX incidents_open ON incidents (party) WHERE ended_at IS NULL;

-- Where the chain stood; NULL: written before this was kept.
ALTER TABLE weight_journal
    ADD COLUMN promised_block bigint,      -- when the vector was promised
    ADD COLUMN tried_block    bigint;      -- when it was last handed to the signer

-- 'failed' may be tried again, or may yet be found on chain; 'lost' is neither.
ALTER TABLE weight_journal DROP CONSTRAINT weight_journal_state_check;
ALTER TABLE weight_journal ADD CONSTRAINT weight_journal_state_check
    CHECK (state IN ('intended', 'set', 'failed', 'lost'));
