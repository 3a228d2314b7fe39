-- Scores of fields are kept by day, so that the size stays flat. Parts of months that have rows stay until all of them is old.

DO $$
DECLARE
    latest text;
    has_rows boolean;
BEGIN
    FOR latest IN SELECT part FROM component_scores_parts() WHERE month_after IS NOT NULL ORDER BY month_after DESC LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', latest) INTO has_rows;
        EXIT WHEN has_rows;
        EXECUTE format('DROP TABLE %I', latest);
    END LOOP;
END
$$;

DROP FUNCTION component_scores_make(text);
DROP FUNCTION component_scores_drop(text);
DROP FUNCTION component_scores_parts();

-- Each part with the day or the month that follows its last one; NULL: the part for rows of no day that was made.
CREATE FUNCTION component_scores_parts(OUT part text, OUT part_end text) RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    SELECT relname::text,
           substring(pg_get_expr(relpartbound, pg_class.oid) from $pattern$TO \('(\d{4}-\d{2}(?:-\d{2})?)'\)$pattern$)
      FROM pg_inherits
      JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = 'component_scores'::regclass
$$;

-- Makes an empty part that ends before a day.
CREATE FUNCTION component_scores_make_part(part text, begin_day text, end_day text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE component_scores INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
    EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours, field),'
                   ' ADD FOREIGN KEY (run_id, hotkey) REFERENCES forecasts', part);
    EXECUTE format('ALTER TABLE component_scores ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%L)',
                   part, coalesce(quote_literal(begin_day), 'MINVALUE'), end_day);
    RETURN part;
END
$$;

-- Makes the parts of all days before one; returns their names. Rows that came before their day was made get a part, too.
-- The first part holds all that is older than the first day.
CREATE FUNCTION component_scores_make(first_day text, before_day text) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    made text[] := '{}';
    covered text := (SELECT max(part_end) FROM component_scores_parts());
    following text;
    part text;
BEGIN
    SELECT to_char(to_date(left(max(run_id), 10), 'YYYY-MM-DD') + 1, 'YYYY-MM-DD')
      INTO following
      FROM component_scores_other;
    -- Rows of a day whose part is gone stay where they are.
    IF following > coalesce(covered, '') THEN
        part := 'component_scores_until_' || replace(following, '-', '_');
        ALTER TABLE component_scores DETACH PARTITION component_scores_other;
        EXECUTE format('ALTER TABLE component_scores_other RENAME CONSTRAINT component_scores_other_pkey TO %I', part || '_pkey');
        EXECUTE format('ALTER TABLE component_scores_other RENAME TO %I', part);
        CREATE TABLE component_scores_other PARTITION OF component_scores DEFAULT;
        EXECUTE format('INSERT INTO component_scores_other SELECT * FROM %I WHERE run_id < %L', part, covered);
        EXECUTE format('DELETE FROM %I WHERE run_id < %L', part, covered);
        EXECUTE format('ALTER TABLE component_scores ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%L)',
                       part, coalesce(quote_literal(covered), 'MINVALUE'), following);
        made := made || part;
        covered := following;
    ELSIF covered IS NULL THEN
        made := made || component_scores_make_part('component_scores_before', NULL, first_day);
        covered := first_day;
    END IF;
    WHILE covered < before_day LOOP
        -- Days that passed meanwhile share a part. An end such as 2026-04 means its first day.
        following := greatest(first_day, to_char(to_date(left(covered || '-01', 10), 'YYYY-MM-DD') + 1, 'YYYY-MM-DD'));
        part := 'component_scores_' || replace(left(covered || '-01', 10), '-', '_');
        made := made || component_scores_make_part(part, covered, following);
        covered := following;
    END LOOP;
    RETURN made;
END
$$;

-- Removes the parts that end before a day, but those with an open run and the newest one; returns their names.
CREATE FUNCTION component_scores_drop(before_day text) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    dropped text[] := '{}';
    old text;
BEGIN
    FOR old IN
        SELECT part
          FROM component_scores_parts()
         WHERE part_end <= before_day
           AND part_end < (SELECT max(part_end) FROM component_scores_parts())
           AND NOT EXISTS (SELECT FROM runs WHERE state = 'open' AND run_id < part_end)
         ORDER BY part_end
    LOOP
        EXECUTE format('DROP TABLE %I', old);
        dropped := dropped || old;
    END LOOP;
    RETURN dropped;
END
$$;
