//! Traces: which requests are traced, and what becomes of their spans.
//!
//! A request that comes with a sampled `traceparent` is traced; of the others a share begins a trace. A span that is over
//! goes to the log, at the level `debug` of the target `hivemem::span`, and to a collector where one is set.
//!
//! Invariants: `TEL-1` nobody waits for a collector: what it does not take in time is dropped and counted; `SPN-3`.
//!
//! Not here: what a span is (`runtime::span`), the collector's protocol (`super::otlp`).

use std::{
    fmt::Write as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::HeaderMap;
use runtime::{
    random,
    span::{Collector, Finished, TraceContext, Traced, Value},
};
use tokio::sync::mpsc;

/// Spans that may wait for the collector.
const WAITING_MAX: usize = 8192;

/// Decides what is traced, and takes spans.
#[derive(Debug, Default)]
pub struct Tracer {
    sample_percent: u64,
    collector: OnceLock<mpsc::Sender<Finished>>,
    dropped: AtomicU64,
}

impl Tracer {
    /// One that begins a trace for so many of a hundred requests that belong to none.
    pub fn new(sample_percent: u8) -> Self {
        Self { sample_percent: sample_percent.into(), ..Self::default() }
    }

    /// The trace that a request belongs to, if it belongs to one or begins one.
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Option<Traced> {
        let asking: Option<TraceContext> = wire::trace::asking(headers);
        let traced = match asking {
            Some(asking) => asking.sampled,
            // Nothing is drawn where nothing is traced (`SPN-1`).
            None => self.sample_percent > 0 && random::below(100) < self.sample_percent,
        };
        traced.then(|| Traced::new(asking, self.clone()))
    }

    /// What is over from now on; the first who asks has it.
    pub fn listen(&self) -> Option<mpsc::Receiver<Finished>> {
        let (to, spans) = mpsc::channel(WAITING_MAX);
        self.collector.set(to).is_ok().then_some(spans)
    }

    /// So many spans were not handed to the collector.
    pub fn drop_some(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Spans that were not handed to the collector since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The attributes of a span as words.
fn words(span: &Finished) -> String {
    let mut words = String::new();
    for (key, value) in &span.attributes {
        let space = if words.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = match value {
            Value::Text(text) => write!(words, "{space}{key}={text}"),
            Value::Number(number) => write!(words, "{space}{key}={number}"),
        };
    }
    words
}

impl Collector for Tracer {
    fn collect(&self, span: Finished) {
        tracing::debug!(
            target: "hivemem::span",
            trace_id = %format_args!("{:032x}", span.trace),
            span_id = %format_args!("{:016x}", span.span),
            parent_id = %format_args!("{:016x}", span.parent.unwrap_or(0)),
            name = span.name,
            lasted_us = u64::try_from(span.lasted.as_micros()).unwrap_or(u64::MAX),
            failed = span.failed,
            about = words(&span),
            "span"
        );
        if let Some(collector) = self.collector.get()
            && collector.try_send(span).is_err()
        {
            self.drop_some(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::span::Kind;

    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(traceparent: &str) -> HeaderMap {
        [("traceparent".parse().unwrap(), traceparent.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn whoever_asks_decides_and_of_the_others_a_share_is_traced() {
        let (never, always) = (Arc::new(Tracer::new(0)), Arc::new(Tracer::new(100)));
        for tracer in [&never, &always] {
            let traced = tracer.begin(&headers(SAMPLED)).unwrap();
            assert_eq!(traced.trace(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
            assert!(tracer.begin(&headers(&SAMPLED.replace("-01", "-00"))).is_none());
        }
        for nothing in [HeaderMap::new(), headers("nonsense")] {
            assert!(never.begin(&nothing).is_none());
            assert_eq!(always.begin(&nothing).unwrap().context(), None, "it begins there");
        }
    }

    #[test]
    fn what_the_collector_does_not_take_is_counted() {
        let tracer = Arc::new(Tracer::new(100));
        let mut spans = tracer.listen().unwrap();
        assert!(tracer.listen().is_none());
        let traced = tracer.begin(&HeaderMap::new()).unwrap();
        for _ in 0..WAITING_MAX + 3 {
            drop(traced.span("one", Kind::Internal));
        }
        assert_eq!(tracer.dropped(), 3, "TEL-1");
        assert_eq!(spans.try_recv().unwrap().name, "one");
    }

    #[test]
    fn attributes_are_words() {
        let tracer = Arc::new(Tracer::new(100));
        let mut spans = tracer.listen().unwrap();
        let mut span = tracer.begin(&HeaderMap::new()).unwrap().span("one", Kind::Server);
        span.set("peer", "n2");
        span.set("status", 201_u64);
        drop(span);
        assert_eq!(words(&spans.try_recv().unwrap()), "peer=n2 status=201");
    }
}
