//! Decisions about certificates during a handshake.
//!
//! Invariants: `TLS-1` a client whose leaf is not on the list is refused in the handshake, before a
//! byte of a request is read; `TLS-2` a pinned certificate counts only with proof of its key: the
//! handshake signature is always verified.
//!
//! Not here: chains and expiry of pinned certificates. Who pins a leaf has decided about that leaf;
//! taking it off the list is how it expires.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::fingerprint::{Allowlist, Fingerprint};

/// Accepts clients whose leaf certificate is on the list.
#[derive(Debug)]
pub(super) struct AllowedClients {
    pub(super) allowlist: Allowlist,
    pub(super) provider: Arc<CryptoProvider>,
}

/// Accepts the server certificates that are pinned.
#[derive(Debug)]
pub(super) struct PinnedServer {
    pub(super) pins: Allowlist,
    pub(super) provider: Arc<CryptoProvider>,
}

fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// The part both verifiers share: proof that the peer has the certificate's key.
macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for AllowedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let fingerprint = Fingerprint::of(end_entity);
        if self.allowlist.contains(&fingerprint) {
            return Ok(ClientCertVerified::assertion());
        }
        tracing::warn!(%fingerprint, "client certificate is not on the allowlist");
        Err(refused())
    }

    verify_signatures!();
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint = Fingerprint::of(end_entity);
        if self.pins.contains(&fingerprint) {
            return Ok(ServerCertVerified::assertion());
        }
        tracing::warn!(%fingerprint, "server certificate is not a pinned one");
        Err(refused())
    }

    verify_signatures!();
}
