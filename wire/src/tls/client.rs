//! The client's side: whom to believe, and who to be.
//!
//! Invariant: there is no way to believe everybody.
//!
//! Not here: connecting (`dial`).

use std::path::PathBuf;
use std::sync::Arc;

use runtime::disk::Disk;
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::fingerprint::{Allowlist, Fingerprint};
use super::verify::PinnedServer;
use super::{ALPN, NodeTime, TlsError, VERSIONS, provider, read_certificates, read_key};

/// Which server to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerTrust {
    /// The one whose leaf has this fingerprint, under whatever name.
    Pinned(Fingerprint),
    /// Those whose leaf is on the list, under whatever name.
    OneOf(Allowlist),
    /// Those whose chain ends in a certificate of this PEM file, under the name that was dialled.
    AuthorityFile(PathBuf),
}

/// The certificate that a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file of the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file of the private key, mode 0600 or stricter.
    pub key: PathBuf,
}

/// The configuration of a client that believes `trust` and shows `identity`.
///
/// # Errors
/// [`TlsError`] naming the file and the fix.
pub fn client_config(
    disk: &dyn Disk,
    trust: &ServerTrust,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = trusting(disk, trust)?;
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = read_certificates(disk, &identity.certificate)?;
            builder.with_client_auth_cert(chain, read_key(disk, &identity.key)?)?
        }
    };
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

fn trusting(
    disk: &dyn Disk,
    trust: &ServerTrust,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(NodeTime))
        .with_protocol_versions(VERSIONS)?;
    match trust {
        ServerTrust::Pinned(pin) => {
            let verifier = PinnedServer { pins: [*pin].into_iter().collect(), provider };
            Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
        }
        ServerTrust::OneOf(pins) => {
            let verifier = PinnedServer { pins: pins.clone(), provider };
            Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
        }
        ServerTrust::AuthorityFile(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates(disk, path)? {
                roots.add(certificate)?;
            }
            Ok(builder.with_root_certificates(roots))
        }
    }
}
