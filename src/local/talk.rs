//! Asking the nodes of a cluster, as its operator, over their own doors.
//!
//! Not here: what the answers mean.

use std::{path::Path, time::Duration};

use http::{HeaderMap, HeaderValue, Method, header};
use runtime::{clock, disk::OsDisk};
use serde_json::Value;
use wire::{
    dial::Endpoint,
    http_client::HttpClient,
    tls::{ClientIdentity, ServerTrust, client_config},
};

use super::{
    LocalError,
    files::{CLIENT, Files},
    state::Node,
};

/// What the operator of a cluster shows its nodes.
pub struct Talk {
    files: Files,
    headers: HeaderMap,
}

impl Talk {
    /// With the keys of the cluster in a folder.
    ///
    /// # Errors
    /// A key that cannot be read.
    pub fn with(folder: &Path) -> Result<Self, LocalError> {
        let files = Files::of(folder);
        let key = HeaderValue::from_str(&files.secret("operator.key")?)
            .map_err(|e| LocalError::system("use the operator's key", std::io::Error::other(e)))?;
        let headers = HeaderMap::from_iter([
            (header::HeaderName::from_static("x-api-key"), key),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ]);
        Ok(Self { files, headers })
    }

    fn client(&self, node: &Node) -> Result<HttpClient, String> {
        let identity = ClientIdentity {
            certificate: self.files.pki(&format!("{CLIENT}.crt")),
            key: self.files.pki(&format!("{CLIENT}.key")),
        };
        let trust = ServerTrust::AuthorityFile(self.files.pki("ca.crt"));
        let tls = client_config(&OsDisk, &trust, Some(&identity)).map_err(|e| e.to_string())?;
        let endpoint: Endpoint = node.address.to_string().parse().map_err(|e| format!("{e}"))?;
        Ok(HttpClient::new(endpoint.with_tls(tls)))
    }

    /// Asks a node; its answer, or why there is none.
    ///
    /// # Errors
    /// In words.
    pub async fn ask(
        &self,
        node: &Node,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, String> {
        let client = self.client(node)?;
        let asked = client.request(method, path, &self.headers, body);
        let answer = clock::timeout(within, asked).await.map_err(|_| "no answer".to_owned())?;
        let answer = answer.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status >= 400 {
            return Err(format!("{}: {text}", answer.status));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}
