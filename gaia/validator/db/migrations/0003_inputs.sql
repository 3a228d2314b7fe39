-- What scores were made from, and what making them cost: enough to compute a run anew.

-- What the run asked for: leads and fields of each kind, as the settings then had them.
ALTER TABLE runs ADD COLUMN contract jsonb;

-- CPU seconds the lead took; of a batch, this forecast's share. NULL: nothing was computed.
ALTER TABLE lead_scores ADD COLUMN cpu_s double precision;

-- Written once: what every forecast's unit of one lead was given, but for the forecast itself.
CREATE TABLE lead_inputs (
    run_id     text NOT NULL REFERENCES runs,
    rule_set   text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('day1', 'final')),
    lead_hours integer NOT NULL,
    handler    text NOT NULL,
    payload    jsonb NOT NULL,                -- paths are relative to the data folder
    digests    jsonb NOT NULL,                -- {role: {field: sha256}} of our own fields
    PRIMARY KEY (run_id, rule_set, kind, lead_hours)
);
