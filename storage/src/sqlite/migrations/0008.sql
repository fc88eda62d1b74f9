-- Several nodes may have their rows in one database, where that is a server: each has a chain of its own among the audit
-- rows, which all share one sequence. In a file there is one.
CREATE TABLE daemons (
    id         INTEGER PRIMARY KEY,
    node       BLOB    NOT NULL UNIQUE,        -- 16 bytes
    origin     BLOB,                           -- 16 bytes; the name under which it speaks, NULL: node
    boots      INTEGER NOT NULL,
    chain_head BLOB    NOT NULL                -- sequence of its last audit row, 8 bytes big-endian, and that row's hash
) STRICT;
INSERT INTO daemons
    SELECT 1, n.value, (SELECT value FROM meta WHERE key = 'origin'),
        coalesce((SELECT value FROM meta WHERE key = 'boots'), 0),
        coalesce((SELECT value FROM meta WHERE key = 'chain_head'), zeroblob(40))
    FROM meta n WHERE n.key = 'node_id';
DELETE FROM meta WHERE key IN ('node_id', 'origin', 'boots', 'chain_head');
ALTER TABLE signed_events ADD COLUMN daemon INTEGER NOT NULL DEFAULT 1; -- daemons.id
ALTER TABLE signing_keys  ADD COLUMN daemon INTEGER NOT NULL DEFAULT 1; -- daemons.id
