-- Which validator may write: one row, whose token grows whenever another one takes over.

CREATE TABLE lease (
    token      bigint PRIMARY KEY,
    holder     text NOT NULL,              -- identity of the machine's boot and of the data folder
    name       text NOT NULL,              -- the same for people
    taken_at   timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,       -- by the server's clock
    is_only    boolean NOT NULL DEFAULT true UNIQUE CHECK (is_only)
);
INSERT INTO lease (token, holder, name, taken_at, expires_at) VALUES (0, '', 'nobody', 'epoch', 'epoch');
