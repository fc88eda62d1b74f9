-- A node may speak under several names in its lives (docs/adr/0009-lives.md).
-- meta: origin (16 bytes; under which name this node speaks; absent: its node_id).
CREATE TABLE letters (
    peer     BLOB    NOT NULL,                 -- 16 bytes
    origin   BLOB    NOT NULL,                 -- 16 bytes, a name of this node's
    seq      INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    tries    INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    next_ms  INTEGER,                          -- NULL: in quarantine
    PRIMARY KEY (peer, origin, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO letters
    SELECT peer, (SELECT value FROM meta WHERE key = 'node_id'), seq, reason, detail, tries, first_ms, next_ms
    FROM dead_letters;
DROP TABLE dead_letters;
ALTER TABLE letters RENAME TO dead_letters;
