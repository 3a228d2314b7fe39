-- Runs whose scores the original validator computed, and `gaia db import-original` took over.

ALTER TABLE runs ADD COLUMN imported_from text;                            -- "original run 12"; NULL: scored by us
ALTER TABLE forecasts ADD COLUMN is_imported boolean NOT NULL DEFAULT false; -- its manifest is not kept here

-- After a rollback, a note stands in place of the manifest.
UPDATE forecasts
   SET is_imported = true
 WHERE state = 'scored'
   AND signature IS NULL
   AND substring(manifest FROM 1 FOR 18) = convert_to('{"imported_from": ', 'UTF8');
UPDATE runs
   SET imported_from = convert_from(manifest, 'UTF8')::jsonb ->> 'imported_from'
  FROM forecasts
 WHERE forecasts.run_id = runs.run_id
   AND is_imported;

ALTER TABLE forecasts
    DROP CONSTRAINT forecasts_manifest_check,
    ADD CONSTRAINT forecasts_manifest_check CHECK (
        state NOT IN ('frozen', 'scored_day1', 'scored') OR manifest IS NOT NULL OR manifest_sha256 IS NOT NULL
        OR is_imported);

-- Whose scores they are does not change.
CREATE TRIGGER runs_keep_their_origin BEFORE UPDATE OF imported_from ON runs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER forecasts_keep_their_origin BEFORE UPDATE OF is_imported ON forecasts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
