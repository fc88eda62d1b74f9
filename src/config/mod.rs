//! Configuration: one table of settings, four layers, and the origin of every value.
//!
//! Layers, strongest first: command-line flags, `HIVEMEM_*` environment variables, the TOML file,
//! built-in defaults.
//!
//! Invariants: `CFG-1` a key that the table does not have is an error naming its line; `CFG-2` a
//! value that does not fit is an error naming the key, where it came from and what would fit;
//! `CFG-3` secrets are shown as `(set)`.
//!
//! Not here: acting on settings.

mod database;
mod federation;
mod layers;
mod root;
mod settings;
mod table;
mod trace;
mod value;

pub use database::{DatabaseConfig, DatabaseUrl};
pub use federation::{FederationConfig, Quorum};
pub use layers::{ConfigError, Layers, Origin, Resolved};
pub use root::RootConfig;
pub use settings::{Config, EmbedderChoice, ServerConfig, TlsConfig};
pub use table::{SETTINGS, Setting};
pub use trace::TraceConfig;
#[cfg(feature = "host")]
pub(crate) use value::duration;
