//! Handshakes over real sockets: who gets in, who does not, and what a reload changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, Method};
use runtime::disk::{Disk, OsDisk, write_atomically};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use super::{
    ClientIdentity, Fingerprint, ServerTrust, TlsError, TlsFiles, TlsReload, client_config,
};
use crate::client::{Channel, ChannelTimes};
use crate::http_client::{HttpClient, HttpError};
use crate::loopback::{self, Loopback, Options};
use crate::v1::RecallRequest;
use crate::v1::recall_service_client::RecallServiceClient;

/// Certificates and keys of one test in a folder of its own.
struct Keys {
    folder: tempfile::TempDir,
    disk: Arc<OsDisk>,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, disk: Arc::new(OsDisk) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        write_atomically(&*self.disk, &self.path(name), text.as_bytes(), mode).expect("writes");
    }

    /// Writes a self-signed certificate and its key; gives the fingerprint.
    fn make(&self, name: &str) -> Fingerprint {
        let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])
            .expect("generates");
        self.write(&format!("{name}.crt"), &made.cert.pem(), 0o644);
        self.write(&format!("{name}.key"), &made.signing_key.serialize_pem(), 0o600);
        Fingerprint::of(made.cert.der())
    }

    fn identity(&self, name: &str) -> ClientIdentity {
        ClientIdentity {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        }
    }

    fn server_files(&self, allowlist: bool) -> TlsFiles {
        TlsFiles {
            certificate: self.path("server.crt"),
            key: self.path("server.key"),
            client_allowlist: allowlist.then(|| self.path("allowed")),
        }
    }

    fn load(&self, allowlist: bool) -> Arc<TlsReload> {
        let loaded = TlsReload::load(self.disk.clone(), self.server_files(allowlist));
        Arc::new(loaded.expect("loads"))
    }

    async fn serve(&self, tls: &Arc<TlsReload>) -> Loopback {
        loopback::start(Options { tls: Some(tls.clone()), ..Options::default() }).await
    }

    /// A client that believes `trust` and shows `who`.
    fn client(&self, server: &Loopback, trust: &ServerTrust, who: Option<&str>) -> HttpClient {
        let identity = who.map(|name| self.identity(name));
        let config = client_config(&*self.disk, trust, identity.as_ref()).expect("configures");
        HttpClient::new(server.endpoint().with_tls(config))
    }
}

async fn gets_in(client: &HttpClient) -> bool {
    match client.request(Method::GET, "/", &HeaderMap::new(), None).await {
        Ok(answer) => answer.status == 200,
        Err(HttpError::NotSent { .. } | HttpError::Unknown { .. }) => false,
    }
}

#[tokio::test]
async fn only_clients_on_the_list_get_in_and_a_reload_changes_the_list() {
    let keys = Keys::new();
    let pin = ServerTrust::Pinned(keys.make("server"));
    let (ann, eve) = (keys.make("ann"), keys.make("eve"));
    keys.write("allowed", &format!("# agents\n{ann} # ann\n"), 0o644);
    let tls = keys.load(true);
    let server = keys.serve(&tls).await;
    let connected = keys.client(&server, &pin, Some("ann"));
    assert!(gets_in(&connected).await);
    assert!(!gets_in(&keys.client(&server, &pin, Some("eve"))).await, "TLS-1");
    assert!(!gets_in(&keys.client(&server, &pin, None)).await, "TLS-1");

    keys.write("allowed", &format!("sha256:{eve}\n"), 0o644);
    tls.reload().expect("reloads");
    assert!(gets_in(&keys.client(&server, &pin, Some("eve"))).await);
    assert!(!gets_in(&keys.client(&server, &pin, Some("ann"))).await, "TLS-1");
    assert!(!gets_in(&connected).await, "TLS-5");

    keys.write("allowed", "not a fingerprint\n", 0o644);
    assert!(matches!(tls.reload(), Err(TlsError::Allowlist { .. })));
    assert!(gets_in(&keys.client(&server, &pin, Some("eve"))).await, "TLS-4");
}

