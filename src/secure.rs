//! TLS around what this node dials.
//!
//! Invariant: where the doors have TLS, so has every connection to another node, and each side shows its
//! certificate.
//!
//! Not here: the doors' own TLS (`doors`), keys beside it (`root`, `peers`).

use std::{path::Path, sync::Arc};

use runtime::disk::DiskRef;
use wire::{
    dial::Endpoint,
    tls::{ClientIdentity, ServerTrust, TlsError, client_config},
};

use crate::config::TlsConfig;

/// Puts TLS around an endpoint.
pub(crate) type Secure = Arc<dyn Fn(Endpoint) -> Endpoint + Send + Sync>;

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
    let identity = ClientIdentity { certificate: tls.cert.clone(), key: tls.key.clone() };
    let trust = ServerTrust::AuthorityFile(authority.to_path_buf());
    let client = client_config(&**disk, &trust, Some(&identity))?;
    Ok(Some(Arc::new(move |endpoint: Endpoint| endpoint.with_tls(client.clone()))))
}
