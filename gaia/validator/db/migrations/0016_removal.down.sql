-- An earlier release checks rows that it writes; manifests that were removed stay away.
ALTER TABLE component_scores DROP CONSTRAINT IF EXISTS component_scores_before_check;
ALTER TABLE forecasts RESET (toast.autovacuum_vacuum_scale_factor, toast.autovacuum_vacuum_threshold);
DROP TRIGGER forecasts_keep_their_manifest ON forecasts;
CREATE TRIGGER forecasts_keep_their_manifest
    BEFORE UPDATE OF manifest, signature, manifest_sha256, committed_at, committed_round, signed_by ON forecasts
    FOR EACH ROW WHEN (OLD.manifest IS NOT NULL) EXECUTE FUNCTION refuse_change();
DROP FUNCTION refuse_other_manifest();
ALTER TABLE forecasts
    DROP CONSTRAINT forecasts_manifest_check,
    ADD CONSTRAINT forecasts_check CHECK (
        state NOT IN ('frozen', 'scored_day1', 'scored') OR manifest IS NOT NULL) NOT VALID;
