-- The schema on PostgreSQL, in one step the same as SQLite's newest (storage/src/sqlite/migrations). All times are Unix
-- milliseconds, all hashes SHA-256, all numbers bigint but for small ones; texts compare byte by byte, as SQLite's do.
-- What is truth and what repeats it is said there; words, embeddings and totals are derived from the rows.

-- Positions of the store as a whole: log_begins, joined_at, regrouped_at.
CREATE TABLE meta (
    key   text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);

-- Nodes whose rows these are: each has a chain of its own (signed_events.daemon), and speaks under a name of its own.
CREATE TABLE daemons (
    id         bigint PRIMARY KEY,
    node       bytea NOT NULL UNIQUE,
    origin     bytea,
    boots      bigint NOT NULL,
    chain_head bytea NOT NULL
);
-- Interned names. Ids start at 1, are given out in order and are never reused.
CREATE TABLE namespaces (
    id   integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE audiences (
    id   integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE names (
    id   integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE tags (
    id   integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE nodes (
    id   integer PRIMARY KEY,
    node bytea NOT NULL UNIQUE
);

CREATE TABLE memories (
    row                 bigint PRIMARY KEY,
    id                  bytea NOT NULL,
    namespace           integer NOT NULL,
    audience            integer NOT NULL,
    author              integer NOT NULL,
    life                integer NOT NULL,
    kind                integer NOT NULL,
    tier                integer NOT NULL,
    scope               integer NOT NULL,
    priority            integer NOT NULL,
    confidence_permille integer NOT NULL,
    created_ms          bigint NOT NULL,
    updated_ms          bigint NOT NULL,
    expires_ms          bigint,
    valid_from_ms       bigint,
    valid_until_ms      bigint,
    legal_hold          integer NOT NULL,
    version             bigint NOT NULL,
    access_count        bigint NOT NULL,
    last_accessed_ms    bigint NOT NULL,
    position            bigint NOT NULL,
    title_key           bigint NOT NULL,
    checksum            bigint NOT NULL,
    title               text COLLATE "C" NOT NULL,
    state               bytea NOT NULL,
    content             text COLLATE "C" NOT NULL,
    embedding           bytea,
    others              integer NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX memories_id ON memories (id);
CREATE INDEX memories_namespace ON memories (namespace, id);
CREATE INDEX memories_archive ON memories (id) WHERE life = 1;
CREATE INDEX memories_entities ON memories (lower(title)) WHERE kind = 11 AND life = 0;
CREATE INDEX memories_expiry ON memories (expires_ms) WHERE life = 0 AND expires_ms IS NOT NULL;
CREATE INDEX memories_digest ON memories (id, namespace, checksum);
CREATE INDEX memories_tombstones ON memories (position) WHERE life = 2;
CREATE INDEX memories_title ON memories (title_key) WHERE life IN (0, 3);
CREATE INDEX memories_behind ON memories (id) WHERE life = 3;
CREATE INDEX memories_views ON memories (id) WHERE life = 0 AND others > 0;

CREATE TABLE memory_tags (
    tag integer NOT NULL,
    row bigint NOT NULL,
    PRIMARY KEY (tag, row)
);

CREATE TABLE links (
    id             bytea PRIMARY KEY,
    source         bytea NOT NULL,
    target         bytea NOT NULL,
    relation       integer NOT NULL,
    author         integer NOT NULL,
    created_fence  bigint NOT NULL,
    created_hlc    bigint NOT NULL,
    created_node   integer NOT NULL,
    valid_from_ms  bigint,
    valid_until_ms bigint,
    validity_fence bigint NOT NULL,
    validity_hlc   bigint NOT NULL,
    validity_node  integer NOT NULL,
    removed        integer NOT NULL,
    position       bigint NOT NULL
);
CREATE INDEX links_source ON links (source, relation) WHERE removed = 0;
CREATE INDEX links_target ON links (target, relation) WHERE removed = 0;
CREATE INDEX links_removed ON links (position) WHERE removed = 1;

CREATE TABLE aliases (
    alias_key text COLLATE "C" NOT NULL,
    memory    bytea NOT NULL,
    alias     text COLLATE "C" NOT NULL,
    removed   integer NOT NULL,
    fence     bigint NOT NULL,
    hlc       bigint NOT NULL,
    node      integer NOT NULL,
    PRIMARY KEY (alias_key, memory)
);
CREATE INDEX aliases_memory ON aliases (memory) WHERE removed = 0;
CREATE INDEX aliases_all ON aliases (memory);

CREATE TABLE agents (
    agent        text COLLATE "C" PRIMARY KEY,
    affiliation  text COLLATE "C" NOT NULL,
    token_sha256 bytea,
    public_key   bytea,
    revoked      integer NOT NULL,
    changed_hlc  bigint NOT NULL
);
CREATE INDEX agents_token ON agents (token_sha256) WHERE token_sha256 IS NOT NULL;

CREATE TABLE ops (
    position bigint PRIMARY KEY,
    origin   integer NOT NULL,
    seq      bigint NOT NULL,
    hlc      bigint NOT NULL,
    memory   bytea,
    bytes    bytea NOT NULL,
    chain    bytea NOT NULL DEFAULT '\x'
);
CREATE UNIQUE INDEX ops_origin ON ops (origin, seq);
CREATE INDEX ops_memory ON ops (memory) WHERE memory IS NOT NULL;

-- The chains of all daemons in one sequence, which is that of the operations: each row goes on with the one before of the
-- same daemon.
CREATE TABLE signed_events (
    sequence     bigint PRIMARY KEY,
    daemon       bigint NOT NULL,
    origin       integer,
    seq          bigint,
    name         text COLLATE "C",
    agent        integer NOT NULL,
    event_type   text COLLATE "C" NOT NULL,
    payload_hash bytea NOT NULL,
    attest_level integer NOT NULL,
    timestamp_ms bigint NOT NULL,
    cause_hash   bytea,
    signature    bytea NOT NULL,
    key_id       bytea NOT NULL,
    prev_hash    bytea NOT NULL
);
CREATE UNIQUE INDEX signed_events_name ON signed_events (name) WHERE name IS NOT NULL;
CREATE INDEX signed_events_daemon ON signed_events (daemon, sequence);

CREATE TABLE signing_keys (
    key_id     bytea PRIMARY KEY,
    public_key bytea NOT NULL,
    from_ms    bigint NOT NULL,
    until_ms   bigint,
    daemon     bigint NOT NULL
);

CREATE TABLE idempotency (
    agent       text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    body_sha256 bytea NOT NULL,
    answer      bytea NOT NULL,
    expires_ms  bigint NOT NULL,
    PRIMARY KEY (agent, key)
);
CREATE INDEX idempotency_expiry ON idempotency (expires_ms);

CREATE TABLE quota (
    agent     integer NOT NULL,
    namespace integer NOT NULL,
    day       bigint NOT NULL,
    memories  bigint NOT NULL,
    links     bigint NOT NULL,
    bytes     bigint NOT NULL,
    PRIMARY KEY (agent, namespace)
);

CREATE TABLE spaces (
    id        integer PRIMARY KEY,
    model     text COLLATE "C" NOT NULL,
    version   text COLLATE "C" NOT NULL,
    dimension integer NOT NULL,
    UNIQUE (model, version, dimension)
);

CREATE TABLE event_payloads (
    sequence bigint PRIMARY KEY,
    bytes    bytea NOT NULL
);

CREATE TABLE key_fences (
    key   text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL
);

CREATE TABLE event_logs (
    log     text COLLATE "C" PRIMARY KEY,
    through bigint NOT NULL
);

CREATE TABLE feeds (
    origin    integer PRIMARY KEY,
    seq       bigint NOT NULL,
    hlc       bigint NOT NULL,
    chain     bytea NOT NULL,
    unseen    bigint NOT NULL DEFAULT 0,
    whole     bigint NOT NULL DEFAULT 0,
    whole_hlc bigint NOT NULL DEFAULT 0
);

CREATE TABLE feed_heads (
    origin    integer NOT NULL,
    seq       bigint NOT NULL,
    chain     bytea NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (origin, seq)
);

CREATE TABLE unheld (
    origin    integer NOT NULL,
    seq       bigint NOT NULL,
    hash      bytea NOT NULL,
    chain     bytea NOT NULL,
    reason    text COLLATE "C",
    memory    bytea,
    after_hlc bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (origin, seq)
);
CREATE INDEX unheld_memory ON unheld (memory) WHERE memory IS NOT NULL;

CREATE TABLE nonces (
    peer     bytea NOT NULL,
    nonce    bytea NOT NULL,
    until_ms bigint NOT NULL,
    PRIMARY KEY (peer, nonce)
);
CREATE INDEX nonces_by_age ON nonces (until_ms);

CREATE TABLE dead_letters (
    peer     bytea NOT NULL,
    origin   bytea NOT NULL,
    seq      bigint NOT NULL,
    reason   text COLLATE "C" NOT NULL,
    detail   text COLLATE "C" NOT NULL,
    tries    integer NOT NULL,
    first_ms bigint NOT NULL,
    next_ms  bigint,
    PRIMARY KEY (peer, origin, seq)
);

-- Words of live memories: each stem, by its hash, at its impact on the rank as a position (index::text::prepare).
CREATE TABLE texts (
    row   bigint PRIMARY KEY,
    words tsvector NOT NULL
);
CREATE INDEX texts_words ON texts USING gin (words);

-- Vectors of memories in a space. Each space has an index of its own, made when a node first opens it.
CREATE TABLE vectors (
    row         bigint PRIMARY KEY,
    space       integer NOT NULL,
    text_sha256 bytea NOT NULL,
    vector      halfvec NOT NULL
);

-- A glob as SQLite spells it, with `*`, `?` and `[[]` for an opening bracket, as a regular expression.
CREATE FUNCTION hivemem_glob(glob text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '^' || replace(replace(regexp_replace(replace(glob, '[[]', '['),
        '([]\[^$+(){}|.\\])', '\\\1', 'g'), '*', '.*'), '?', '.') || '$'
$$;
