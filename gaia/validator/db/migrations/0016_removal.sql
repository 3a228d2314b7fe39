-- What takes most of the space can be removed once it is old: manifests here, scores of fields by migration 17.

-- A manifest that was removed leaves its digest, which says that there was one.
ALTER TABLE forecasts
    ADD CONSTRAINT forecasts_manifest_check CHECK (
        state NOT IN ('frozen', 'scored_day1', 'scored') OR manifest IS NOT NULL OR manifest_sha256 IS NOT NULL),
    DROP CONSTRAINT forecasts_check;

CREATE FUNCTION refuse_other_manifest() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.manifest IS NULL AND NEW.signature IS NULL
       AND (NEW.manifest_sha256, NEW.committed_at, NEW.committed_round, NEW.signed_by)
           IS NOT DISTINCT FROM (OLD.manifest_sha256, OLD.committed_at, OLD.committed_round, OLD.signed_by)
       AND EXISTS (SELECT FROM runs WHERE run_id = OLD.run_id AND state = 'completed') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a row of % is kept as it was written (%)', TG_TABLE_NAME, TG_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

DROP TRIGGER forecasts_keep_their_manifest ON forecasts;
CREATE TRIGGER forecasts_keep_their_manifest
    BEFORE UPDATE OF manifest, signature, manifest_sha256, committed_at, committed_round, signed_by ON forecasts
    FOR EACH ROW WHEN (OLD.manifest IS NOT NULL OR OLD.manifest_sha256 IS NOT NULL)
    EXECUTE FUNCTION refuse_other_manifest();

-- The space of one run's manifests is used again by the next run's.
ALTER TABLE forecasts SET (toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000);

-- Every row that there is belongs to a month before this one; the next migration checks it while others write.
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
