//! Figures of the peers, as metrics.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `hivemem_federation_fanout_retry_total` | – | messages to peers that were not answered, each sent again |
//! | `hivemem_federation_fanout_dropped_total` | – | operations of this node that a peer refused |
//! | `hivemem_federation_partial_quorum_total` | – | writes with their quorum that some peer did not have yet |
//! | `hivemem_federation_quorum_not_met_total` | – | writes without their quorum in time |
//! | `hivemem_federation_waiting_writes` | – | writes that wait for their quorum now |
//! | `hivemem_federation_push_dlq_depth` | – | dead letters now |
//! | `hivemem_federation_push_dlq_quarantined` | – | of those, how many wait for an operator |
//! | `hivemem_federation_push_dlq_given_up_total` | – | letters that were put there since the start |
//! | `hivemem_federation_messages_total`, `hivemem_federation_message_bytes_total` | purpose, direction | questions and answers of peers, and the bytes of their bodies |
//! | `hivemem_federation_signatures_total` | act | signatures made and checked for peers |
//! | `hivemem_federation_peer_*` | peer | see [`PEER`] |
//!
//! Invariant: labels are names of the operator's list of peers, never a peer's own words.
//!
//! Not here: where the figures come from (`peers`).

use std::fmt;

use federation::driver::{Flow, Traffic};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// What is known of one peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerFigures {
    /// Its name in the list.
    pub name: String,
    /// Operations of this node that it has not settled.
    pub lag: u64,
    /// Failures since it last answered.
    pub failures: u64,
    /// Dead letters to it.
    pub letters: u64,
    /// Its clock less this node's, in seconds; absent before it has asked anything.
    pub clock_offset_seconds: Option<f64>,
    /// Seconds since it was heard; absent before.
    pub silent_seconds: Option<f64>,
    /// Whether its store or its capabilities are others than this node's.
    pub drifts: bool,
}

/// What is known of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FederationFigures {
    /// Messages that were not answered.
    pub retried: u64,
    /// Operations that were refused.
    pub refused: u64,
    /// Letters that were given up.
    pub given_up: u64,
    /// Writes that wait for their quorum now.
    pub waiting: u64,
    /// Letters that wait for an operator now.
    pub quarantined: u64,
    /// Writes with their quorum that some peer did not have yet.
    pub partial: u64,
    /// Writes without.
    pub not_met: u64,
    /// What has passed between this node and the peers.
    pub traffic: Traffic,
    /// The peers.
    pub peers: Vec<PeerFigures>,
}

/// The figures at the time of the last scrape; none on a node without peers.
#[derive(Default)]
pub(super) struct Figures(pub(super) Mutex<Option<FederationFigures>>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

type Total = fn(&FederationFigures) -> u64;
type OfPeer = fn(&PeerFigures) -> Option<f64>;

const COUNTERS: &[(&str, &str, Total)] = &[
    ("federation_fanout_retry", "Messages to peers that were not answered", |f| f.retried),
    ("federation_fanout_dropped", "Operations that a peer refused", |f| f.refused),
    ("federation_partial_quorum", "Writes with their quorum that some peer lacked", |f| f.partial),
    ("federation_quorum_not_met", "Writes without their quorum in time", |f| f.not_met),
    ("federation_push_dlq_given_up", "Dead letters put into quarantine", |f| f.given_up),
];

const GAUGES: &[(&str, &str, Total)] = &[
    ("federation_waiting_writes", "Writes that wait for their quorum", |f| f.waiting),
    ("federation_push_dlq_depth", "Dead letters", |f| f.peers.iter().map(|p| p.letters).sum()),
    ("federation_push_dlq_quarantined", "Dead letters in quarantine", |f| f.quarantined),
];

/// Gauges of each peer: name, help, and where the figure comes from.
pub const PEER: &[(&str, &str, OfPeer)] = &[
    ("federation_peer_lag", "Operations of this node that the peer has not settled", |p| {
        Some(p.lag as f64)
    }),
    ("federation_peer_failures", "Failures since the peer last answered", |p| {
        Some(p.failures as f64)
    }),
    ("federation_peer_clock_offset_seconds", "The peer's clock less this node's", |p| {
        p.clock_offset_seconds
    }),
    ("federation_peer_silent_seconds", "Time since the peer was heard", |p| p.silent_seconds),
    ("federation_peer_drift", "1 while the peer's store or capabilities are others", |p| {
        Some(f64::from(u8::from(p.drifts)))
    }),
];

/// A counter with labels, of which each series has its value.
fn family<const N: usize>(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    series: impl IntoIterator<Item = ([(&'static str, &'static str); N], u64)>,
) -> Result<(), fmt::Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in series {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What has passed, by purpose and direction.
fn traffic(encoder: &mut DescriptorEncoder, traffic: &Traffic) -> Result<(), fmt::Error> {
    let of = |value: fn(&Flow) -> u64| {
        let labels = |flow: &Flow| [("purpose", flow.purpose), ("direction", flow.direction)];
        traffic.flows.iter().map(move |flow| (labels(flow), value(flow)))
    };
    let messages = ("federation_messages", "Questions and answers of peers");
    family(encoder, messages, of(|flow| flow.messages))?;
    let bytes = ("federation_message_bytes", "Bytes of their bodies");
    family(encoder, bytes, of(|flow| flow.bytes))?;
    let signatures = [("made", traffic.signed), ("checked", traffic.checked)];
    let series = signatures.map(|(act, count)| ([("act", act)], count));
    family(encoder, ("federation_signatures", "Signatures made and checked for peers"), series)
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let figures = self.0.lock();
        let Some(figures) = figures.as_ref() else { return Ok(()) };
        for (name, help, total) in COUNTERS {
            let counter = ConstCounter::new(total(figures));
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        traffic(&mut encoder, &figures.traffic)?;
        for (name, help, total) in GAUGES {
            let gauge = ConstGauge::new(i64::try_from(total(figures)).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, of_peer) in PEER {
            let known = figures.peers.iter().filter_map(|p| Some((p.name.as_str(), of_peer(p)?)));
            let known: Vec<(&str, f64)> = known.collect();
            if known.is_empty() {
                continue;
            }
            let kind = ConstGauge::new(0.0).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (peer, value) in known {
                let labels = [("peer", peer)];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
