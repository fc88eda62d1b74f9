//! Metrics in Prometheus' text format: what the doors did, and the store's figures at the time of a
//! scrape.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `hivemem_requests_total` | door, operation, reason | requests answered; reason is `ok` or the refusal's code |
//! | `hivemem_request_duration_seconds` | door, operation | time to the answer |
//! | `hivemem_memory_store_total`, `hivemem_memory_store_latency_seconds` | reason, – | stores, single and bulk |
//! | `hivemem_recall_total`, `hivemem_recall_latency_seconds` | reason, – | recalls and searches |
//! | `hivemem_commit_latency_seconds` | – | group commits, fsync included |
//! | `hivemem_federation_*` | peer | see [`super::peers`] |
//! | `hivemem_trace_spans_dropped_total` | – | spans that the collector did not take in time |
//! | the rest | – | see [`StoreFigures`] |
//!
//! Invariants: label values come from closed lists in the program or the operator's, never from a client, so the number
//! of series is bounded; names follow the conventions that `promtool check metrics` checks.
//!
//! Not here: serving them (the doors) and alert rules (`deploy`).

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
    },
    registry::Registry,
};
use storage::answer::{COMMIT_BOUNDS_MICROS, StoreStats};

use super::{
    exposition,
    peers::{FederationFigures, Figures},
};

/// Media type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the latency histograms, in seconds.
const LATENCY_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Which door a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// MCP.
    Mcp,
}

impl Door {
    fn as_str(self) -> &'static str {
        match self {
            Door::Http => "http",
            Door::Grpc => "grpc",
            Door::Mcp => "mcp",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    door: &'static str,
    operation: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    door: &'static str,
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

type Latencies = Family<OperationLabels, Histogram, fn() -> Histogram>;

fn latency() -> Histogram {
    Histogram::new(LATENCY_SECONDS)
}

/// The process's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Latencies,
    stores: Family<ReasonLabels, Counter>,
    store_latency: Histogram,
    recalls: Family<ReasonLabels, Counter>,
    recall_latency: Histogram,
    figures: Arc<StoreFigures>,
    peers: Arc<Figures>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that start at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hivemem");
        let requests = Family::default();
        let durations = Latencies::new_with_constructor(latency);
        let (stores, recalls) = (Family::default(), Family::default());
        let (store_latency, recall_latency) = (latency(), latency());
        let figures = Arc::new(StoreFigures::default());
        let peers = Arc::new(Figures::default());
        registry.register(
            "requests",
            "Requests answered, by door, operation and reason",
            Family::clone(&requests),
        );
        registry.register(
            "request_duration_seconds",
            "Time from a request to its answer",
            Latencies::clone(&durations),
        );
        registry.register(
            "memory_store",
            "Store operations answered, by reason",
            Family::clone(&stores),
        );
        registry.register(
            "memory_store_latency_seconds",
            "Time to answer a store operation, fsync included",
            store_latency.clone(),
        );
        registry.register("recall", "Recalls answered, by reason", Family::clone(&recalls));
        registry.register(
            "recall_latency_seconds",
            "Time to answer a recall",
            recall_latency.clone(),
        );
        registry.register_collector(Box::new(figures.clone()));
        registry.register_collector(Box::new(peers.clone()));
        Self {
            registry,
            requests,
            durations,
            stores,
            store_latency,
            recalls,
            recall_latency,
            figures,
            peers,
        }
    }

    /// Counts an answered request; `operation` and `reason` are names of the program's own.
    pub fn finished(
        &self,
        door: Door,
        operation: &'static str,
        reason: &'static str,
        elapsed: Duration,
    ) {
        let door = door.as_str();
        let seconds = elapsed.as_secs_f64();
        self.requests.get_or_create(&RequestLabels { door, operation, reason }).inc();
        self.durations.get_or_create(&OperationLabels { door, operation }).observe(seconds);
        match operation {
            "store" | "bulk_store" => {
                self.stores.get_or_create(&ReasonLabels { reason }).inc();
                self.store_latency.observe(seconds);
            }
            "recall" | "recall_get" | "search" => {
                self.recalls.get_or_create(&ReasonLabels { reason }).inc();
                self.recall_latency.observe(seconds);
            }
            _ => {}
        }
    }

