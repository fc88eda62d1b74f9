//! An embedding endpoint for tests: a real HTTP server that speaks both protocols, embeds a few
//! words by their meaning, and misbehaves when it is told to.
//!
//! Invariant: the same text gets the same vector, whatever the batch, the protocol or the process.
//!
//! Not here: what is tested.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use runtime::{
    clock::Instant,
    disk::OsDisk,
    task::{self, Shutdown},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use wire::{
    net::{Address, Listener},
    serve::{ServeLimits, serve},
};

/// Words by what they mean.
const MEANINGS: &[&[&str]] = &[
    &["automobile", "car", "vehicle", "drive"],
    &["feline", "cat", "kitten"],
    &["wage", "salary", "pay"],
];

/// How the endpoint answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Manner {
    /// As it should.
    Well,
    /// Not before the manner changes.
    Never,
    /// As it should so many times, then [`Manner::Never`].
    WellThenNever(usize),
    /// This status, with `Retry-After` in seconds if given.
    Status(u16, Option<u64>),
    /// One component too many.
    WrongDimension,
    /// Something that is no JSON.
    Garbage,
    /// 400 to every batch with this word in it.
    Dislikes(&'static str),
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub path: &'static str,
    pub model: String,
    pub texts: Vec<String>,
    pub authorization: Option<String>,
}

struct Shared {
    dimension: Mutex<usize>,
    manner: watch::Sender<Manner>,
    asked: Mutex<Vec<Asked>>,
}

/// The running endpoint; closed when dropped.
pub struct Endpoint {
    shared: Arc<Shared>,
    pub url: String,
    shutdown: Shutdown,
}

/// A vector of this many components; texts that mean the same lie close together.
fn vector(text: &str, dimension: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimension];
    for word in text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase) {
        if let Some(at) = MEANINGS.iter().position(|words| words.contains(&word.as_str())) {
            vector[at] += 1.0;
        }
    }
    // What all texts have in common, so that none is zero.
    vector[dimension - 1] = 0.1;
    vector
}

fn texts(body: &Value) -> Vec<String> {
    let input = body["input"].as_array().cloned().unwrap_or_default();
    input.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

async fn answer(
    shared: Arc<Shared>,
    path: &'static str,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).expect("the node sends JSON");
    let texts = texts(&body);
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    shared.asked.lock().push(Asked {
        at: Instant::now(),
        path,
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        texts: texts.clone(),
        authorization: authorization.map(str::to_owned),
    });
    let manner = shared.manner.borrow().clone();
    let mut dimension = *shared.dimension.lock();
    match manner {
        Manner::Well => {}
        Manner::WellThenNever(left) => {
            let next = if left > 1 { Manner::WellThenNever(left - 1) } else { Manner::Never };
            shared.manner.send_replace(next);
        }
        Manner::Never => {
            let mut manner = shared.manner.subscribe();
            let _ = manner.wait_for(|manner| *manner != Manner::Never).await;
        }
        Manner::Status(status, retry_after) => {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut response = (status, "not now").into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.into());
            }
            return response;
        }
        Manner::WrongDimension => dimension += 1,
        Manner::Garbage => return "<html>no vectors today</html>".into_response(),
        Manner::Dislikes(word) if texts.iter().any(|text| text.contains(word)) => {
            return (StatusCode::BAD_REQUEST, "too long").into_response();
        }
        Manner::Dislikes(_) => {}
    }
    let vectors = texts.iter().map(|text| vector(text, dimension));
    match path {
        "ollama" => Json(json!({ "embeddings": vectors.collect::<Vec<_>>() })).into_response(),
        _ => {
            // Last first: the protocol numbers them and promises no order.
            let mut data: Vec<Value> = vectors
                .enumerate()
                .map(|(index, vector)| json!({ "index": index, "embedding": vector }))
                .collect();
            data.reverse();
            Json(json!({ "object": "list", "data": data })).into_response()
        }
    }
}

impl Endpoint {
    /// Starts it on a port that the system chooses.
    pub async fn start(dimension: usize, manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0", dimension, manner).await
    }

    /// Starts it at an address.
    pub async fn start_at(address: &str, dimension: usize, manner: Manner) -> Self {
        let address = Address::Tcp(address.parse().expect("an address"));
        let listener = Listener::bind(&address, &*OsDisk::shared()).await.expect("it is free");
        let bound = listener.local_address().expect("it is bound");
        let shared = Arc::new(Shared {
            dimension: Mutex::new(dimension),
            manner: watch::Sender::new(manner),
            asked: Mutex::default(),
        });
        let openai = |State(shared): State<Arc<Shared>>, headers, body| {
            answer(shared, "openai", headers, body)
        };
        let ollama = |State(shared): State<Arc<Shared>>, headers, body| {
            answer(shared, "ollama", headers, body)
        };
        let router: Router<()> = Router::new()
            .route("/v1/embeddings", post(openai))
            .route("/api/embed", post(ollama))
            .with_state(shared.clone());
        let shutdown = Shutdown::new();
        let limits = ServeLimits { drain_timeout: Duration::ZERO, ..ServeLimits::default() };
        task::spawn(serve(listener, None, router, limits, shutdown.clone()));
        Self { shared, url: format!("http://{bound}"), shutdown }
    }

    /// Answers in another manner from now on; requests held back are answered well.
    pub fn behave(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// Answers with vectors of another dimension from now on.
    pub fn dimension(&self, dimension: usize) {
        *self.shared.dimension.lock() = dimension;
    }

    /// What was asked so far, questions of recalls included.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}
