-- What each epoch of the chain gave us, as it was read in the epoch after.

CREATE TABLE consensus_epochs (
    netuid          integer NOT NULL,
    hotkey          text NOT NULL,                  -- ours
    epoch           bigint NOT NULL,                -- epoch of the chain that began with these values
    block           bigint NOT NULL,                -- block at which they were read
    seen_at         timestamptz NOT NULL,
    validator_trust double precision NOT NULL,      -- from 0 to 1
    dividends       double precision NOT NULL,      -- part of all validators' rewards, from 0 to 1
    emission        double precision NOT NULL,      -- tokens of the subnet that the epoch paid us
    PRIMARY KEY (netuid, hotkey, epoch)
);
