-- The lease: the validator that holds it may write, and its token is the first thing that each of its transactions asks for.

-- name: has_lease
-- Whether the database has leases; one of an earlier release does not.
SELECT to_regclass('lease') IS NOT NULL;

-- name: take_lease
-- Takes the lease if it has expired or is ours; no row: another validator holds it. Waits for open transactions of the holder.
UPDATE lease
   SET token = token + 1,
       holder = $1,
       name = $2,
       taken_at = clock_timestamp(),
       expires_at = clock_timestamp() + $3::interval
 WHERE expires_at < clock_timestamp()
    OR holder = $1
RETURNING token;

-- name: renew_lease
-- Prolongs our lease; no row: another validator has taken over.
UPDATE lease
   SET expires_at = clock_timestamp() + $2::interval
 WHERE token = $1
RETURNING token;

-- name: release_lease
-- Ends our lease at once, so that a standby need not wait.
UPDATE lease
   SET expires_at = clock_timestamp()
 WHERE token = $1;

-- name: hold_lease
-- The token if it is still that of the lease, which nobody takes over before this transaction ends.
SELECT token
  FROM lease
 WHERE token = $1
   FOR KEY SHARE;

-- name: read_lease
-- Who holds the lease, since when, and for how many seconds more.
SELECT token, holder, name, taken_at, extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds_left
  FROM lease;
