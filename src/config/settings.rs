//! The typed configuration.
//!
//! Invariants: a [`Config`] is complete and consistent; building one reads no file but those it
//! names as secrets' holders, which stay closed until they are needed.
//!
//! Not here: layers and origins.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use storage::request::QuotaLimits;
use types::{AgentId, Scope};

use super::{
    database::DatabaseConfig,
    federation::FederationConfig,
    layers::{ConfigError, Layers},
    root::RootConfig,
    trace::TraceConfig,
    value,
};

/// TLS at the doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// File of accepted client fingerprints; `None` accepts clients without a certificate.
    pub client_allowlist: Option<PathBuf>,
}

/// The doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address of gRPC, HTTP and MCP.
    pub listen: SocketAddr,
    /// TLS, when configured.
    pub tls: Option<TlsConfig>,
    /// Most open connections.
    pub connections_max: usize,
    /// Most requests in progress.
    pub requests_max: usize,
    /// Longest request without a deadline of its own.
    pub request_timeout: Duration,
    /// Longest graceful stop.
    pub drain_timeout: Duration,
}

/// Which embedder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbedderChoice {
    /// The built-in one.
    Lexical {
        /// Components per vector, if not the usual number.
        dimension: Option<u16>,
    },
    /// A transformer from a folder.
    Folder {
        /// Where it lies.
        folder: PathBuf,
    },
    /// An endpoint.
    Endpoint {
        /// Whether it speaks Ollama's protocol rather than OpenAI's.
        ollama: bool,
        /// Base URL.
        url: String,
        /// Model name.
        model: String,
        /// Components per vector.
        dimension: u16,
        /// File with its key.
        api_key_file: Option<PathBuf>,
    },
}

/// Everything an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the database, indexes and keys.
    pub data_dir: PathBuf,
    /// Agent that the command line acts as.
    pub agent: AgentId,
    /// The doors.
    pub server: ServerConfig,
    /// API key written into the configuration.
    pub api_key: Option<String>,
    /// File with the API key.
    pub api_key_file: Option<PathBuf>,
    /// File with the operator key.
    pub operator_key_file: Option<PathBuf>,
    /// Scope of a memory that names none.
    pub default_scope: Scope,
    /// Lifetime of a short memory.
    pub short_ttl: Option<Duration>,
    /// Lifetime of a mid memory.
    pub mid_ttl: Option<Duration>,
    /// Recalls after which a mid memory becomes long; 0 is never.
    pub promote_after_recalls: u32,
    /// Greatest depth of a reflection.
    pub reflection_depth_max: u8,
    /// Quota of every agent.
    pub quota: QuotaLimits,
    /// Share of the lexical signal; `None` is the embedder's measured default.
    pub lexical_share: Option<f32>,
    /// Near-duplicate threshold, permille.
    pub near_duplicate_permille: u16,
    /// Which embedder.
    pub embedder: EmbedderChoice,
    /// Database connections for reading.
    pub read_connections: usize,
    /// Most writes waiting.
    pub write_queue: usize,
    /// Page cache of the writing connection, MiB.
    pub cache_mib: u32,
    /// Free disk space below which writes are refused, bytes.
    pub reserve_bytes: u64,
    /// Rows that may be read to complete the recall indexes before the node serves.
    pub ahead_rows: u32,
    /// The database that has the rows, if they are not in a file of the data folder.
    pub database: Option<DatabaseConfig>,
    /// What is logged.
    pub log_filter: String,
    /// Whether logs are JSON.
    pub log_json: bool,
    /// What is traced.
    pub trace: TraceConfig,
    /// Where backups go.
    pub backup_folder: PathBuf,
    /// Backups kept.
    pub backup_keep: u32,
    /// The node's place in the root, if it has one.
    pub root: Option<RootConfig>,
    /// Its peers, if it has some.
    pub federation: Option<FederationConfig>,
}

/// Reads settings out of the layers; remembers nothing.
pub(super) struct Reader<'a>(&'a Layers);

