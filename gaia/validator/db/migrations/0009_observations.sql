-- What the validator observed of its database and its memory; rows older than GAIA_HISTORY_DAYS are deleted.

CREATE TABLE database_snapshots (
    at                    timestamptz PRIMARY KEY,
    active                integer NOT NULL,          -- sessions that run a statement
    idle                  integer NOT NULL,          -- sessions that run none
    waiting               integer NOT NULL,          -- sessions that wait for a lock of another
    longest_statement_s   double precision NOT NULL, -- the oldest running statement
    longest_transaction_s double precision NOT NULL, -- the oldest open transaction
    answer_s              double precision NOT NULL, -- how long this observation took
    size_bytes            bigint NOT NULL,
    commits               bigint NOT NULL,           -- like the next four, since the server's statistics began
    rollbacks             bigint NOT NULL,
    blocks_hit            bigint NOT NULL,
    blocks_read           bigint NOT NULL,
    deadlocks             bigint NOT NULL
);

CREATE TABLE memory_snapshots (
    at             timestamptz NOT NULL,
    role           text NOT NULL,
    processes      integer NOT NULL,
    resident_bytes bigint NOT NULL,
    private_bytes  bigint NOT NULL,                  -- without pages that other processes share
    PRIMARY KEY (at, role)
);
