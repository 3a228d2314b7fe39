-- Names that say what they hold: a forecast whose manifest is frozen, the moment of its commitment,
-- and Gram matrices of forecast errors.

ALTER TABLE forecasts
    DROP CONSTRAINT forecasts_state_check,
    DROP CONSTRAINT forecasts_check;
UPDATE forecasts SET state = 'frozen' WHERE state = 'verified';
ALTER TABLE forecasts
    ADD CONSTRAINT forecasts_state_check CHECK (state IN (
        'planned',             -- to be asked
        'requested',           -- the miner accepted; it is at work
        'frozen',              -- its manifest is frozen; nothing of the data is verified yet
        'scored_day1',         -- first day scored; leads follow
        'scored',              -- every lead scored
        'rejected',            -- the miner's fault: scores zero
        'excused')),           -- ours: not counted
    ADD CONSTRAINT forecasts_check
        CHECK (state NOT IN ('frozen', 'scored_day1', 'scored') OR manifest IS NOT NULL);

-- When the manifest was frozen, and when the polling round began in which it was: the same for all of the round.
ALTER TABLE forecasts RENAME COLUMN frozen_at TO committed_at;
ALTER TABLE forecasts RENAME COLUMN frozen_round TO committed_round;

ALTER TABLE lead_products RENAME TO gram_matrices;
ALTER TABLE gram_matrices RENAME CONSTRAINT lead_products_pkey TO gram_matrices_pkey;
ALTER TABLE gram_matrices RENAME CONSTRAINT lead_products_run_id_fkey TO gram_matrices_run_id_fkey;