impl Reader<'_> {
    pub(super) fn parse<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let (text, origin) = self.0.get(key);
        parse(&text).map_err(|problem| ConfigError::Value { origin, key, problem })
    }

    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        self.parse(key, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })
    }

    pub(super) fn path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        self.optional(key, |text| Ok(PathBuf::from(text)))
    }

    fn text(&self, key: &'static str) -> String {
        self.0.get(key).0
    }

    pub(super) fn count(&self, key: &'static str, low: u64, high: u64) -> Result<u64, ConfigError> {
        self.parse(key, |text| value::count(text, low, high))
    }

    fn duration(&self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        self.parse(key, value::duration)
    }

    /// A duration that must be finite.
    pub(super) fn timeout(&self, key: &'static str) -> Result<Duration, ConfigError> {
        self.parse(key, |text| value::duration(text)?.ok_or_else(|| "must not be never".to_owned()))
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        self.parse(key, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        })
    }

    pub(super) fn required(&self, key: &'static str, why: &str) -> Result<String, ConfigError> {
        self.parse(key, |text| {
            if text.is_empty() { Err(format!("is needed {why}")) } else { Ok(text.to_owned()) }
        })
    }
}

fn embedder(read: &Reader<'_>) -> Result<EmbedderChoice, ConfigError> {
    let kind = read.parse("embedder.kind", |text| match text {
        "lexical" | "folder" | "openai" | "ollama" => Ok(text.to_owned()),
        other => Err(format!("unknown kind {other:?}; use lexical, folder, openai or ollama")),
    })?;
    let why = format!("when embedder.kind is {kind}");
    match kind.as_str() {
        "lexical" => Ok(EmbedderChoice::Lexical { dimension: lexical_dimension(read)? }),
        "folder" => {
            Ok(EmbedderChoice::Folder { folder: read.required("embedder.folder", &why)?.into() })
        }
        kind => Ok(EmbedderChoice::Endpoint {
            ollama: kind == "ollama",
            url: read.required("embedder.url", &why)?,
            model: read.required("embedder.model", &why)?,
            dimension: {
                read.required("embedder.dimension", &why)?;
                read.count("embedder.dimension", 1, 4096)? as u16
            },
            api_key_file: read.path("embedder.api_key_file")?,
        }),
    }
}

fn lexical_dimension(read: &Reader<'_>) -> Result<Option<u16>, ConfigError> {
    read.optional("embedder.dimension", |text| match text.parse() {
        Ok(dimension @ 64..=4096) => Ok(dimension),
        _ => {
            Err(format!("{text:?} is not a number from 64 to 4096, as embedder.kind lexical needs"))
        }
    })
}

fn tls(read: &Reader<'_>) -> Result<Option<TlsConfig>, ConfigError> {
    let client_allowlist = read.path("server.tls_client_allowlist")?;
    match (read.path("server.tls_cert")?, read.path("server.tls_key")?) {
        (Some(cert), Some(key)) => Ok(Some(TlsConfig { cert, key, client_allowlist })),
        (None, None) if client_allowlist.is_none() => Ok(None),
        (None, _) => read.required("server.tls_cert", "for TLS").map(|_| None),
        (Some(_), None) => read.required("server.tls_key", "with server.tls_cert").map(|_| None),
    }
}

fn server(read: &Reader<'_>) -> Result<ServerConfig, ConfigError> {
    Ok(ServerConfig {
        listen: read.parse("server.listen", |text| {
            text.parse().map_err(|_| format!("{text:?} is not an address such as 127.0.0.1:7747"))
        })?,
        tls: tls(read)?,
        connections_max: read.count("server.connections_max", 1, 1_000_000)? as usize,
        requests_max: read.count("server.requests_max", 1, 1_000_000)? as usize,
        request_timeout: read.timeout("server.request_timeout")?,
        drain_timeout: read.timeout("server.drain_timeout")?,
    })
}

