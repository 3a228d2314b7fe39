-- Incidents: one row for each time that a party outside of us failed.

-- name: incident_failing
-- Opens an incident, or extends the one that is open.
INSERT INTO incidents (party, began_at, last_at, evidence)
VALUES ($1, $3, $3, $2)
    ON CONFLICT (party) WHERE ended_at IS NULL DO UPDATE
   SET last_at = excluded.last_at,
       evidence = excluded.evidence;

-- name: incident_ended
-- Ends the open incident of a party, if there is one.
UPDATE incidents
   SET ended_at = $2
 WHERE party = $1
   AND ended_at IS NULL;

-- name: open_incidents
-- Parties that fail now, longest first.
SELECT party, began_at, last_at, evidence
  FROM incidents
 WHERE ended_at IS NULL
 ORDER BY began_at, party;
