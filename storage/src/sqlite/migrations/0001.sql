-- The first schema. All times are Unix milliseconds; all hashes are SHA-256.
-- In memories `state`, `title`, `content` and `embedding` are the truth, in ops `bytes` (types::codec); every other
-- column of those tables repeats part of it so that SQL can select on it, and `doctor` compares the two.

-- Facts about the store itself: node_id (16 bytes), boots (integer).
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Interned names. Ids start at 1, are given out in order and are never reused.
CREATE TABLE namespaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE audiences  (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE names      (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT; -- agents
CREATE TABLE tags       (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE nodes      (id INTEGER PRIMARY KEY, node BLOB NOT NULL UNIQUE) STRICT;

CREATE TABLE memories (
    row                 INTEGER PRIMARY KEY,   -- local, in order of arrival, never reused; the indexes speak of it
    id                  BLOB    NOT NULL,
    namespace           INTEGER NOT NULL,      -- namespaces.id
    audience            INTEGER NOT NULL,      -- audiences.id
    author              INTEGER NOT NULL,      -- names.id
    life                INTEGER NOT NULL,      -- 0 live, 1 archived, 2 deleted (a tombstone: no text)
    kind                INTEGER NOT NULL,
    tier                INTEGER NOT NULL,
    scope               INTEGER NOT NULL,
    priority            INTEGER NOT NULL,
    confidence_permille INTEGER NOT NULL,
    created_ms          INTEGER NOT NULL,
    updated_ms          INTEGER NOT NULL,
    expires_ms          INTEGER,
    valid_from_ms       INTEGER,
    valid_until_ms      INTEGER,
    legal_hold          INTEGER NOT NULL,
    version             INTEGER NOT NULL,
    access_count        INTEGER NOT NULL,
    last_accessed_ms    INTEGER NOT NULL,
    position            INTEGER NOT NULL,      -- ops.position of its last change
    title_key           INTEGER NOT NULL,      -- row::title_key(namespace, author, audience, title)
    checksum            INTEGER NOT NULL,      -- row::checksum over what follows
    title               TEXT    NOT NULL,
    state               BLOB    NOT NULL,      -- types::codec::encode_state
    content             TEXT    NOT NULL,
    embedding           BLOB                   -- supplied by a writer: binary32, little-endian
) STRICT;
CREATE UNIQUE INDEX memories_id ON memories (id);
CREATE INDEX memories_namespace ON memories (namespace, id);
CREATE INDEX memories_title     ON memories (title_key) WHERE life = 0;
CREATE INDEX memories_archive   ON memories (id) WHERE life = 1;
CREATE INDEX memories_entities  ON memories (title COLLATE NOCASE) WHERE kind = 11 AND life = 0;
CREATE INDEX memories_expiry    ON memories (expires_ms) WHERE life = 0 AND expires_ms IS NOT NULL;

CREATE TABLE memory_tags (
    tag INTEGER NOT NULL,                      -- tags.id
    row INTEGER NOT NULL,                      -- memories.row
    PRIMARY KEY (tag, row)
) STRICT, WITHOUT ROWID;

-- The ends are ids, not rows: a link may arrive before its memories.
CREATE TABLE links (
    id              BLOB    PRIMARY KEY,
    source          BLOB    NOT NULL,
    target          BLOB    NOT NULL,
    relation        INTEGER NOT NULL,
    author          INTEGER NOT NULL,          -- names.id
    created_fence   INTEGER NOT NULL,
    created_hlc     INTEGER NOT NULL,
    created_node    INTEGER NOT NULL,          -- nodes.id
    valid_from_ms   INTEGER,
    valid_until_ms  INTEGER,
    validity_fence  INTEGER NOT NULL,
    validity_hlc    INTEGER NOT NULL,
    validity_node   INTEGER NOT NULL,          -- nodes.id
    removed         INTEGER NOT NULL,          -- 0 or 1
    position        INTEGER NOT NULL           -- ops.position of its last change
) STRICT, WITHOUT ROWID;
CREATE INDEX links_source ON links (source, relation) WHERE removed = 0;
CREATE INDEX links_target ON links (target, relation) WHERE removed = 0;

-- Other names of entities: one last-writer-wins register per (entity, name).
CREATE TABLE aliases (
    alias_key  TEXT    NOT NULL,               -- row::alias_key(alias)
    memory     BLOB    NOT NULL,
    alias      TEXT    NOT NULL,               -- as it was written
    removed    INTEGER NOT NULL,
    fence      INTEGER NOT NULL,
    hlc        INTEGER NOT NULL,
    node       INTEGER NOT NULL,               -- nodes.id
    PRIMARY KEY (alias_key, memory)
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_memory ON aliases (memory) WHERE removed = 0;

CREATE TABLE agents (
    agent        TEXT    PRIMARY KEY,
    affiliation  TEXT    NOT NULL,
    token_sha256 BLOB,
    public_key   BLOB,
    revoked      INTEGER NOT NULL,
    changed_hlc  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX agents_token ON agents (token_sha256) WHERE token_sha256 IS NOT NULL;

-- The log of operations. `position` equals the sequence of the operation's audit row.
CREATE TABLE ops (
    position INTEGER PRIMARY KEY,
    origin   INTEGER NOT NULL,                 -- nodes.id
    seq      INTEGER NOT NULL,
    hlc      INTEGER NOT NULL,
    memory   BLOB,                             -- when it changes exactly one
    bytes    BLOB    NOT NULL                  -- types::codec::encode_op
) STRICT;
CREATE UNIQUE INDEX ops_origin ON ops (origin, seq);
CREATE INDEX ops_memory ON ops (memory) WHERE memory IS NOT NULL;

-- The audit chain (types::audit). `id` is `origin:seq` for an operation and `name` for anything else.
CREATE TABLE signed_events (
    sequence     INTEGER PRIMARY KEY,
    origin       INTEGER,                      -- nodes.id
    seq          INTEGER,
    name         TEXT,
    agent        INTEGER NOT NULL,             -- names.id
    event_type   TEXT    NOT NULL,
    payload_hash BLOB    NOT NULL,
    attest_level INTEGER NOT NULL,
    timestamp_ms INTEGER NOT NULL,
    cause_hash   BLOB,
    signature    BLOB    NOT NULL,
    key_id       BLOB    NOT NULL,
    prev_hash    BLOB    NOT NULL
) STRICT;

-- Keys that signed rows here, so that a rotated key still verifies. `until_ms` is NULL for the key in use.
CREATE TABLE signing_keys (
    key_id     BLOB    PRIMARY KEY,
    public_key BLOB    NOT NULL,
    from_ms    INTEGER NOT NULL,
    until_ms   INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    agent       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    body_sha256 BLOB    NOT NULL,
    answer      BLOB    NOT NULL,
    expires_ms  INTEGER NOT NULL,
    PRIMARY KEY (agent, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_ms);

-- What an agent used of its quota in a namespace. `memories` and `links` count the UTC day `day` only.
CREATE TABLE quota (
    agent     INTEGER NOT NULL,                -- names.id
    namespace INTEGER NOT NULL,                -- namespaces.id
    day       INTEGER NOT NULL,                -- whole days since 1970
    memories  INTEGER NOT NULL,
    links     INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (agent, namespace)
) STRICT, WITHOUT ROWID;

-- Vectors made by a model, in the store's space. A supplied one (memories.embedding) comes before these; where
-- the space has a vectorizer neither is needed.
CREATE TABLE spaces (
    id        INTEGER PRIMARY KEY,
    model     TEXT    NOT NULL,
    version   TEXT    NOT NULL,
    dimension INTEGER NOT NULL,
    UNIQUE (model, version, dimension)
) STRICT;
CREATE TABLE vectors (
    row         INTEGER PRIMARY KEY,           -- memories.row
    space       INTEGER NOT NULL,              -- spaces.id
    text_sha256 BLOB    NOT NULL,              -- of row::embedded_text
    halves      BLOB    NOT NULL               -- binary16, little-endian
) STRICT;