impl Config {
    /// Builds the configuration; `home` is where data goes when nothing is set.
    ///
    /// # Errors
    /// The first value that does not fit, with its origin.
    pub fn build(layers: &Layers, home: PathBuf) -> Result<Self, ConfigError> {
        let read = Reader(layers);
        let data_dir = read.path("data_dir")?.unwrap_or(home);
        let permille = |share: f32| (share * 1000.0).round() as u16;
        let server = server(&read)?;
        let root = super::root::read(layers, &read, server.tls.is_some())?;
        let federation = super::federation::read(layers, &read, server.tls.as_ref())?;
        let config = Self {
            root,
            federation,
            agent: read.parse("agent", |t| t.parse::<AgentId>().map_err(|e| e.problem))?,
            server,
            api_key: read.optional("auth.api_key", |t| Ok(t.to_owned()))?,
            api_key_file: read.path("auth.api_key_file")?,
            operator_key_file: read.path("auth.operator_key_file")?,
            default_scope: read
                .parse("memory.default_scope", |t| t.parse::<Scope>().map_err(|e| e.problem))?,
            short_ttl: read.duration("memory.short_ttl")?,
            mid_ttl: read.duration("memory.mid_ttl")?,
            promote_after_recalls: read.count("memory.promote_after_recalls", 0, 1_000_000)? as u32,
            reflection_depth_max: read.count("memory.reflection_depth_max", 1, 16)? as u8,
            quota: QuotaLimits {
                memories_per_day: read.parse("quota.memories_per_day", value::limit)?,
                bytes_total: read.parse("quota.bytes_total", value::limit)?,
                links_per_day: read.parse("quota.links_per_day", value::limit)?,
            },
            lexical_share: read.optional("recall.lexical_share", value::share)?,
            near_duplicate_permille: permille(read.parse("recall.near_duplicate", value::share)?),
            embedder: embedder(&read)?,
            read_connections: read.count("storage.read_connections", 1, 64)? as usize,
            write_queue: read.count("storage.write_queue", 1, 1_000_000)? as usize,
            cache_mib: read.count("storage.cache_mib", 1, 65_536)? as u32,
            reserve_bytes: read.count("storage.reserve_mib", 0, 1 << 30)? << 20,
            ahead_rows: read.count("storage.ahead_rows", 0, 1 << 31)? as u32,
            database: super::database::read(layers, &read)?,
            log_filter: read.text("log.filter"),
            log_json: read.parse("log.format", |text| match text {
                "text" => Ok(false),
                "json" => Ok(true),
                other => Err(format!("unknown format {other:?}; use text or json")),
            })?,
            trace: super::trace::read(&read)?,
            backup_folder: read.path("backup.folder")?.unwrap_or_else(|| data_dir.join("backups")),
            backup_keep: read.count("backup.keep", 1, 1000)? as u32,
            data_dir,
        };
        config.check_exposure(layers)?;
        Ok(config)
    }

    /// Refuses to serve anything but loopback without a key (requirement C11).
    fn check_exposure(&self, layers: &Layers) -> Result<(), ConfigError> {
        let has_key = self.api_key.is_some() || self.api_key_file.is_some();
        if self.server.listen.ip().is_loopback() || has_key {
            return Ok(());
        }
        Err(ConfigError::Value {
            origin: layers.get("server.listen").1,
            key: "server.listen",
            problem: format!(
                "{} can be reached from other machines and no key is set; set auth.api_key_file, or listen on 127.0.0.1",
                self.server.listen
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::*;

    fn build(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut layers = Layers::default();
        for (key, value) in settings {
            layers.add(key, (*value).to_owned(), Origin::Flag).expect("a known key");
        }
        Config::build(&layers, "data".into())
    }

    #[test]
    fn defaults_are_complete() {
        let config = build(&[]).expect("defaults fit");
        assert_eq!(config.short_ttl, Some(Duration::from_secs(6 * 3600)));
        assert_eq!(config.backup_folder, PathBuf::from("data/backups"));
    }

    #[test]
    fn an_open_door_needs_a_key() {
        let open = build(&[("server.listen", "0.0.0.0:1")]).expect_err("no key");
        assert!(open.to_string().contains("auth.api_key_file"), "{open}");
        assert!(build(&[("server.listen", "0.0.0.0:1"), ("auth.api_key", "k")]).is_ok());
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        let cases = [
            ("server.listen", "localhost"),
            ("memory.mid_ttl", "week"),
            ("memory.default_scope", "world"),
            ("embedder.kind", "folder"),
            ("embedder.dimension", "8"),
            ("server.tls_cert", "x.pem"),
            ("backup.keep", "0"),
            ("log.format", "xml"),
            ("trace.sample_percent", "101"),
            ("trace.otlp_endpoint", "collector"),
            ("agent", ""),
        ];
        for (key, value) in cases {
            assert!(matches!(build(&[(key, value)]), Err(ConfigError::Value { .. })), "{key}");
        }
    }
}
