//! The nodes that clients ask, and how they are asked.
//!
//! Invariant: every question ends, within the client's own limit if nothing else ends it.
//!
//! Not here: what an answer means (`outcome`).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use runtime::clock;
use serde_json::Value;
use wire::http_client::{HttpClient, HttpError, HttpLimits, HttpStream};

use super::outcome::Told;

/// Beyond the time that a node is given for its answer, milliseconds.
const GRACE_MS: u64 = 1500;
/// Time for a connection.
const CONNECT: Duration = Duration::from_millis(1000);

/// A voter of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// Its name in the history.
    pub name: String,
    /// Where its HTTP door is, `http://host:port`.
    pub endpoint: String,
    /// The key that clients present; `None` where loopback needs none.
    pub api_key: Option<String>,
    /// The key with an operator's rights.
    pub operator_key: String,
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
    /// The endpoint is none.
    pub fn new(node: &NodeAt, answer_ms: u64) -> Result<Self, types::Invalid> {
        let limits = HttpLimits {
            connect: CONNECT,
            answer: Duration::from_millis(answer_ms.max(30_000)),
            ..HttpLimits::default()
        };
        Ok(Self {
            name: node.name.clone(),
            http: HttpClient::with_limits(node.endpoint.parse()?, limits),
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

    /// The node's metrics, as text; `None` when it does not give them in time.
    pub async fn metrics(&self, answer_ms: u64) -> Option<String> {
        let headers = self.headers(&Question::get("", "operator", answer_ms).by_operator())?;
        let asked = self.http.request(Method::GET, "/api/v1/metrics", &headers, None);
        let told = clock::timeout(Duration::from_millis(answer_ms), asked).await.ok()?.ok()?;
        String::from_utf8(told.body.to_vec()).ok().filter(|_| told.status == 200)
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
