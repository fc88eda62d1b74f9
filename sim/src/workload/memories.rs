//! Clients: they store under idempotency keys, retry what is unknown, and recall what was
//! acknowledged.
//!
//! Invariant: a client retries only with the same key and the same body, so the history stays
//! decidable.
//!
//! Not here: judging.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use runtime::{clock, random};
use serde_json::{Value, json};
use wire::http_client::{HttpAnswer, HttpClient, HttpError, HttpLimits};

use crate::{
    judge::stores::{Ending, Found, Scan, Store, Stores},
    options::Options,
    world::NODE_ADDRESS,
};

/// Attempts under one key before the outcome stays unknown.
const ATTEMPTS: u32 = 30;
/// Pause between two attempts.
const RETRY: Duration = Duration::from_millis(400);

/// A client of the simulated node.
pub struct Client {
    http: HttpClient,
    headers: HeaderMap,
}

impl Default for Client {
    fn default() -> Self {
        Self::presenting(crate::world::API_KEY)
    }
}

impl Client {
    /// A client with an operator's rights.
    pub fn operator() -> Self {
        Self::presenting(crate::world::OPERATOR_KEY)
    }

    fn presenting(key: &'static str) -> Self {
        let endpoint = format!("http://{NODE_ADDRESS}").parse().expect("an endpoint");
        let limits = HttpLimits {
            connect: Duration::from_secs(1),
            answer: Duration::from_secs(5),
            ..HttpLimits::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static(key));
        Self { http: HttpClient::with_limits(endpoint, limits), headers }
    }
}

impl Client {
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<HttpAnswer, HttpError> {
        let mut headers = self.headers.clone();
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).expect("keys are ASCII");
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        let sent =
            clock::timeout(Duration::from_secs(8), self.http.request(method, path, &headers, body));
        sent.await.unwrap_or_else(|_| Err(HttpError::Unknown { detail: "no answer".to_owned() }))
    }

    /// Sends until it is answered with success; `None` when that never happens.
    async fn until_answered(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Value> {
        for _ in 0..ATTEMPTS {
            if let Ok(answer) = self.send(method.clone(), path, body, None).await
                && answer.status < 400
            {
                return answer.json();
            }
            clock::sleep(RETRY).await;
        }
        None
    }

    /// Stores under a key until the outcome is known or the attempts are used up.
    pub async fn store(&self, key: &str, content: &str) -> Store {
        let body =
            json!({ "title": key, "content": content, "tier": "long", "on_conflict": "new" });
        let mut ending = Ending::Unknown;
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            attempts += 1;
            let answer = self.send(Method::POST, "/api/v1/memories", Some(&body), Some(key)).await;
            match answer {
                Ok(answer) if answer.status < 400 => {
                    let id = answer.json().and_then(|v| v["id"].as_str().map(str::to_owned));
                    ending = Ending::Acknowledged { id: id.unwrap_or_default() };
                    break;
                }
                Ok(answer) => {
                    let reason = answer
                        .json()
                        .and_then(|v| v["reason"].as_str().map(str::to_owned))
                        .unwrap_or_default();
                    // An earlier attempt may have been stored even if this one was refused.
                    if attempts == 1
                        && !matches!(reason.as_str(), "storage_failed" | "deadline_exceeded")
                    {
                        ending = Ending::Refused { reason };
                        if answer.status < 500 {
                            break;
                        }
                        ending = Ending::Unknown;
                    }
                }
                Err(_) => {}
            }
            clock::sleep(RETRY).await;
        }
        Store { key: key.to_owned(), content: content.to_owned(), attempts, ending }
    }

    /// Whether a recall of the title returns the memory; `None` when nobody answered.
    pub async fn recalls(&self, title: &str) -> Option<bool> {
        let body = json!({ "query": title, "limit": 5 });
        let answer = self.send(Method::POST, "/api/v1/recall", Some(&body), None).await.ok()?;
        if answer.status >= 400 {
            return None;
        }
        Some(returned(&answer.json()?, title))
    }

    /// Has the node check its audit chain and itself.
    pub async fn verify(&self) -> Option<Scan> {
        let body = json!({ "since": 0 });
        let chain =
            self.until_answered(Method::POST, "/api/v1/admin/verify-chain", Some(&body)).await?;
        let doctor = self.until_answered(Method::POST, "/api/v1/admin/doctor", None).await?;
        let findings = doctor["findings"].as_array();
        Some(Scan {
            chain_holds: chain["chain_holds"] == true,
            chain_rows: chain["rows_checked"].as_u64().unwrap_or(0),
            findings: findings.into_iter().flatten().map(Value::to_string).collect(),
            ..Scan::default()
        })
    }

    /// Reads everything back, after the world has healed. `None` when the node does not answer.
    pub async fn scan(&self) -> Option<Scan> {
        let mut scan = Scan::default();
        let mut after = String::new();
        loop {
            let path = format!("/api/v1/memories?limit=1000{after}");
            let page = self.until_answered(Method::GET, &path, None).await?;
            for memory in page["items"].as_array().into_iter().flatten() {
                let text = |name: &str| memory[name].as_str().unwrap_or_default().to_owned();
                let body = json!({ "query": text("title"), "limit": 5 });
                let answer =
                    self.until_answered(Method::POST, "/api/v1/recall", Some(&body)).await?;
                let recalled = returned(&answer, &text("title"));
                let found = Found { id: text("id"), content: text("content"), recalled };
                scan.memories.entry(text("title")).or_default().push(found);
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        Some(scan)
    }
}

fn returned(answer: &Value, title: &str) -> bool {
    let hits = answer["hits"].as_array();
    hits.into_iter().flatten().any(|hit| hit["memory"]["title"] == title)
}

/// The words of a memory: distinct per operation, of varying length.
fn content(client: u64, number: u64) -> String {
    let words = 3 + random::below(40);
    let word = |n: u64| format!("w{:x}", (client * 1_000_003 + number * 7919 + n * 31) % 4093);
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// One client's life.
pub async fn live(options: Arc<Options>, number: u64) -> Stores {
    let client = Client::default();
    let mut history = Stores::default();
    for n in 0..options.stores {
        let think_ms = options.think.as_millis() as u64;
        clock::sleep(Duration::from_millis(random::below(think_ms.max(1)))).await;
        let key = format!("note c{number} n{n}");
        let operation = client.store(&key, &content(number, n)).await;
        if matches!(operation.ending, Ending::Acknowledged { .. })
            && client.recalls(&key).await == Some(false)
        {
            history.missed_recalls.push(key);
        }
        history.operations.push(operation);
    }
    history
}
