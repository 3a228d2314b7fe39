-- Parts by month again: the days of a month become one part. Days that were removed stay away.
DO $$
DECLARE
    day record;
    whole text;
    months_name text;
    low text;
    high text;
    foreign_key text;
    key_name text;
    is_copied boolean;
BEGIN
    -- The part for other rows must have none of a month that is made.
    PERFORM component_scores_make(to_char(newest, 'YYYY-MM-DD'), to_char(newest + interval '1 day', 'YYYY-MM-DD'))
       FROM (SELECT coalesce(max(init_time), now()) AT TIME ZONE 'UTC' AS newest FROM runs) AS calendar;
    FOR day IN
        SELECT part,
               substring(pg_get_expr(relpartbound, pg_class.oid) from $pattern$FROM \('([^']+)'\)$pattern$) AS begin_day,
               to_char(to_date(part_end, 'YYYY-MM-DD') - 1, 'YYYY-MM') AS month,
               lead(part_end) OVER (ORDER BY part_end) IS NULL
               OR to_char(to_date(part_end, 'YYYY-MM-DD') - 1, 'YYYY-MM') < left(part_end, 7) AS ends_month
          FROM component_scores_parts()
          JOIN pg_class ON relname = part AND relnamespace = current_schema()::regnamespace
         WHERE length(part_end) = 10
         ORDER BY part_end
    LOOP
        EXECUTE format('ALTER TABLE component_scores DETACH PARTITION %I', day.part);
        IF whole IS NULL THEN
            whole := day.part;
            low := day.begin_day;
            is_copied := false;
            SELECT conname INTO foreign_key FROM pg_constraint WHERE conrelid = to_regclass(whole) AND contype = 'f';
        ELSE
            IF NOT is_copied THEN
                -- Rows are written several times faster without, and checked at once below.
                EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I, DROP CONSTRAINT %I', whole, whole || '_pkey', foreign_key);
                is_copied := true;
            END IF;
            EXECUTE format('INSERT INTO %I SELECT * FROM %I', whole, day.part);
            EXECUTE format('DROP TABLE %I', day.part);
        END IF;
        IF day.ends_month THEN
            high := to_char(to_date(day.month, 'YYYY-MM') + interval '1 month', 'YYYY-MM');
            months_name := CASE WHEN low IS NULL THEN 'component_scores_before'
                                ELSE 'component_scores_' || replace(day.month, '-', '_') END;
            -- Migration 17 and its way back know the key of the first part by this name.
            key_name := CASE WHEN low IS NULL THEN 'component_scores_run_id_hotkey_fkey' ELSE foreign_key END;
            IF is_copied THEN
                EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours, field),'
                               ' ADD CONSTRAINT %I FOREIGN KEY (run_id, hotkey) REFERENCES forecasts',
                               whole, months_name || '_pkey', key_name);
            ELSIF whole <> months_name THEN
                EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', whole, whole || '_pkey', months_name || '_pkey');
            END IF;
            IF NOT is_copied AND key_name <> foreign_key THEN
                EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', whole, foreign_key, key_name);
            END IF;
            IF whole <> months_name THEN
                EXECUTE format('ALTER TABLE %I RENAME TO %I', whole, months_name);
            END IF;
            EXECUTE format('ALTER TABLE component_scores ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%L)',
                           months_name, coalesce(quote_literal(low), 'MINVALUE'), high);
            whole := NULL;
        END IF;
    END LOOP;
END
$$;

DROP FUNCTION component_scores_make(text, text);
DROP FUNCTION component_scores_make_part(text, text, text);
DROP FUNCTION component_scores_drop(text);
DROP FUNCTION component_scores_parts();

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
