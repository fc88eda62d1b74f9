//! Every setting: its key, default and meaning. The documentation is made from this table.
//!
//! Invariant: a key occurs once; its environment variable is `HIVEMEM_` and the key in capitals
//! with `_` for `.`.
//!
//! Not here: parsing values.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Dotted key in the TOML file.
    pub key: &'static str,
    /// Default, as it would be written; empty for none.
    pub default: &'static str,
    /// What it means, with unit and range.
    pub meaning: &'static str,
    /// Whether the value must not be shown.
    pub secret: bool,
}

impl Setting {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("HIVEMEM_{}", self.key.replace('.', "_").to_uppercase())
    }
}

const fn setting(key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { key, default, meaning, secret: false }
}

const fn secret(key: &'static str, meaning: &'static str) -> Setting {
    Setting { key, default: "", meaning, secret: true }
}

/// All settings, in the order they are shown.
pub const SETTINGS: &[Setting] = &[
    setting(
        "data_dir",
        "",
        "folder of the database, indexes and keys; default $XDG_DATA_HOME/hivemem or ~/.local/share/hivemem",
    ),
    setting("agent", "local", "agent that the command line acts as"),
    setting(
        "server.listen",
        "127.0.0.1:7747",
        "address of gRPC, HTTP and MCP; another than loopback needs auth.api_key",
    ),
    setting("server.tls_cert", "", "PEM file with the certificate chain; TLS is on when it is set"),
    setting("server.tls_key", "", "PEM file with the private key, mode 0600"),
    setting(
        "server.tls_client_allowlist",
        "",
        "file of SHA-256 fingerprints of client certificates, one a line; only these may connect",
    ),
    setting("server.connections_max", "1024", "most open connections"),
    setting(
        "server.requests_max",
        "256",
        "most requests in progress; more are shed with Retry-After",
    ),
    setting(
        "server.request_timeout",
        "30s",
        "longest a request may take when its caller names no deadline",
    ),
    setting(
        "server.drain_timeout",
        "10s",
        "longest a graceful stop waits for requests in progress",
    ),
    secret("auth.api_key", "key that agents present; better kept in auth.api_key_file"),
    setting("auth.api_key_file", "", "file with the key that agents present, mode 0600"),
    setting("auth.operator_key_file", "", "file with the key of operators, mode 0600"),
    setting(
        "memory.default_scope",
        "private",
        "scope of a memory that names none: private, team, unit, org or collective",
    ),
    setting("memory.short_ttl", "6h", "lifetime of a short memory, or never"),
    setting("memory.mid_ttl", "7d", "lifetime of a mid memory, or never"),
    setting(
        "memory.promote_after_recalls",
        "5",
        "recalls after which a mid memory becomes long; 0 is never",
    ),
    setting("memory.reflection_depth_max", "3", "greatest depth of a reflection, 1 to 16"),
    setting(
        "quota.memories_per_day",
        "none",
        "new memories per agent and namespace and UTC day, or none",
    ),
    setting(
        "quota.bytes_total",
        "none",
        "bytes of title and content kept per agent and namespace, or none",
    ),
    setting(
        "quota.links_per_day",
        "none",
        "new links per agent and namespace and UTC day, or none",
    ),
    setting(
        "recall.lexical_share",
        "",
        "share of the lexical signal in hybrid recall, 0 to 1; default by embedder, measured",
    ),
    setting(
        "recall.near_duplicate",
        "0.9",
        "share of word shingles above which two hits are one, 0 to 1",
    ),
    setting(
        "embedder.kind",
        "lexical",
        "lexical (built in), folder (a MiniLM in embedder.folder), openai or ollama (embedder.url)",
    ),
    setting("embedder.folder", "", "folder with config.json, tokenizer.json and model.safetensors"),
    setting("embedder.url", "", "base URL of the endpoint, e.g. http://127.0.0.1:11434"),
    setting("embedder.model", "", "model name at the endpoint"),
    setting(
        "embedder.dimension",
        "",
        "components of a vector: those the endpoint answers with, 1 to 4096; lexical: 64 to 4096 (256)",
    ),
    setting("embedder.api_key_file", "", "file with the endpoint's key, mode 0600"),
    setting("storage.read_connections", "4", "database connections for reading, 1 to 64"),
    setting("storage.write_queue", "4096", "most writes waiting; more are refused as overloaded"),
    setting("storage.cache_mib", "16", "page cache of the writing connection, MiB"),
    setting("storage.reserve_mib", "64", "free disk space below which writes are refused, MiB"),
    setting(
        "storage.ahead_rows",
        "20000",
        "memories read at a start to complete the recall index before serving; the others are read beside it",
    ),
    secret(
        "storage.url",
        "postgres://user:password@host:port/database: the rows are there, not in a file; several hosts may be named, \
         as host:port,host:port; better kept in storage.url_file",
    ),
    setting("storage.url_file", "", "file with that address, mode 0600"),
    setting(
        "storage.replicas",
        "",
        "standbys that reads may go to, host:port,host:port, the nearest first; the rest is as in storage.url. One that lacks \
         anything this node knows of is passed over",
    ),
    setting("storage.pool_min", "1", "connections to the database that are kept open, 0 to 1000"),
    setting("storage.pool_max", "10", "most connections to the database, 2 to 1000"),
    setting("storage.acquire_timeout", "5s", "longest wait for a connection to the database"),
    setting("storage.statement_timeout", "30s", "longest time for one statement of the database"),
    setting("storage.lock_timeout", "10s", "longest wait for a lock of the database"),
    setting("storage.hnsw_m", "16", "neighbours of each vector in the database's index, 2 to 100"),
    setting(
        "storage.hnsw_ef_construction",
        "64",
        "candidates for neighbours when a vector is added there, twice storage.hnsw_m to 1000",
    ),
    setting(
        "storage.hnsw_ef_search",
        "100",
        "candidates when vectors are searched there, 1 to 1000",
    ),
    setting(
        "storage.index_memory_mib",
        "2048",
        "most memory asked of the server (maintenance_work_mem) while all vectors are indexed, MiB",
    ),
    setting(
        "storage.graph",
        "auto",
        "how links are followed in the database: age (Apache AGE), recursive (one statement), layers (two for each step), or \
         auto: AGE where it is installed, else recursive",
    ),
    setting(
        "storage.exact_rows",
        "5000",
        "memories up to which all vectors that pass a filter are compared there, without the index",
    ),
    setting("log.filter", "info", "what is logged, e.g. info or hivemem=debug"),
    setting("log.format", "text", "text or json, on standard error"),
    setting(
        "trace.sample_percent",
        "0",
        "of a hundred requests that belong to no trace, how many begin one; those with a sampled traceparent always are",
    ),
    setting(
        "trace.otlp_endpoint",
        "",
        "host:port of a collector that takes spans by OTLP over HTTP, e.g. 127.0.0.1:4318; empty is none",
    ),
    setting(
        "trace.otlp_ca_file",
        "",
        "PEM file of certificates that vouch for the collector; TLS is on when it is set",
    ),
    setting("backup.folder", "", "where `hivemem backup` writes; default data_dir/backups"),
    setting("backup.keep", "7", "backups kept there, 1 to 1000"),
    setting(
        "root.member",
        "0",
        "number of this node in the root, never given twice; 0 is no member",
    ),
    setting("root.cluster", "", "UUID of the cluster, the same on all members"),
    setting("root.endpoint", "", "host:port at which the other members reach this one"),
    setting(
        "root.peer_key_file",
        "",
        "file with the key that members present to each other, mode 0600; agents must not have it",
    ),
    setting(
        "root.peer_ca_file",
        "",
        "PEM file of certificates that members believe; needed when server.tls_cert is set",
    ),
    setting(
        "root.lease_reads",
        "false",
        "whether the leader answers reads within its lease without asking; true trusts clock rates",
    ),
    setting("root.heartbeat_ms", "50", "time between a leader's heartbeats, milliseconds"),
    setting(
        "root.election_ms",
        "150",
        "shortest silence of a leader before another stands, milliseconds; three heartbeats at least",
    ),
    setting("root.snapshot_entries", "10000", "entries after which a snapshot of the root is made"),
    setting(
        "root.kept_entries",
        "2000",
        "entries kept behind a snapshot, for members that lag a little",
    ),
    setting(
        "root.segment_kib",
        "16384",
        "size of a file of the root's log, KiB; four commands fit",
    ),
    setting(
        "federation.peers_file",
        "",
        "TOML file with the nodes that this one shares its memories with; empty is none",
    ),
    setting(
        "federation.quorum",
        "majority",
        "nodes that must have a write before it is acknowledged: majority, or a number, which is never less than a \
         majority of the list as it is",
    ),
    setting(
        "federation.quorum_below_majority",
        "false",
        "whether that number may be half of the nodes or fewer; true gives up that two writes meet",
    ),
    setting("federation.quorum_timeout", "2s", "how long a write waits for them"),
    setting(
        "federation.catch_up",
        "15s",
        "time between two rounds of asking peers for what is missing",
    ),
    setting(
        "federation.compare",
        "10m",
        "time between two comparisons of all that is held with one peer",
    ),
    setting(
        "federation.keep",
        "7d",
        "how long operations and tombstones are kept at least, after that until every peer has them",
    ),
    setting(
        "federation.peer_ca_file",
        "",
        "PEM file of certificates that vouch for peers whose own are not in the list; only with server.tls_cert",
    ),
    setting(
        "federation.peer_key_file",
        "",
        "file with the key that peers present to each other, mode 0600, the same on all; else the API key",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_variables_are_unique() {
        let keys: std::collections::BTreeSet<_> = SETTINGS.iter().map(|s| s.key).collect();
        let variables: std::collections::BTreeSet<_> =
            SETTINGS.iter().map(Setting::variable).collect();
        assert_eq!((keys.len(), variables.len()), (SETTINGS.len(), SETTINGS.len()));
    }
}
