//! Spans to a collector: OTLP/HTTP with binary Protobuf (OpenTelemetry Protocol 1.x, "OTLP/HTTP"), `POST /v1/traces`.
//!
//! Invariants: `TEL-1`; `TEL-2` a collector that does not answer costs this node a bounded queue, and a word in the log
//! each minute at most; what it asks for again (429, 502, 503, 504) is sent again a few times.
//!
//! Not here: which spans there are (`super::spans`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use prost::Message;
use runtime::{
    clock::{self, Instant},
    disk::DiskRef,
    span::{Finished, Kind, Value},
    task::{self, Shutdown},
};
use tokio::sync::mpsc;
use wire::{
    http_client::{HttpClient, HttpLimits},
    tls::{ServerTrust, TlsError, client_config},
};

use super::spans::Tracer;
use crate::config::TraceConfig;

/// Spans in a message, at most.
const BATCH_MAX: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Times that a batch is sent.
const TRIES: u32 = 3;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause between two words in the log.
const QUIET: Duration = Duration::from_secs(60);
/// Bounds of a message.
const LIMITS: HttpLimits = HttpLimits {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(5),
    answer_bytes_max: 64 * 1024,
};

/// What is sent where.
struct Exporter {
    client: HttpClient,
    node: String,
    tracer: Arc<Tracer>,
    told: Option<Instant>,
}

/// Begins to send what is traced from now on, where a collector is set; ends with what is left when `shutdown` is said.
///
/// # Errors
/// [`TlsError`], when the collector's certificates cannot be read.
pub fn start(
    disk: &DiskRef,
    config: &TraceConfig,
    node: String,
    tracer: &Arc<Tracer>,
    shutdown: &Shutdown,
) -> Result<Option<task::JoinHandle<()>>, TlsError> {
    let Some(endpoint) = config.otlp_endpoint.clone() else { return Ok(None) };
    let endpoint = match &config.otlp_ca_file {
        None => endpoint,
        Some(file) => {
            let trust = ServerTrust::AuthorityFile(file.clone());
            endpoint.with_tls(client_config(&**disk, &trust, None)?)
        }
    };
    let Some(spans) = tracer.listen() else { return Ok(None) };
    let client = HttpClient::with_limits(endpoint, LIMITS);
    let exporter = Exporter { client, node, tracer: tracer.clone(), told: None };
    Ok(Some(task::spawn_named("spans", exporter.run(spans, shutdown.clone()))))
}

impl Exporter {
    async fn run(mut self, mut spans: mpsc::Receiver<Finished>, shutdown: Shutdown) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    while let Ok(span) = spans.try_recv() {
                        batch.push(span);
                    }
                    return self.send(batch).await;
                }
                received = spans.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
            }
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH_MAX
                && let Ok(Some(span)) = clock::timeout_at(until, spans.recv()).await
            {
                batch.push(span);
            }
            self.send(batch).await;
        }
    }

    async fn send(&mut self, spans: Vec<Finished>) {
        let count = spans.len();
        if count == 0 {
            return;
        }
        let body = Bytes::from(request(&self.node, spans).encode_to_vec());
        let mut problem = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                clock::sleep(PAUSE).await;
            }
            match self.post(body.clone()).await {
                Ok(()) => return,
                Err(Failed::Once(why)) => problem = why,
                Err(Failed::ForGood(why)) => {
                    problem = why;
                    break;
                }
            }
        }
        self.tracer.drop_some(count);
        if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            let endpoint = self.client.endpoint();
            tracing::warn!(%endpoint, problem, count, "the collector takes no spans; they are dropped");
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Failed> {
        let kind = HeaderValue::from_static("application/x-protobuf");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let asked = self.client.request_bytes(Method::POST, "/v1/traces", &headers, body).await;
        match asked {
            Ok(answer) if answer.status < 300 => Ok(()),
            Ok(answer) if matches!(answer.status, 429 | 502 | 503 | 504) => {
                Err(Failed::Once(format!("it answers {}", answer.status)))
            }
            Ok(answer) => Err(Failed::ForGood(format!("it answers {}", answer.status))),
            Err(error) => Err(Failed::Once(error.to_string())),
        }
    }
}

/// Why a batch was not taken.
enum Failed {
    /// It may be later.
    Once(String),
    /// It never will be.
    ForGood(String),
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    pair(
        key,
        match value {
            Value::Text(text) => any_value::Value::StringValue(text),
            Value::Number(number) => any_value::Value::IntValue(number),
        },
    )
}

