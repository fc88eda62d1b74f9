//! Logs: to standard error, as text or as one JSON object per line.
//!
//! Invariants: standard output is never written (it belongs to commands and to the MCP protocol); no
//! event carries the content, title, tags or metadata of a memory, a key or a token.
//!
//! Not here: rotating and shipping, which is the supervisor's.

use std::io;

use thiserror::Error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// What to log, e.g. `info` or `info,hivemem::api=debug`.
    pub filter: String,
    /// One JSON object per line instead of text.
    pub json: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".to_owned(), json: false }
    }
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("log.filter {filter:?}: {cause}; use a level such as info, or target=level pairs")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Something else has installed a logger in this process.
    #[error("this process has a logger already")]
    Installed,
}

fn filter(settings: &LogSettings) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(&settings.filter)
        .map_err(|e| LogError::Filter { filter: settings.filter.clone(), cause: e.to_string() })
}

/// Installs the process's logger.
///
/// # Errors
/// [`LogError`] for a bad filter, or when there is one already.
pub fn install(settings: &LogSettings) -> Result<(), LogError> {
    let registry = tracing_subscriber::registry().with(filter(settings)?);
    let installed = if settings.json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
    } else {
        let colours = io::IsTerminal::is_terminal(&io::stderr());
        registry.with(fmt::layer().with_ansi(colours).with_writer(io::stderr)).try_init()
    };
    installed.map_err(|_| LogError::Installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for good in ["info", "warn,hivemem::api=debug", "off"] {
            assert!(filter(&LogSettings { filter: good.into(), json: false }).is_ok(), "{good}");
        }
        let bad = filter(&LogSettings { filter: "hivemem=loud".into(), json: true });
        let said = bad.expect_err("no such level").to_string();
        assert!(said.contains("log.filter") && said.contains("hivemem=loud"), "{said}");
    }
}