    /// All metrics as text of type [`CONTENT_TYPE`]; `stats` are the store's figures now, `peers` those of the
    /// peers, if there are some, `spans_dropped` those of traces.
    pub fn render(
        &self,
        stats: StoreStats,
        peers: Option<FederationFigures>,
        spans_dropped: u64,
    ) -> String {
        *self.figures.0.lock() = Some((stats, spans_dropped));
        *self.peers.0.lock() = peers;
        let mut open_metrics = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut open_metrics, &self.registry);
        exposition::from_open_metrics(&open_metrics)
    }
}

/// The store's figures at the time of the last scrape and the spans dropped until then, and the process's memory.
#[derive(Default)]
struct StoreFigures(Mutex<Option<(StoreStats, u64)>>);

impl fmt::Debug for StoreFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreFigures")
    }
}

/// Takes one figure out of the store's.
type Figure = fn(&StoreStats) -> u64;

/// Gauges: name, help, and where the figure comes from.
const GAUGES: &[(&str, &str, Figure)] = &[
    ("memories", "Live memories", |s| s.memories),
    ("memories_archived", "Archived memories", |s| s.archived),
    ("tombstones", "Tombstones of deleted memories", |s| s.tombstones),
    ("log_operations", "Operations in the log", |s| s.operations),
    ("unheld_operations", "Operations hidden from this node or refused by it", |s| s.unheld),
    ("peer_nonces", "Nonces of peers that are remembered", |s| s.nonces),
    ("remembered_answers", "Answers that are remembered for retries", |s| s.answers),
    ("links", "Links between memories", |s| s.links),
    ("chain_length", "Rows of the audit chain", |s| s.events),
    ("position", "Change position of the last commit", |s| s.position),
    ("index_position", "Change position the recall indexes have reached", |s| s.index_position),
    ("index_rebuilding", "1 while a recall index is being rebuilt", |s| {
        u64::from(s.index_rebuilding)
    }),
    ("vectors", "Memories with a vector in the current space", |s| s.vectors),
    ("vectors_pending", "Memories waiting for the embedder", |s| s.vectors_pending),
    ("vectors_dead", "Memories whose text the embedder does not take", |s| s.vectors_dead),
    ("database_bytes", "Size of the database file", |s| s.database_bytes),
    ("wal_bytes", "Size of the write-ahead log", |s| s.wal_bytes),
    ("write_queue_depth", "Writes waiting for the writer", |s| s.write_queue),
];

/// The group commits that the store counted, as the histogram they are.
struct Commits<'a>(&'a StoreStats);

