//! Embedders elsewhere: OpenAI-compatible endpoints and Ollama.
//!
//! Protocols: `POST {base}/v1/embeddings` with `{"model", "input": [..]}` (OpenAI), and
//! `POST {base}/api/embed` with the same body (Ollama); the answers carry one vector per input, in order.
//!
//! Invariants: an answer with another number of vectors, another dimension or a number that is not
//! finite is refused as a whole; vectors are brought to unit length here; the key is never logged.
//!
//! Not here: retries (the upkeep that asks has its own pace).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use runtime::disk::DiskRef;
use serde_json::{Value, json};
use storage::port::EmbeddingSpace;
use wire::{dial::Endpoint, http_client::HttpClient};

use super::{EmbedError, Embedded, Embedder};
use crate::{config::EmbedderChoice, identity::read_secret};

/// Which protocol an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    OpenAi,
    Ollama,
}

/// An embedder behind HTTP.
pub struct EndpointEmbedder {
    client: HttpClient,
    protocol: Protocol,
    url: String,
    path: String,
    model: String,
    dimension: u16,
    headers: HeaderMap,
}

impl EndpointEmbedder {
    /// Prepares the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`EmbedError`] when the URL, the key's file or the choice itself does not fit.
    pub fn new(disk: &DiskRef, choice: &EmbedderChoice) -> Result<Self, EmbedError> {
        let EmbedderChoice::Endpoint { ollama, url, model, dimension, api_key_file } = choice
        else {
            return Err(EmbedError::Unreachable {
                endpoint: String::new(),
                cause: "the configuration names no endpoint".into(),
            });
        };
        let unusable = |cause: String| EmbedError::Unreachable { endpoint: url.clone(), cause };
        let (origin, base) = split(url);
        let endpoint: Endpoint = origin.parse().map_err(|e: types::Invalid| unusable(e.problem))?;
        let mut headers = HeaderMap::new();
        if let Some(path) = api_key_file {
            let key = read_secret(&**disk, path).map_err(|e| unusable(e.to_string()))?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.as_str()))
                .map_err(|_| unusable("the key contains characters that a header cannot".into()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let protocol = if *ollama { Protocol::Ollama } else { Protocol::OpenAi };
        let path = match protocol {
            Protocol::OpenAi if base.ends_with("/v1") => format!("{base}/embeddings"),
            Protocol::OpenAi => format!("{base}/v1/embeddings"),
            Protocol::Ollama => format!("{base}/api/embed"),
        };
        Ok(Self {
            client: HttpClient::new(endpoint),
            protocol,
            url: url.clone(),
            path,
            model: model.clone(),
            dimension: *dimension,
            headers,
        })
    }

    fn bad(&self, problem: impl Into<String>) -> EmbedError {
        EmbedError::BadAnswer { endpoint: self.url.clone(), problem: problem.into() }
    }

    fn refusal(&self, status: u16, headers: &HeaderMap) -> EmbedError {
        let endpoint = self.url.clone();
        match status {
            429 | 503 => EmbedError::Busy { endpoint, status, retry_after: retry_after(headers) },
            400 | 413 | 422 => EmbedError::Refused { endpoint, status },
            // The body is not told: it may quote the texts.
            401 | 403 => self.bad(format!("status {status}; check embedder.api_key_file")),
            404 => self.bad("status 404; check embedder.url and embedder.model"),
            _ => self.bad(format!("status {status}")),
        }
    }

    async fn ask(&self, texts: Vec<String>) -> Result<Vec<Option<Vec<f32>>>, EmbedError> {
        let wanted = texts.len();
        let body = json!({ "model": self.model, "input": texts });
        let answer = self
            .client
            .request(Method::POST, &self.path, &self.headers, Some(&body))
            .await
            .map_err(|e| EmbedError::Unreachable {
                endpoint: self.url.clone(),
                cause: e.to_string(),
            })?;
        if answer.status != 200 {
            return Err(self.refusal(answer.status, &answer.headers));
        }
        let body = answer.json().ok_or_else(|| self.bad("something that is not JSON"))?;
        let rows = rows(self.protocol, &body).ok_or_else(|| self.bad("JSON without vectors"))?;
        if rows.len() != wanted {
            return Err(self.bad(format!("{} vectors for {wanted} texts", rows.len())));
        }
        rows.into_iter().map(|row| self.vector(row)).collect()
    }

    fn vector(&self, row: &Value) -> Result<Option<Vec<f32>>, EmbedError> {
        let numbers = row.as_array().map(Vec::as_slice).unwrap_or_default();
        if numbers.len() != usize::from(self.dimension) {
            return Err(self.bad(format!(
                "{} components where embedder.dimension is {}",
                numbers.len(),
                self.dimension
            )));
        }
        let values: Vec<f32> = numbers.iter().filter_map(Value::as_f64).map(|x| x as f32).collect();
        if values.len() != numbers.len() || !values.iter().all(|x| x.is_finite()) {
            return Err(self.bad("a component that is not a finite number"));
        }
        Ok(unit(values))
    }
}

/// The seconds in `Retry-After`. A date there is taken for nothing said.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A vector brought to unit length; `None` when it is zero.
pub(super) fn unit(mut values: Vec<f32>) -> Option<Vec<f32>> {
    let length = values.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length <= f32::EPSILON {
        return None;
    }
    values.iter_mut().for_each(|x| *x /= length);
    Some(values)
}

/// Splits `scheme://host:port/base` into its origin and base path without a trailing slash.
fn split(url: &str) -> (&str, &str) {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    match url[after_scheme..].find('/') {
        Some(at) => (&url[..after_scheme + at], url[after_scheme + at..].trim_end_matches('/')),
        None => (url, ""),
    }
}

/// The vectors of an answer, in order of the texts.
fn rows(protocol: Protocol, body: &Value) -> Option<Vec<&Value>> {
    match protocol {
        Protocol::Ollama => Some(body.get("embeddings")?.as_array()?.iter().collect()),
        Protocol::OpenAi => {
            let mut data: Vec<&Value> = body.get("data")?.as_array()?.iter().collect();
            // The protocol numbers the vectors and does not promise their order.
            data.sort_by_key(|row| row.get("index").and_then(Value::as_u64).unwrap_or(u64::MAX));
            data.into_iter().map(|row| row.get("embedding")).collect()
        }
    }
}

impl Embedder for EndpointEmbedder {
    fn space(&self) -> EmbeddingSpace {
        EmbeddingSpace {
            model: self.model.clone(),
            version: match self.protocol {
                Protocol::OpenAi => "openai".into(),
                Protocol::Ollama => "ollama".into(),
            },
            dimension: self.dimension,
            vectorizer: None,
        }
    }

