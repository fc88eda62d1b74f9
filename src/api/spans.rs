//! Requests as spans, alike at every door.
//!
//! Invariant: what is logged for a request that is traced names the trace.
//!
//! Not here: which requests are traced (`telemetry::spans`).

use futures::future::Either;
use http::HeaderMap;
use runtime::span::{self, Kind, Span};
use tracing::Instrument;

use crate::node::service::Service;

/// The span of a request, if it is traced.
pub(super) fn begin(service: &Service, headers: &HeaderMap, name: &str) -> Option<Span> {
    let traced = service.tracer().begin(headers)?;
    Some(traced.span(name, Kind::Server))
}

/// Runs what answers a request, as part of its span.
pub(super) fn within<F: Future>(span: Option<&Span>, answer: F) -> impl Future<Output = F::Output> {
    let Some(span) = span else { return Either::Left(answer) };
    let traced = span.traced();
    let named = tracing::info_span!("request", trace_id = %format_args!("{:032x}", traced.trace()));
    Either::Right(span::within(traced, answer).instrument(named))
}