impl EncodeMetric for Commits<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(stats) = self;
        let bounds = COMMIT_BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(stats.commits).collect();
        let (sum, count) = (stats.commit_micros as f64 / 1e6, stats.commits.iter().sum());
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Collector for StoreFigures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let figures = self.0.lock();
        let Some((stats, spans_dropped)) = figures.as_ref() else { return Ok(()) };
        let dropped = ConstCounter::new(*spans_dropped);
        let (name, help) = ("trace_spans_dropped", "Spans that the collector did not take in time");
        dropped.encode(encoder.encode_descriptor(name, help, None, dropped.metric_type())?)?;
        for (name, help, figure) in GAUGES {
            let gauge = ConstGauge::new(i64::try_from(figure(stats)).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let commits = Commits(stats);
        let (name, help) = ("commit_latency_seconds", "Time of one group commit, fsync included");
        commits.encode(encoder.encode_descriptor(name, help, None, commits.metric_type())?)?;
        if let Some(bytes) = runtime::process::resident_bytes() {
            let resident = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            let help = "Resident memory of the process";
            let name = "process_resident_memory_bytes";
            resident.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                resident.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use federation::driver::{Flow, Traffic};

    use super::*;
    use crate::telemetry::peers::PeerFigures;

    fn sample() -> String {
        let metrics = Metrics::new();
        metrics.finished(Door::Http, "store", "ok", Duration::from_millis(3));
        metrics.finished(Door::Grpc, "recall", "overloaded", Duration::from_micros(200));
        let mut commits = [0; COMMIT_BOUNDS_MICROS.len() + 1];
        (commits[1], commits[14]) = (4, 1);
        let stats =
            StoreStats { memories: 7, commits, commit_micros: 2_500_000, ..StoreStats::default() };
        let b = PeerFigures {
            name: "b".to_owned(),
            lag: 3,
            letters: 2,
            clock_offset_seconds: Some(-0.25),
            drifts: true,
            ..PeerFigures::default()
        };
        let peers = vec![b];
        let flow = Flow { purpose: "state", direction: "sent", messages: 2, bytes: 345 };
        let traffic = Traffic { flows: vec![flow], signed: 6, checked: 7 };
        let all = FederationFigures { peers, traffic, ..FederationFigures::default() };
        let figures = FederationFigures { retried: 4, partial: 1, ..all };
        metrics.render(stats, Some(figures), 8)
    }

    #[test]
    fn figures_and_counts_are_there_under_their_full_names() {
        let text = sample();
        for line in [
            "# TYPE hivemem_requests_total counter",
            "hivemem_requests_total{door=\"http\",operation=\"store\",reason=\"ok\"} 1",
            "hivemem_recall_total{reason=\"overloaded\"} 1",
            "hivemem_memory_store_latency_seconds_count 1",
            "# TYPE hivemem_commit_latency_seconds histogram",
            "hivemem_commit_latency_seconds_count 5",
            "hivemem_commit_latency_seconds_sum 2.5",
            "hivemem_commit_latency_seconds_bucket{le=\"0.0005\"} 0",
            "hivemem_commit_latency_seconds_bucket{le=\"0.001\"} 4",
            "hivemem_commit_latency_seconds_bucket{le=\"10.0\"} 4",
            "hivemem_commit_latency_seconds_bucket{le=\"+Inf\"} 5",
            "hivemem_trace_spans_dropped_total 8",
            "# TYPE hivemem_memories gauge",
            "hivemem_memories 7",
            "# TYPE hivemem_federation_fanout_retry_total counter",
            "hivemem_federation_fanout_retry_total 4",
            "hivemem_federation_partial_quorum_total 1",
            "hivemem_federation_push_dlq_depth 2",
            "# TYPE hivemem_federation_message_bytes_total counter",
            "hivemem_federation_message_bytes_total{purpose=\"state\",direction=\"sent\"} 345",
            "hivemem_federation_messages_total{purpose=\"state\",direction=\"sent\"} 2",
            "hivemem_federation_signatures_total{act=\"checked\"} 7",
            "hivemem_federation_peer_lag{peer=\"b\"} 3.0",
            "hivemem_federation_peer_clock_offset_seconds{peer=\"b\"} -0.25",
            "hivemem_federation_peer_drift{peer=\"b\"} 1.0",
        ] {
            assert!(text.lines().any(|l| l == line), "missing {line:?} in\n{text}");
        }
    }

    #[test]
    fn every_series_is_described_and_no_line_is_open_metrics_only() {
        let text = sample();
        assert!(!text.contains("# EOF") && !text.contains("# UNIT") && text.ends_with('\n'));
        let described: std::collections::BTreeSet<&str> =
            text.lines().filter_map(|l| l.strip_prefix("# HELP ")?.split(' ').next()).collect();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|b| described.contains(b)))
                .unwrap_or(name);
            assert!(described.contains(base), "{line} has no HELP");
        }
    }
}
