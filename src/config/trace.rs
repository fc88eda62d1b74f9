//! The settings of traces.
//!
//! Not here: what is traced (`telemetry::spans`).

use std::path::PathBuf;

use wire::dial::Endpoint;

use super::{layers::ConfigError, settings::Reader};

/// Which requests are traced, and where spans go.
#[derive(Clone, Debug, Default)]
pub struct TraceConfig {
    /// Of a hundred requests that belong to no trace, how many begin one.
    pub sample_percent: u8,
    /// The collector.
    pub otlp_endpoint: Option<Endpoint>,
    /// Who vouches for the collector's certificate; without it there is no TLS.
    pub otlp_ca_file: Option<PathBuf>,
}

pub(super) fn read(read: &Reader<'_>) -> Result<TraceConfig, ConfigError> {
    Ok(TraceConfig {
        sample_percent: read.count("trace.sample_percent", 0, 100)? as u8,
        otlp_endpoint: read.optional("trace.otlp_endpoint", |text| {
            text.parse().map_err(|invalid: types::Invalid| invalid.problem)
        })?,
        otlp_ca_file: read.path("trace.otlp_ca_file")?,
    })
}
