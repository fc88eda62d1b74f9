//! The nodes that clients ask, and how they are asked.
//!
//! Invariant: every question ends, within the client's own limit if nothing else ends it.
//!
//! Not here: what an answer means (`outcome`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use runtime::{clock, disk::OsDisk};
use serde_json::Value;
use wire::{
    dial::Endpoint,
    http_client::{HttpClient, HttpError, HttpLimits, HttpStream},
    tls::{ClientConfig, ClientIdentity, ServerTrust, client_config},
};

use super::outcome::Told;

/// Beyond the time that a node is given for its answer, milliseconds.
const GRACE_MS: u64 = 1500;
/// Time for a connection.
const CONNECT: Duration = Duration::from_millis(1000);

/// What a client trusts and shows where nodes speak TLS alone: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Papers {
    /// Of the authority of the nodes' certificates.
    pub authority: PathBuf,
    /// Its own certificate.
    pub certificate: PathBuf,
    /// The key of that.
    pub key: PathBuf,
}

impl Papers {
    /// With its own certificate, or showing none.
    fn config(&self, shown: bool) -> Result<Arc<ClientConfig>, types::Invalid> {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        let identity = shown.then_some(ClientIdentity { certificate, key });
        let trust = ServerTrust::AuthorityFile(self.authority.clone());
        client_config(&OsDisk, &trust, identity.as_ref())
            .map_err(|error| types::Invalid::new("papers", error.to_string()))
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// Its name in the history.
    pub name: String,
    /// Where its HTTP door is, `http://host:port`, or `host:port` with papers.
    pub endpoint: String,
    /// The key that clients present; `None` where loopback needs none.
    pub api_key: Option<String>,
    /// The key with an operator's rights.
    pub operator_key: String,
    /// For TLS; `None` where it is not spoken.
    pub papers: Option<Papers>,
}

impl NodeAt {
    /// A client of it that gives up after this long, or half a minute, whichever is longer.
    ///
    /// # Errors
    /// The endpoint is none, or its papers cannot be read.
    pub fn client(&self, answer_ms: u64) -> Result<HttpClient, types::Invalid> {
        self.client_that_shows(true, answer_ms)
    }

    /// The same, showing no certificate.
    ///
    /// # Errors
    /// The endpoint is none, or its papers cannot be read.
    pub fn without_certificate(&self, answer_ms: u64) -> Result<HttpClient, types::Invalid> {
        self.client_that_shows(false, answer_ms)
    }

    fn client_that_shows(&self, own: bool, answer_ms: u64) -> Result<HttpClient, types::Invalid> {
        let limits = HttpLimits {
            connect: CONNECT,
            answer: Duration::from_millis(answer_ms.max(30_000)),
            ..HttpLimits::default()
        };
        let mut endpoint: Endpoint = self.endpoint.parse()?;
        if let Some(papers) = &self.papers {
            endpoint = endpoint.with_tls(papers.config(own)?);
        }
        Ok(HttpClient::with_limits(endpoint, limits))
    }
}

/// All voters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// In the order of their numbers.
    pub nodes: Vec<NodeAt>,
}

/// A question to a node.
#[derive(Clone, Debug)]
pub struct Question {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Body.
    pub body: Option<Value>,
    /// In whose name.
    pub agent: String,
    /// Whether an operator asks.
    pub operator: bool,
    /// The name under which it may be done once.
    pub key: Option<String>,
    /// The fencing token that comes with it.
    pub fence: Option<u64>,
    /// Time for the answer, milliseconds.
    pub answer_ms: u64,
}

impl Question {
    /// A question that reads.
    pub fn get(path: impl Into<String>, agent: &str, answer_ms: u64) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            agent: agent.to_owned(),
            operator: false,
            key: None,
            fence: None,
            answer_ms,
        }
    }

    /// A question with a body.
    pub fn send(
        method: Method,
        path: impl Into<String>,
        agent: &str,
        answer_ms: u64,
        body: Value,
    ) -> Self {
        Self { method, body: Some(body), ..Self::get(path, agent, answer_ms) }
    }

    /// The same, asked by an operator.
    #[must_use]
    pub fn by_operator(self) -> Self {
        Self { operator: true, ..self }
    }

    /// The same under a name.
    #[must_use]
    pub fn named(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }
}

