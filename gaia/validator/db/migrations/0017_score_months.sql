-- Scores of fields are kept by month, so that a month is removed at once. Old rows stay where they are, as the first part.

ALTER TABLE component_scores VALIDATE CONSTRAINT component_scores_before_check;
ALTER TABLE component_scores RENAME TO component_scores_before;
ALTER TABLE component_scores_before RENAME CONSTRAINT component_scores_pkey TO component_scores_before_pkey;
DROP TRIGGER component_scores_are_kept ON component_scores_before;

CREATE TABLE component_scores (LIKE component_scores_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (run_id);
ALTER TABLE component_scores DROP CONSTRAINT component_scores_before_check;
ALTER TABLE component_scores
    ADD PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours, field),
    ADD FOREIGN KEY (run_id, hotkey) REFERENCES forecasts;
DO $$
BEGIN
    EXECUTE format('ALTER TABLE component_scores ATTACH PARTITION component_scores_before'
                   ' FOR VALUES FROM (MINVALUE) TO (%L)',
                   (SELECT substring(pg_get_constraintdef(oid) from '''(\d{4}-\d{2})''')
                      FROM pg_constraint
                     WHERE conname = 'component_scores_before_check'
                       AND conrelid = 'component_scores_before'::regclass));
END
$$;
ALTER TABLE component_scores_before DROP CONSTRAINT component_scores_before_check;
CREATE TABLE component_scores_other PARTITION OF component_scores DEFAULT;
CREATE TRIGGER component_scores_are_kept BEFORE UPDATE OR DELETE ON component_scores
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Each part with the month that follows its last one; NULL: the part for rows of no month that was made.
CREATE FUNCTION component_scores_parts(OUT part text, OUT month_after text) RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    SELECT relname::text, substring(pg_get_expr(relpartbound, pg_class.oid) from $pattern$TO \('(\d{4}-\d{2})'\)$pattern$)
      FROM pg_inherits
      JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = 'component_scores'::regclass
$$;

-- Makes the parts of all months before one; returns their names. Rows that came before their month was made get a part, too.
CREATE FUNCTION component_scores_make(before_month text) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    made text[] := '{}';
    covered text := (SELECT max(month_after) FROM component_scores_parts());
    following text;
    part text;
BEGIN
    SELECT to_char(to_date(left(max(run_id), 7), 'YYYY-MM') + interval '1 month', 'YYYY-MM')
      INTO following
      FROM component_scores_other;
    -- Rows of a month whose part is gone stay where they are.
    IF following > covered THEN
        part := 'component_scores_until_' || replace(following, '-', '_');
        ALTER TABLE component_scores DETACH PARTITION component_scores_other;
        EXECUTE format('ALTER TABLE component_scores_other RENAME CONSTRAINT component_scores_other_pkey TO %I', part || '_pkey');
        EXECUTE format('ALTER TABLE component_scores_other RENAME TO %I', part);
        EXECUTE format('ALTER TABLE component_scores ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, covered, following);
        CREATE TABLE component_scores_other PARTITION OF component_scores DEFAULT;
        made := made || part;
        covered := following;
    END IF;
    WHILE covered < before_month LOOP
        following := to_char(to_date(covered, 'YYYY-MM') + interval '1 month', 'YYYY-MM');
        part := 'component_scores_' || replace(covered, '-', '_');
        EXECUTE format('CREATE TABLE %I (LIKE component_scores INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours, field),'
                       ' ADD FOREIGN KEY (run_id, hotkey) REFERENCES forecasts', part);
        EXECUTE format('ALTER TABLE component_scores ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, covered, following);
        made := made || part;
        covered := following;
    END LOOP;
    RETURN made;
END
$$;

-- Removes the parts that end before a month, but those with an open run and the newest one; returns their names.
CREATE FUNCTION component_scores_drop(before_month text) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    dropped text[] := '{}';
    old text;
BEGIN
    FOR old IN
        SELECT part
          FROM component_scores_parts()
         WHERE month_after <= before_month
           AND month_after < (SELECT max(month_after) FROM component_scores_parts())
           AND NOT EXISTS (SELECT FROM runs WHERE state = 'open' AND run_id < month_after)
         ORDER BY month_after
    LOOP
        EXECUTE format('DROP TABLE %I', old);
        dropped := dropped || old;
    END LOOP;
    RETURN dropped;
END
$$;