/// Shows a certificate and signs with a key that is not its own.
#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_certificate_on_the_list_without_its_key_does_not_get_in() {
    let keys = Keys::new();
    let pin = ServerTrust::Pinned(keys.make("server"));
    let ann = keys.make("ann");
    keys.make("eve");
    keys.write("allowed", &ann.to_string(), 0o644);
    let server = keys.serve(&keys.load(true)).await;
    for (key, expected) in [("ann.key", true), ("eve.key", false)] {
        let chain = super::read_certificates(&*keys.disk, &keys.path("ann.crt")).expect("reads");
        let key = super::read_key(&*keys.disk, &keys.path(key)).expect("reads");
        let signer = rustls::crypto::ring::sign::any_supported_type(&key).expect("a key");
        let shown = Stolen(Arc::new(CertifiedKey::new(chain, signer)));
        let mut config = (*client_config(&*keys.disk, &pin, None).expect("configures")).clone();
        config.client_auth_cert_resolver = Arc::new(shown);
        let client = HttpClient::new(server.endpoint().with_tls(Arc::new(config)));
        assert_eq!(gets_in(&client).await, expected, "TLS-2");
    }
}

#[tokio::test]
async fn a_client_believes_the_pinned_server_or_an_authority_and_nobody_else() {
    let keys = Keys::new();
    let pin = keys.make("server");
    keys.make("other");
    let tls = keys.load(false);
    assert_eq!(tls.fingerprint(), pin);
    let server = keys.serve(&tls).await;
    let trusts = [
        (ServerTrust::Pinned(pin), true),
        (ServerTrust::Pinned(Fingerprint([0; 32])), false),
        (ServerTrust::AuthorityFile(keys.path("server.crt")), true),
        (ServerTrust::AuthorityFile(keys.path("other.crt")), false),
    ];
    for (trust, expected) in trusts {
        assert_eq!(gets_in(&keys.client(&server, &trust, None)).await, expected, "{trust:?}");
    }
}

#[tokio::test]
async fn grpc_runs_over_tls_and_knows_the_certificate() {
    let keys = Keys::new();
    let pin = ServerTrust::Pinned(keys.make("server"));
    let ann = keys.make("ann");
    keys.write("allowed", &ann.to_string(), 0o644);
    let server = keys.serve(&keys.load(true)).await;
    let identity = keys.identity("ann");
    let config = client_config(&*keys.disk, &pin, Some(&identity)).expect("configures");
    let channel = Channel::new(server.endpoint().with_tls(config), ChannelTimes::default());
    let request = RecallRequest { query: "tea".into(), ..RecallRequest::default() };
    let mut stream =
        RecallServiceClient::new(channel).recall(request).await.expect("answers").into_inner();
    let mut shown = String::new();
    while let Some(message) = futures::StreamExt::next(&mut stream).await {
        shown.push_str(&format!("{:?}", message.expect("a message")));
    }
    assert!(shown.contains(&ann.to_string()), "{shown}");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_fix() {
    let keys = Keys::new();
    keys.make("server");
    for mode in [0o640, 0o604, 0o644, 0o660] {
        keys.disk.set_mode(&keys.path("server.key"), mode).expect("chmod");
        let error = TlsReload::load(keys.disk.clone(), keys.server_files(false)).expect_err("lax");
        assert!(error.to_string().contains("chmod 600"), "TLS-3: {error}");
    }
    keys.disk.set_mode(&keys.path("server.key"), 0o400).expect("chmod");
    assert!(TlsReload::load(keys.disk.clone(), keys.server_files(false)).is_ok());
}

#[test]
fn bad_files_are_named() {
    let keys = Keys::new();
    keys.make("server");
    let missing = TlsFiles { certificate: keys.path("none"), ..keys.server_files(false) };
    let load = |files| TlsReload::load(keys.disk.clone(), files).expect_err("bad").to_string();
    let mentions =
        |text: String, path: &Path| assert!(text.contains(&*path.to_string_lossy()), "{text}");
    mentions(load(missing), &keys.path("none"));
    keys.write("empty", "", 0o600);
    let empty = TlsFiles { certificate: keys.path("empty"), ..keys.server_files(false) };
    mentions(load(empty), &keys.path("empty"));
    let keyless = TlsFiles { key: keys.path("empty"), ..keys.server_files(false) };
    mentions(load(keyless), &keys.path("empty"));
}
