//! TLS around what this node dials.
//!
//! Invariant: where the doors have TLS, so has every connection to another node, and each side shows its
//! certificate.
//!
//! Not here: the doors' own TLS (`doors`), keys beside it (`root`, `peers`).

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use runtime::disk::DiskRef;
use wire::{
    dial::{Endpoint, TlsSource},
    tls::{ClientIdentity, ServerTrust, TlsError, client_config},
};

use crate::config::TlsConfig;

/// Puts TLS around an endpoint.
pub(crate) type Secure = Arc<dyn Fn(Endpoint) -> Endpoint + Send + Sync>;

/// TLS that shows the doors' certificate and believes whom `trust` says. Files are read for each connection, so
/// that a changed certificate counts without a restart; while they cannot be used, the last that could be
/// counts (`TLS-4`).
///
/// # Errors
/// [`TlsError`], if they cannot be used now.
pub(crate) fn source(
    disk: &DiskRef,
    tls: &TlsConfig,
    trust: impl Fn() -> ServerTrust + Send + Sync + 'static,
) -> Result<TlsSource, TlsError> {
    let identity = ClientIdentity { certificate: tls.cert.clone(), key: tls.key.clone() };
    let disk = disk.clone();
    let fresh = move || client_config(&*disk, &trust(), Some(&identity));
    let last = Mutex::new(fresh()?);
    Ok(Arc::new(move || {
        let mut last = last.lock();
        match fresh() {
            Ok(config) => *last = config,
            Err(error) => tracing::warn!(%error, "the certificate shown to others stays as it is"),
        }
        Ok(last.clone())
    }))
}

/// What to put around endpoints whose certificates `authority` vouches for; `None` without TLS.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn secure(
    disk: &DiskRef,
    authority: Option<&Path>,
    tls: Option<&TlsConfig>,
) -> Result<Option<Secure>, TlsError> {
    let (Some(tls), Some(authority)) = (tls, authority) else { return Ok(None) };
    let trust = ServerTrust::AuthorityFile(authority.to_path_buf());
    let source = source(disk, tls, move || trust.clone())?;
    Ok(Some(Arc::new(move |endpoint: Endpoint| endpoint.with_tls_from(source.clone()))))
}
