//! Peers for hours under a light load and mild faults: the sizes of everything that they keep.
//!
//! Each peer is sampled every [`EVERY`], where it answers, and in the end until everything is back at its floor. The
//! judge `bounded` hears the samples: floors in the end, and growth from hour to hour.
//!
//! What is never forgotten (audit rows, and so the disk) has no floor. It is in the summary.
//!
//! Not here: the faults (`schedule`), what clients do (`workload::peers`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use runtime::clock::{self, Instant};
use serde_json::{Value, json};
use types::limits::{CLOCK_SKEW_MAX_MS, IDEMPOTENCY_TTL_MS};

use super::peers::{record, sample};
use crate::{
    judge::history::{History, What},
    options::PeersOptions,
    world::{fleet::Host, peers::PeersWorld},
};

/// Time between two samples of a peer.
const EVERY: Duration = Duration::from_secs(60);
/// Longest time until everything is at its floor.
const SETTLE: Duration = Duration::from_secs(1800);
/// Time after which everything has been seen that comes and goes within minutes.
const WARM_MS: u64 = 3_600_000;
/// Longest time that a nonce is remembered: the asker's clock may be ahead.
const NONCE_MS: u64 = 3 * CLOCK_SKEW_MAX_MS;
/// No floor.
const NONE: u64 = u64::MAX;

/// Figures that are sampled, by their names in the metrics.
const FIGURES: [&str; 12] = [
    "federation_waiting_writes",
    "write_queue_depth",
    "log_operations",
    "tombstones",
    "unheld_operations",
    "peer_nonces",
    "remembered_answers",
    "memories",
    "links",
    "chain_length",
    "database_bytes",
    "wal_bytes",
];

/// The size to which a table must return when nobody asks any more.
fn floor(options: &PeersOptions, table: &str) -> u64 {
    match table {
        "peer_nonces" => {
            // Of questions that peers ask of each other for ever, and as many again.
            let others = options.peers - 1;
            let rounds =
                NONCE_MS / options.catch_up_ms + 2 * others * NONCE_MS / options.compare_ms;
            2 * rounds
        }
        // They go when others come: one for each request of the last day, and a few.
        "remembered_answers" => NONE,
        "memories" | "links" | "chain_length" | "database_bytes" | "wal_bytes" | "disk_bytes" => {
            NONE
        }
        _ => 0,
    }
}

/// From when on a table must not grow, microseconds of the run.
pub(super) fn steady_us(options: &PeersOptions, table: &str) -> Option<u64> {
    let after_ms = match table {
        _ if options.soak_hours == 0 => return None,
        "memories" | "links" | "chain_length" | "database_bytes" | "disk_bytes" => return None,
        "remembered_answers" => IDEMPOTENCY_TTL_MS + WARM_MS,
        _ => WARM_MS,
    };
    Some(after_ms * 1000)
}

/// Samples all peers, for ever.
pub(super) async fn watch(world: Arc<PeersWorld>) {
    loop {
        clock::sleep(EVERY).await;
        for host in world.fleet.hosts() {
            look(&world, &host).await;
        }
    }
}

/// Samples a peer; how much there is beyond the floors. `None` where it does not answer.
async fn look(world: &PeersWorld, host: &Host) -> Option<u64> {
    let (mut beyond, _) = sample(world, host).await?;
    let figures = world.fleet.figures(host).await?;
    let mut note = |table: &str, size: u64| {
        let floor = floor(&world.options, table);
        beyond += size.saturating_sub(floor);
        record(world, host, table, size, floor);
    };
    for (name, value) in &figures {
        let Some(name) = name.strip_prefix("hivemem_") else { continue };
        if FIGURES.contains(&name) {
            note(name, *value);
        }
    }
    note("disk_bytes", host.disk.used_bytes());
    Some(beyond)
}

/// Samples until everything is at its floor, or the time for that is over.
pub(super) async fn settle(world: &PeersWorld) {
    let deadline = Instant::now() + SETTLE;
    loop {
        let mut beyond = 0;
        for host in world.fleet.hosts() {
            beyond += look(world, &host).await.unwrap_or(1);
        }
        if beyond == 0 || Instant::now() >= deadline {
            return;
        }
        clock::sleep(EVERY / 4).await;
    }
}

/// What became of one table, over all peers.
#[derive(Default)]
struct Sizes {
    samples: u64,
    most: u64,
    /// The last size at each peer.
    last: BTreeMap<String, u64>,
    floor: u64,
}

/// How many samples there were of each table, the largest, the largest of the last ones, and the floor.
pub(super) fn summary(history: &History) -> Value {
    let mut tables: BTreeMap<String, Sizes> = BTreeMap::new();
    for event in history.events() {
        let What::Sample { node, table, size, floor, .. } = &event.what else { continue };
        let name = table.split(':').next().unwrap_or(table).to_owned();
        let sizes = tables.entry(name).or_default();
        sizes.samples += 1;
        sizes.most = sizes.most.max(*size);
        sizes.last.insert(format!("{node} {table}"), *size);
        sizes.floor = *floor;
    }
    let line = |sizes: Sizes| {
        let last = sizes.last.values().max().copied().unwrap_or(0);
        let floor = (sizes.floor != NONE).then_some(sizes.floor);
        json!({ "samples": sizes.samples, "most": sizes.most, "last": last, "floor": floor })
    };
    let tables: serde_json::Map<String, Value> =
        tables.into_iter().map(|(name, sizes)| (name, line(sizes))).collect();
    Value::Object(tables)
}
