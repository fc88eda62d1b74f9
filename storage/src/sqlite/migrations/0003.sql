-- Feeds (types::feed): the chain beside each operation, where each feed ends, and what is known of operations that
-- are not kept here.
ALTER TABLE ops ADD COLUMN chain BLOB NOT NULL DEFAULT x'';

-- The end of each origin's feed as far as this node covers it.
CREATE TABLE feeds (
    origin INTEGER PRIMARY KEY,                -- nodes.id
    seq    INTEGER NOT NULL,
    hlc    INTEGER NOT NULL,                   -- of the last operation that is kept
    chain  BLOB    NOT NULL
) STRICT;

-- Heads of other nodes' feeds, as their origins have signed them.
CREATE TABLE feed_heads (
    origin    INTEGER NOT NULL,                -- nodes.id
    seq       INTEGER NOT NULL,
    chain     BLOB    NOT NULL,
    signature BLOB    NOT NULL,
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;

-- Operations that are covered and not kept: hidden from this node, or refused by it.
CREATE TABLE unheld (
    origin INTEGER NOT NULL,                   -- nodes.id
    seq    INTEGER NOT NULL,
    hash   BLOB    NOT NULL,
    chain  BLOB    NOT NULL,
    reason TEXT,                               -- why it was refused; NULL: it was hidden
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;

-- Operations of this node that a peer has refused.
CREATE TABLE dead_letters (
    peer     BLOB    NOT NULL,                 -- 16 bytes
    seq      INTEGER NOT NULL,                 -- in this node's feed
    reason   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    tries    INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    next_ms  INTEGER,                          -- NULL: in quarantine
    PRIMARY KEY (peer, seq)
) STRICT, WITHOUT ROWID;

-- What peers have used once, until the messages that they were used in are too old anyway.
CREATE TABLE nonces (
    peer     BLOB    NOT NULL,                 -- 16 bytes
    nonce    BLOB    NOT NULL,                 -- 16 bytes
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (peer, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_age ON nonces (until_ms);
