//! How a command reaches its node.
//!
//! Order: `--url`; the local socket of a daemon on the data folder; the data folder itself, opened
//! for the length of the command.
//!
//! Invariant: a command never opens a store that a daemon has open: the store's lock sees to it.
//!
//! Not here: what is asked.

use std::{io::ErrorKind, path::Path};

use runtime::{disk::DiskRef, span::TraceContext};
use serde_json::Value;
use wire::{
    dial::Endpoint,
    http_client::{HttpClient, HttpError},
};

use super::{
    args::Cli,
    exit::{Code, Failure},
    render,
};
use crate::{
    api::{
        self,
        call::{Answer, ApiClient, Conditions, Payload},
    },
    config::Config,
    doors::socket_path,
    node::Node,
    telemetry::health::ReadyProbe,
};

/// Methods that commands use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Do.
    Post,
    /// Change.
    Patch,
    /// Make or replace.
    Put,
    /// Delete.
    Delete,
}

impl From<Method> for http::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
            Method::Patch => http::Method::PATCH,
            Method::Put => http::Method::PUT,
            Method::Delete => http::Method::DELETE,
        }
    }
}

/// A node, near or far.
pub struct Client {
    caller: ApiClient,
    embedded: Option<Node>,
}

/// Whether somebody answers on a socket.
fn answers(path: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused),
    }
}

/// The trace that this command is part of, if whoever started it says so in `TRACEPARENT`; what makes no sense counts for
/// nothing, as in the header.
fn asking() -> Option<TraceContext> {
    std::env::var("TRACEPARENT").ok()?.parse().ok()
}

impl Client {
    /// Finds the node, or opens one.
    ///
    /// # Errors
    /// [`Failure`] when there is none to reach and none can be opened.
    pub async fn open(disk: DiskRef, cli: &Cli, config: &Config) -> Result<Self, Failure> {
        let agent = config.agent.as_str();
        if let Some(url) = &cli.url {
            let endpoint: Endpoint = url
                .parse()
                .map_err(|e: types::Invalid| Failure::usage(format!("--url: {}", e.problem)))?;
            let caller = ApiClient::remote(HttpClient::new(endpoint), agent, cli.key.as_deref())
                .holding(cli.fence)
                .traced(asking());
            return Ok(Self { caller, embedded: None });
        }
        if let Some(path) = socket_path(&config.data_dir).filter(|path| answers(path)) {
            let endpoint: Endpoint = format!("unix:{}", path.display())
                .parse()
                .map_err(|e: types::Invalid| Failure::start(e.problem))?;
            let caller = ApiClient::remote(HttpClient::new(endpoint), agent, cli.key.as_deref())
                .holding(cli.fence)
                .traced(asking());
            return Ok(Self { caller, embedded: None });
        }
        let node = Node::start_alone(disk, config).await?;
        let router = api::assemble::contract(node.service(), config, ReadyProbe::always());
        let caller = ApiClient::in_process(router, agent).holding(cli.fence).traced(asking());
        Ok(Self { caller, embedded: Some(node) })
    }

    /// The caller behind it, for doors that are clients themselves.
    pub fn caller(&self) -> ApiClient {
        self.caller.clone()
    }

    /// Closes what was opened.
    pub async fn close(self) {
        if let Some(node) = self.embedded {
            node.stop().await;
        }
    }

    /// Sends a request; an error status is a failure.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        self.call_if(method, path, body, Conditions::default()).await
    }

    /// Sends a request that holds only under conditions.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn call_if(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        conditions: Conditions<'_>,
    ) -> Result<Value, Failure> {
        let payload = body.map_or(Payload::Empty, Payload::Json);
        success(self.caller.call(method.into(), path, payload, conditions).await)
    }

    /// Sends lines to the import.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn import(&self, lines: String) -> Result<Value, Failure> {
        let (path, lines) = ("/api/v1/import", Payload::Lines(lines));
        success(self.caller.call(http::Method::POST, path, lines, Conditions::default()).await)
    }

    /// Hands over a streamed answer as it arrives.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn stream(
        &self,
        path: &str,
        mut sink: impl FnMut(&[u8]) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        let mut failed = None;
        let mut keep = |chunk: &[u8]| {
            sink(chunk).map_err(|failure| {
                let detail = failure.detail.clone();
                failed = Some(failure);
                detail
            })
        };
        let streamed = self.caller.stream(path, &mut keep).await;
        match failed {
            Some(failure) => Err(failure),
            None => success(streamed).map(|_| ()),
        }
    }

    /// Prints changes as they happen, one JSON object a line.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn watch(&self, after: Option<u64>) -> Result<(), Failure> {
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let mut parser = wire::http_client::SseParser::default();
        self.stream(&format!("/api/v1/watch{query}"), |chunk| {
            for event in parser.push(chunk).map_err(Failure::start)? {
                render::print(&format!("{}\n", event.data));
            }
            Ok(())
        })
        .await
    }
}

/// Sends a request through a caller that outlives the command's client; an error status is a failure.
///
/// # Errors
/// [`Failure`].
pub(super) async fn ask(
    caller: &ApiClient,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, Failure> {
    let payload = body.map_or(Payload::Empty, Payload::Json);
    success(caller.call(method.into(), path, payload, Conditions::default()).await)
}

fn success(answer: Result<Answer, HttpError>) -> Result<Value, Failure> {
    match answer {
        Ok(answer) if answer.status < 400 => Ok(answer.body),
        Ok(answer) => Err(Failure::problem(answer.status, &answer.body)),
        Err(HttpError::NotSent { detail }) => Err(Failure::start(detail)),
        Err(HttpError::Unknown { detail }) => Err(Failure::new(Code::Unknown, detail)),
    }
}
