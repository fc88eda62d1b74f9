//! The server's side: certificate, key and allowlist from files, replaceable while it runs.
//!
//! Invariants: `TLS-4`; after a reload no session made under an older allowlist is resumed, because
//! sessions of clients with certificates are never resumed at all.
//!
//! Not here: watching the files (the node decides when to reload). Connections that exist stay.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::disk::DiskRef;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;

use super::fingerprint::{Allowlist, Fingerprint};
use super::verify::AllowedClients;
use super::{ALPN, NodeTime, TlsError, VERSIONS, provider, read, read_certificates, read_key};

/// Where the server's side of TLS is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file of the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file of the private key, mode 0600 or stricter.
    pub key: PathBuf,
    /// File of client fingerprints. When set, a client needs a certificate on the list.
    pub client_allowlist: Option<PathBuf>,
}

/// The configuration in force, and the way to replace it.
pub struct TlsReload {
    disk: DiskRef,
    files: TlsFiles,
    also: ArcSwap<Vec<Fingerprint>>,
    current: ArcSwap<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for TlsReload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsReload").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsReload {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] naming the file and the fix.
    pub fn load(disk: DiskRef, files: TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(load(&disk, &files, &[])?);
        Ok(Self { disk, files, also: ArcSwap::default(), current })
    }

    /// Lets these clients in too, where there is an allowlist, from the next reload on.
    pub fn also(&self, fingerprints: Vec<Fingerprint>) {
        self.also.store(Arc::new(fingerprints));
    }

    /// Reads the files again. New handshakes use what they contain now; on an error nothing changes
    /// (`TLS-4`).
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(load(&self.disk, &self.files, &self.also.load())?));
        Ok(())
    }

    /// The configuration for the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The fingerprint of the server's own leaf, for peers to pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.load().fingerprint
    }
}

fn load(disk: &DiskRef, files: &TlsFiles, also: &[Fingerprint]) -> Result<Loaded, TlsError> {
    let chain = read_certificates(&**disk, &files.certificate)?;
    let key = read_key(&**disk, &files.key)?;
    let fingerprint = Fingerprint::of(&chain[0]);
    let provider = provider();
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(NodeTime))
        .with_protocol_versions(VERSIONS)?;
    let builder = match &files.client_allowlist {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let allowlist = read_allowlist(disk, path)?.with(also);
            builder.with_client_cert_verifier(Arc::new(AllowedClients { allowlist, provider }))
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    if files.client_allowlist.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), fingerprint })
}

fn read_allowlist(disk: &DiskRef, path: &std::path::Path) -> Result<Allowlist, TlsError> {
    let bytes = read(&**disk, path)?;
    let text = String::from_utf8(bytes).map_err(|_| TlsError::Content {
        path: path.to_owned(),
        problem: "is not UTF-8 text".to_owned(),
    })?;
    text.parse().map_err(|source| TlsError::Allowlist { path: path.to_owned(), source })
}
