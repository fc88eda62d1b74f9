//! TLS 1.3 and 1.2 through rustls with the ring provider, which is named in every configuration
//! and never installed for the whole process.
//!
//! Invariants: `TLS-1` and `TLS-2` (see `verify`); `TLS-3` a private key that others than its owner
//! can read is refused; `TLS-4` a reload that fails leaves the old certificate and list in force.
//!
//! Not here: making certificates and keys (the node's identity).

mod client;
mod fingerprint;
#[cfg(all(test, not(madsim)))]
mod handshake_tests;
mod server;
mod verify;

pub use client::{ClientIdentity, ServerTrust, client_config};
pub use fingerprint::{Allowlist, Fingerprint};
pub use rustls::ClientConfig;
pub use server::{TlsFiles, TlsReload};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::disk::{Disk, read_all};
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use types::Invalid;
use zeroize::Zeroizing;

/// Newest first.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
/// What a server offers and a client asks for, preferred first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than its owner may read the private key.
    #[error(
        "private key {path} has mode {mode:04o}; others must not read it: chmod 600 {path}",
        path = path.display()
    )]
    LaxKey {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not contain what it should.
    #[error("{path} {problem}", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The allowlist has a line that cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Allowlist {
        /// Which file.
        path: PathBuf,
        /// Which line, and why.
        source: Invalid,
    },
    /// Certificate and key do not fit, or rustls refuses them.
    #[error("TLS cannot be set up: {source}")]
    Rustls {
        /// Why.
        #[from]
        source: rustls::Error,
    },
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Certificates are judged by the node's own wall clock.
#[derive(Debug)]
struct NodeTime;

impl TimeProvider for NodeTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = std::time::Duration::from_millis(runtime::clock::now_unix_ms());
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_all(disk, path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// The certificates of a PEM file, leaf first.
fn read_certificates(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |problem: String| TlsError::Content { path: path.to_owned(), problem };
    let pem = read(disk, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| content(format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(content("contains no certificate (BEGIN CERTIFICATE)".to_owned()));
    }
    Ok(certificates)
}

/// The fingerprint of the first certificate of a PEM file.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn leaf_of(disk: &dyn Disk, path: &Path) -> Result<Fingerprint, TlsError> {
    read_certificates(disk, path).map(|chain| Fingerprint::of(&chain[0]))
}

/// The private key of a PEM file that only its owner can read (`TLS-3`).
fn read_key(disk: &dyn Disk, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unreadable = |source| TlsError::Read { path: path.to_owned(), source };
    let mode = disk.metadata(path).map_err(unreadable)?.mode;
    if mode & 0o077 != 0 {
        return Err(TlsError::LaxKey { path: path.to_owned(), mode });
    }
    let pem = Zeroizing::new(read(disk, path)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TlsError::Content {
        path: path.to_owned(),
        problem: format!("contains no usable private key: {error}"),
    })
}
