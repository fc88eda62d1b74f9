//! The server's side: certificate, key and allowlist from files, replaceable while it runs.
//!
//! Invariants: `TLS-4`; after a reload no session made under an older allowlist is resumed, because
//! sessions of clients with certificates are never resumed at all; `TLS-5` a client that a reload took off the
//! allowlist is told of at once, so that its connections are closed. Others stay, whatever was reloaded.
//!
//! Not here: watching the files (the node decides when to reload), closing connections (`serve`).

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::disk::DiskRef;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::sync::watch;

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
    current: watch::Sender<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    /// Who may come in; `None` for everybody.
    allowlist: Option<Allowlist>,
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
        let current = watch::Sender::new(load(&disk, &files, &[])?);
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
        self.current.send_replace(load(&self.disk, &self.files, &self.also.load())?);
        Ok(())
    }

    /// The configuration for the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow().config)
    }

    /// The fingerprint of the server's own leaf, for peers to pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.borrow().fingerprint
    }

    /// Ends when a client with this certificate may not come in any more (`TLS-5`).
    pub async fn refuses(&self, client: Option<Fingerprint>) {
        let is_allowed = |list: &Allowlist| client.is_some_and(|client| list.contains(&client));
        let is_out = |now: &Loaded| now.allowlist.as_ref().is_some_and(|list| !is_allowed(list));
        let mut current = self.current.subscribe();
        if current.wait_for(is_out).await.is_err() {
            // The sender is this one; it does not go while it is borrowed.
            std::future::pending::<()>().await;
        }
    }
}

fn load(disk: &DiskRef, files: &TlsFiles, also: &[Fingerprint]) -> Result<Loaded, TlsError> {
    let chain = read_certificates(&**disk, &files.certificate)?;
    let key = read_key(&**disk, &files.key)?;
    let fingerprint = Fingerprint::of(&chain[0]);
    let provider = provider();
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(NodeTime))
        .with_protocol_versions(VERSIONS)?;
    let allowlist = files.client_allowlist.as_ref().map(|path| read_allowlist(disk, path));
    let allowlist = allowlist.transpose()?.map(|listed| listed.with(also));
    let builder = match allowlist.clone() {
        None => builder.with_no_client_auth(),
        Some(allowlist) => {
            builder.with_client_cert_verifier(Arc::new(AllowedClients { allowlist, provider }))
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    if allowlist.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), fingerprint, allowlist })
}

fn read_allowlist(disk: &DiskRef, path: &std::path::Path) -> Result<Allowlist, TlsError> {
    let bytes = read(&**disk, path)?;
    let text = String::from_utf8(bytes).map_err(|_| TlsError::Content {
        path: path.to_owned(),
        problem: "is not UTF-8 text".to_owned(),
    })?;
    text.parse().map_err(|source| TlsError::Allowlist { path: path.to_owned(), source })
}
