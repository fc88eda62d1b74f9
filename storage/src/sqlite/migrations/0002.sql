-- What the audit rows of no operation say: `payload_hash` of the row is the SHA-256 of `bytes`.
CREATE TABLE event_payloads (
    sequence INTEGER PRIMARY KEY,              -- signed_events.sequence
    bytes    BLOB    NOT NULL
) STRICT;
-- An event is told once, however often it is heard.
CREATE UNIQUE INDEX signed_events_name ON signed_events (name) WHERE name IS NOT NULL;

-- The greatest fence that a key was written under, whichever memory it was.
CREATE TABLE key_fences (
    key   TEXT    PRIMARY KEY,
    fence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far the events of a log of decisions made elsewhere have come.
CREATE TABLE event_logs (
    log     TEXT    PRIMARY KEY,
    through INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
