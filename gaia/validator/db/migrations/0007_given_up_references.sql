-- Since when a set of reference fields has been missed, and when it was given up for good.
ALTER TABLE reference_sets
    ADD COLUMN missed_since timestamptz,
    ADD COLUMN given_up_at timestamptz;