fn span(span: Finished) -> Span {
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Internal => SpanKind::Internal,
    };
    let lasted_ns = u64::try_from(span.lasted.as_nanos()).unwrap_or(u64::MAX);
    let failed = Status { message: String::new(), code: StatusCode::Error as i32 };
    Span {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.span.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name,
        kind: kind as i32,
        start_time_unix_nano: span.began_unix_ns,
        end_time_unix_nano: span.began_unix_ns.saturating_add(lasted_ns),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        status: span.failed.then_some(failed),
        ..Span::default()
    }
}

fn request(node: &str, spans: Vec<Finished>) -> ExportTraceServiceRequest {
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    let resource = Resource {
        attributes: vec![
            pair("service.name", text("hivemem")),
            pair("service.version", text(env!("CARGO_PKG_VERSION"))),
            pair("service.instance.id", text(node)),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "hivemem".to_owned(), ..Default::default() };
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let all = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![all] }
}

#[cfg(test)]
mod tests {
    use axum::{Router, extract::State, routing::post};
    use http::StatusCode as Http;
    use parking_lot::Mutex;
    use runtime::disk::OsDisk;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A collector that refuses once with this status, and keeps the rest.
    struct Collector {
        first: Mutex<Option<Http>>,
        taken: mpsc::UnboundedSender<ExportTraceServiceRequest>,
    }

    async fn take(State(collector): State<Arc<Collector>>, body: Bytes) -> Http {
        if let Some(status) = collector.first.lock().take() {
            return status;
        }
        let request = ExportTraceServiceRequest::decode(body).expect("it is a request");
        collector.taken.send(request).map_or(Http::INTERNAL_SERVER_ERROR, |()| Http::OK)
    }

    async fn collector(
        first: Option<Http>,
    ) -> (TraceConfig, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
        let (taken, requests) = mpsc::unbounded_channel();
        let state = Arc::new(Collector { first: Mutex::new(first), taken });
        let router = Router::new().route("/v1/traces", post(take)).with_state(state);
        let address: wire::net::Address = "127.0.0.1:0".parse().expect("an address");
        let listener = wire::net::Listener::bind(&address, &OsDisk).await.expect("it listens");
        let bound = listener.local_address().expect("it is bound").to_string();
        let limits = wire::serve::ServeLimits::default();
        task::spawn(wire::serve::serve(listener, None, router, limits, Shutdown::new()));
        let otlp_endpoint = Some(bound.parse().expect("an endpoint"));
        (TraceConfig { otlp_endpoint, ..TraceConfig::default() }, requests)
    }

    fn begun(config: &TraceConfig) -> (Arc<Tracer>, Shutdown, task::JoinHandle<()>) {
        let (tracer, shutdown) = (Arc::new(Tracer::new(100)), Shutdown::new());
        let disk: DiskRef = Arc::new(OsDisk);
        let started = start(&disk, config, "n1".to_owned(), &tracer, &shutdown);
        (tracer.clone(), shutdown, started.expect("no TLS").expect("a collector"))
    }

    #[tokio::test]
    async fn spans_arrive_also_those_of_the_last_moment() {
        let (config, mut requests) = collector(Some(Http::SERVICE_UNAVAILABLE)).await;
        let (tracer, shutdown, running) = begun(&config);
        let traced = tracer.begin(&HeaderMap::new()).expect("all are traced");
        let mut span = traced.span("store", Kind::Server);
        span.set("http.response.status_code", 500_u64);
        span.fail();
        drop(span);
        shutdown.trigger();
        clock::timeout(SOON, running).await.expect("it ends").expect("well");
        let request = requests.recv().await.expect("after it was asked for again");
        let all = &request.resource_spans[0];
        let resource = all.resource.as_ref().expect("a resource");
        assert!(resource.attributes.iter().any(|a| a.key == "service.instance.id"));
        let span = &all.scope_spans[0].spans[0];
        assert_eq!((span.name.as_str(), span.kind), ("store", SpanKind::Server as i32));
        assert_eq!(span.trace_id, traced.trace().to_be_bytes());
        assert!(span.parent_span_id.is_empty() && span.span_id.len() == 8);
        assert_eq!(span.status.as_ref().map(|s| s.code), Some(StatusCode::Error as i32));
        assert_eq!(span.attributes[0].key, "http.response.status_code");
        assert_eq!(tracer.dropped(), 0);
    }

    #[tokio::test]
    async fn what_is_not_taken_is_dropped_and_counted() {
        let (config, _requests) = collector(Some(Http::BAD_REQUEST)).await;
        let (tracer, shutdown, running) = begun(&config);
        drop(tracer.begin(&HeaderMap::new()).expect("traced").span("store", Kind::Server));
        shutdown.trigger();
        clock::timeout(SOON, running).await.expect("it ends").expect("well");
        assert_eq!(tracer.dropped(), 1, "TEL-2");
    }
}