    fn lexical_share(&self) -> f32 {
        super::TRANSFORMER_LEXICAL_SHARE
    }

    fn embed(&self, texts: Vec<String>) -> Embedded<'_> {
        Box::pin(self.ask(texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_origin_and_base() {
        assert_eq!(split("http://h:1/api/v1/"), ("http://h:1", "/api/v1"));
        assert_eq!(split("http://h:1"), ("http://h:1", ""));
        assert_eq!(split("https://h"), ("https://h", ""));
    }

    #[test]
    fn answers_are_put_in_order() {
        let body = json!({ "data": [
            { "index": 1, "embedding": [0, 1] },
            { "index": 0, "embedding": [1, 0] },
        ]});
        let first = rows(Protocol::OpenAi, &body).expect("has data")[0];
        assert_eq!(first, &json!([1, 0]));
        let body = json!({ "embeddings": [[1, 0]] });
        assert_eq!(rows(Protocol::Ollama, &body).map(|r| r.len()), Some(1));
        assert!(rows(Protocol::Ollama, &json!({ "error": "no" })).is_none());
    }

    #[test]
    fn a_wait_is_a_number_of_seconds() {
        let said = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(
                header::RETRY_AFTER,
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(said("7"), Some(Duration::from_secs(7)));
        assert_eq!(said("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn unit_vectors() {
        assert_eq!(unit(vec![3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert_eq!(unit(vec![0.0]), None);
    }
}