/// One client's connections to one node.
#[derive(Debug)]
pub struct Link {
    /// Name of the node.
    pub name: String,
    http: HttpClient,
    api_key: Option<String>,
    operator_key: String,
}

impl Link {
    /// Connects nothing yet.
    ///
    /// # Errors
    /// The endpoint is none, or its papers cannot be read.
    pub fn new(node: &NodeAt, answer_ms: u64) -> Result<Self, types::Invalid> {
        Ok(Self {
            name: node.name.clone(),
            http: node.client(answer_ms)?,
            api_key: node.api_key.clone(),
            operator_key: node.operator_key.clone(),
        })
    }

    fn headers(&self, question: &Question) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).ok()?;
            headers.insert(HeaderName::from_static(name), value);
            Some(())
        };
        put("x-agent-id", &question.agent)?;
        put("x-timeout-ms", &question.answer_ms.to_string())?;
        match (question.operator, &self.api_key) {
            (true, _) => put("x-api-key", &self.operator_key)?,
            (false, Some(key)) => put("x-api-key", key)?,
            (false, None) => {}
        }
        if let Some(key) = &question.key {
            put("idempotency-key", key)?;
        }
        if let Some(fence) = question.fence {
            put("x-fence", &fence.to_string())?;
        }
        Some(headers)
    }

    /// Asks.
    pub async fn ask(&self, question: &Question) -> Told {
        let Some(headers) = self.headers(question) else {
            return Told::NotSent("a header is not ASCII".to_owned());
        };
        let sent = self.http.request(
            question.method.clone(),
            &question.path,
            &headers,
            question.body.as_ref(),
        );
        let limit = Duration::from_millis(question.answer_ms + GRACE_MS);
        match clock::timeout(limit, sent).await {
            Ok(Ok(answer)) => Told::of(&answer),
            Ok(Err(HttpError::NotSent { detail })) => Told::NotSent(detail),
            Ok(Err(HttpError::Unknown { detail })) => Told::Unsure(detail),
            Err(_) => Told::Unsure(format!("no answer within {} ms", limit.as_millis())),
        }
    }

    /// An answer that is no JSON, as it is; `None` when there is none in time.
    pub async fn text(&self, question: &Question) -> Option<String> {
        let (method, headers) = (question.method.clone(), self.headers(question)?);
        let sent = self.http.request(method, &question.path, &headers, None);
        let limit = Duration::from_millis(question.answer_ms + GRACE_MS);
        let answer = clock::timeout(limit, sent).await.ok()?.ok()?;
        let is_good = answer.status < 400;
        is_good.then(|| String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Begins to listen to an agent's changes from the first on; the node sends them as they are read.
    pub async fn listen(&self, agent: &str, limit: Duration) -> Option<HttpStream> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let headers = self.headers(&Question::get("", agent, limit_ms))?;
        self.http.stream(Method::GET, "/api/v1/watch?after=0", &headers, None).await.ok()
    }

    /// Positions of the changes that an agent sees, from the beginning up to `last`; `None` when the
    /// node does not list them in time.
    pub async fn changes(&self, agent: &str, last: u64, limit: Duration) -> Option<Vec<String>> {
        let listing = async {
            let mut stream = self.listen(agent, limit).await?;
            let mut positions = Vec::new();
            let mut reached = 0;
            while reached < last {
                let event = stream.next_event().await.ok()??;
                reached = event.id.as_deref()?.parse().ok()?;
                match event.event.as_str() {
                    "change" => positions.push(reached.to_string()),
                    "covered" => {}
                    _ => return None,
                }
            }
            Some(positions)
        };
        clock::timeout(limit, listing).await.ok().flatten()
    }
}
