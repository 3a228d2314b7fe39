-- One table again. Months that were removed stay away.
DO $$
BEGIN
    IF to_regclass('component_scores_before') IS NULL THEN
        CREATE TABLE component_scores_before (LIKE component_scores INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
        ALTER TABLE component_scores_before
            ADD CONSTRAINT component_scores_before_pkey PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours, field),
            ADD CONSTRAINT component_scores_run_id_hotkey_fkey FOREIGN KEY (run_id, hotkey) REFERENCES forecasts;
    ELSE
        ALTER TABLE component_scores DETACH PARTITION component_scores_before;
    END IF;
    IF EXISTS (SELECT FROM component_scores) THEN
        -- Rows are written several times faster without, and checked at once then.
        ALTER TABLE component_scores_before
            DROP CONSTRAINT component_scores_before_pkey,
            DROP CONSTRAINT component_scores_run_id_hotkey_fkey;
        INSERT INTO component_scores_before SELECT * FROM component_scores;
        ALTER TABLE component_scores_before
            ADD CONSTRAINT component_scores_before_pkey PRIMARY KEY (run_id, hotkey, rule_set, kind, lead_hours, field),
            ADD CONSTRAINT component_scores_run_id_hotkey_fkey FOREIGN KEY (run_id, hotkey) REFERENCES forecasts;
    END IF;
END
$$;
DROP TABLE component_scores;
DROP FUNCTION component_scores_make(text);
DROP FUNCTION component_scores_drop(text);
DROP FUNCTION component_scores_parts();
ALTER TABLE component_scores_before RENAME TO component_scores;
ALTER TABLE component_scores RENAME CONSTRAINT component_scores_before_pkey TO component_scores_pkey;
CREATE TRIGGER component_scores_are_kept BEFORE UPDATE OR DELETE ON component_scores
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
-- As migration 16 left it.
DO $$
DECLARE
    first_month_after text;
BEGIN
    SELECT to_char(date_trunc('month', greatest(now(), max(init_time)) AT TIME ZONE 'UTC') + interval '2 months', 'YYYY-MM')
      INTO first_month_after
      FROM runs;
    EXECUTE format('ALTER TABLE component_scores ADD CONSTRAINT component_scores_before_check'
                   ' CHECK (run_id < %L) NOT VALID', first_month_after);
END
$$;
