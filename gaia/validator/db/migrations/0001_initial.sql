-- Runs, forecasts, what they scored, and the weights that followed.

CREATE TABLE runs (
    run_id       text PRIMARY KEY,
    init_time    timestamptz NOT NULL UNIQUE,
    rule_set     text NOT NULL,
    state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'completed')),
    opened_at    timestamptz NOT NULL,
    completed_at timestamptz,
    CHECK ((state = 'completed') = (completed_at IS NOT NULL))
);

CREATE TABLE forecasts (
    run_id          text NOT NULL REFERENCES runs,
    hotkey          text NOT NULL,
    uid             integer NOT NULL,          -- slot when asked; never a key
    registered_at   bigint NOT NULL,           -- block of registration
    state           text NOT NULL DEFAULT 'planned' CHECK (state IN (
                        'planned',             -- to be asked
                        'requested',           -- the miner accepted; it is at work
                        'verified',            -- its manifest is frozen
                        'scored_day1',         -- first day scored; leads follow
                        'scored',              -- every lead scored
                        'rejected',            -- the miner's fault: scores zero
                        'excused')),           -- ours: not counted
    opened_at       timestamptz NOT NULL,      -- the freeze window runs from here
    attempts        integer NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL,      -- nothing is tried before
    job_id          text,
    manifest_sha256 text,
    manifest        bytea,                     -- as signed
    signature       bytea,
    frozen_at       timestamptz,
    reason          text,
    evidence        jsonb,
    changed_at      timestamptz NOT NULL,
    PRIMARY KEY (run_id, hotkey),
    CHECK (state NOT IN ('verified', 'scored_day1', 'scored') OR manifest IS NOT NULL),
    CHECK (state NOT IN ('rejected', 'excused') OR reason IS NOT NULL)
);
CREATE INDEX forecasts_by_state ON forecasts (state, next_at);

-- A set of reference fields: one source at one time.
CREATE TABLE reference_sets (
    reference_id text PRIMARY KEY,             -- era5/2026-03-26T00Z, gfs/2026-03-25T00Z+12, ...
    ready        boolean NOT NULL DEFAULT false,
    attempts     integer NOT NULL DEFAULT 0,
    retry_at     timestamptz,
    last_error   text,
    digest       text,
    fields       jsonb,                        -- {name: {path, sha256}}
    CHECK (NOT ready OR fields IS NOT NULL)
);

-- Written once, never changed: what one forecast scored in one field at one lead.
CREATE TABLE component_scores (
    run_id              text NOT NULL,
    hotkey              text NOT NULL,
    rule_set            text NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('day1', 'final')),
    field               text NOT NULL,
    lead_hours          integer NOT NULL,
    rmse                double precision NOT NULL,
    mse                 double precision NOT NULL,
    mae                 double precision NOT NULL,
    bias                double precision NOT NULL,
    acc                 double precision,      -- NULL: an anomaly is constant
    skill_climatology   double precision,
    skill_gfs           double precision,
    pattern_correlation double precision,
    clone_distance      double precision,
    forecast_digest     text NOT NULL,
    truth_digest        text NOT NULL,
    scored_at           timestamptz NOT NULL,
    PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours, field),
    FOREIGN KEY (run_id, hotkey) REFERENCES forecasts
);

-- Written once: the score of one lead, zero with a reason where there was nothing to score.
CREATE TABLE lead_scores (
    run_id     text NOT NULL,
    hotkey     text NOT NULL,
    rule_set   text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('day1', 'final')),
    lead_hours integer NOT NULL,
    score      double precision NOT NULL,
    reason     text,
    scored_at  timestamptz NOT NULL,
    PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours),
    FOREIGN KEY (run_id, hotkey) REFERENCES forecasts
);

-- What weights are made of: one row a run and miner, derived from lead_scores.
CREATE TABLE score_table (
    run_id     text NOT NULL,
    hotkey     text NOT NULL,
    rule_set   text NOT NULL,
    day1       double precision,               -- NULL: not scored yet
    leads      jsonb NOT NULL,                 -- {"24": score, ...}
    overall    double precision NOT NULL,
    counted    boolean NOT NULL,               -- false: excused
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, hotkey, rule_set),
    FOREIGN KEY (run_id, hotkey) REFERENCES forecasts
);

-- Written before anything is signed; the key is the promise of one vector an epoch.
CREATE TABLE weight_journal (
    netuid        integer NOT NULL,
    mechid        integer NOT NULL,
    epoch         bigint NOT NULL,
    rule_set      text NOT NULL,
    vector        jsonb NOT NULL,              -- [[uid, u16], ...]
    vector_sha256 text NOT NULL,
    weights       jsonb NOT NULL,              -- {hotkey: weight} before quantising
    run_ids       jsonb NOT NULL,
    completed_ids jsonb NOT NULL,              -- those of run_ids that were complete
    state         text NOT NULL DEFAULT 'intended' CHECK (state IN ('intended', 'set', 'failed')),
    intended_at   timestamptz NOT NULL,
    settled_at    timestamptz,
    block         bigint,
    block_hash    text,
    extrinsic     text,
    read_back     jsonb,
    error         text,
    PRIMARY KEY (netuid, mechid, epoch),
    CHECK (state <> 'set' OR block IS NOT NULL)
);
