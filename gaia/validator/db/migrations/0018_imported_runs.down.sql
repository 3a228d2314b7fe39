-- Keeps the imported runs for weights. An earlier release takes their forecasts for its own; a note is their manifest.

UPDATE forecasts
   SET manifest = note,
       manifest_sha256 = encode(sha256(note), 'hex')
  FROM (SELECT run_id, convert_to(jsonb_build_object('imported_from', imported_from)::text, 'UTF8') AS note
          FROM runs
         WHERE imported_from IS NOT NULL) AS notes
 WHERE forecasts.run_id = notes.run_id
   AND is_imported
   AND manifest IS NULL
   AND manifest_sha256 IS NULL;

DROP TRIGGER runs_keep_their_origin ON runs;
DROP TRIGGER forecasts_keep_their_origin ON forecasts;
ALTER TABLE forecasts
    DROP CONSTRAINT forecasts_manifest_check,
    DROP COLUMN is_imported,
    ADD CONSTRAINT forecasts_manifest_check CHECK (
        state NOT IN ('frozen', 'scored_day1', 'scored') OR manifest IS NOT NULL OR manifest_sha256 IS NOT NULL);
ALTER TABLE runs DROP COLUMN imported_from;
