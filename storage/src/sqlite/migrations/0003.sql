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

-- Heads that their origins have signed.
CREATE TABLE feed_heads (
    origin    INTEGER NOT NULL,                -- nodes.id
    seq       INTEGER NOT NULL,
    chain     BLOB    NOT NULL,
    key_id    BLOB    NOT NULL,
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
