-- Who shares work with whom, and everything a weight vector was computed from.

-- When the round of questions began in which a manifest was frozen: the same for all of the round.
ALTER TABLE forecasts ADD COLUMN frozen_round timestamptz;

-- Written once: the products of the errors of a lead's forecasts; removed when the run leaves the window.
CREATE TABLE lead_products (
    run_id     text NOT NULL REFERENCES runs,
    lead_hours integer NOT NULL,
    sha256     text NOT NULL,              -- of the file, which is named by it
    hotkeys    jsonb NOT NULL,             -- [hotkey, ...] in the order of the products; []: none could be made
    made_at    timestamptz NOT NULL,
    PRIMARY KEY (run_id, lead_hours)
);

-- Parts of what vectors were computed from, each once: most of a vector's are those of the one before.
CREATE TABLE weight_inputs (
    sha256  text PRIMARY KEY,              -- of content
    content text NOT NULL                  -- JSON, to the byte as it was digested
);

-- What the vector was computed from; NULL: written before this was kept.
ALTER TABLE weight_journal ADD COLUMN inputs jsonb;
