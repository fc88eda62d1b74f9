//! The measurements.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use runtime::{
    clock::Instant,
    disk::DiskRef,
    task::{self, Shutdown},
};
use types::{Reason, Reject, limits::BULK_MAX};

use super::{
    data, machine,
    report::{Percentiles, Report},
    through::{Client, Through, Way, caller},
};
use crate::{
    config::Config,
    doors::{self, Doors},
    node::{
        Node, StartError,
        model::{RecallInput, write::BulkInput},
        service::Service,
    },
    telemetry::health::ReadyProbe,
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// One memory per request.
    Store,
    /// 1000 memories per request.
    Bulk,
    /// Hybrid recall.
    Recall,
    /// Nine recalls to one store.
    Mixed,
    /// From start to the first recall.
    Start,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Work::Store => "store",
            Work::Bulk => "bulk",
            Work::Recall => "recall",
            Work::Mixed => "mixed",
            Work::Start => "start",
        }
    }
}

/// Parameters of a measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What.
    pub work: Work,
    /// Memories in the store before measuring.
    pub memories: u64,
    /// Concurrent clients.
    pub clients: u32,
    /// By which way they come.
    pub through: Through,
    /// How long.
    pub duration: Duration,
    /// Seed of the data.
    pub seed: u64,
    /// Where the store is built.
    pub folder: PathBuf,
}

/// Stores memories until there are as many as planned; `progress` hears how many there are. Two batches are on their
/// way at a time: one is made while the other is written.
async fn fill(
    service: &Arc<Service>,
    plan: &Plan,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), Reject> {
    let first = service.stats().await?.memories;
    let batches = (first..plan.memories).step_by(BULK_MAX);
    let stored = futures::stream::iter(batches.map(|from| {
        let (service, seed) = (service.clone(), plan.seed);
        let until = plan.memories.min(from + BULK_MAX as u64);
        let batch = async move {
            let caller = caller(&service)?;
            let memories = (from..until).map(|n| data::memory(seed, n)).collect();
            service.bulk_store(&caller, BulkInput { memories, atomic: false }).await?;
            Ok::<u64, Reject>(until)
        };
        async move { task::spawn(batch).await.unwrap_or_else(|_| Err(lost())) }
    }));
    let mut stored = stored.buffered(2);
    while let Some(until) = stored.next().await {
        progress(until?);
    }
    Ok(())
}

fn lost() -> Reject {
    Reject::new(Reason::Stopping, "a task of the measurement was lost")
}

/// What one client did.
#[derive(Default)]
struct Tally {
    latencies: Vec<u64>,
    operations: u64,
    errors: u64,
}

/// One operation; answers how many memories it stored or recalls it did.
async fn once(client: &Client, plan: &Plan, counter: &AtomicU64) -> Result<u64, Reject> {
    let number = counter.fetch_add(1, Ordering::Relaxed);
    let fresh = plan.memories + number;
    match plan.work {
        Work::Bulk => {
            let first = plan.memories + number * BULK_MAX as u64;
            let memories =
                (first..first + BULK_MAX as u64).map(|n| data::memory(plan.seed, n)).collect();
            client.bulk(memories).await?;
            return Ok(BULK_MAX as u64);
        }
        Work::Store => client.store(data::memory(plan.seed, fresh)).await?,
        Work::Mixed if number.is_multiple_of(10) => {
            client.store(data::memory(plan.seed, fresh)).await?;
        }
        Work::Recall | Work::Mixed | Work::Start => {
            let about = number.wrapping_mul(7919) % plan.memories.max(1);
            client.recall(data::question(plan.seed, about)).await?;
        }
    }
    Ok(1)
}

async fn client(client: Client, plan: Plan, counter: Arc<AtomicU64>, until: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < until {
        let start = Instant::now();
        match once(&client, &plan, &counter).await {
            Ok(done) => {
                tally.operations += done;
                tally.latencies.push(start.elapsed().as_micros() as u64);
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "an operation was refused");
                tally.errors += 1;
            }
        }
    }
    tally
}

async fn load(way: &Way, plan: &Plan) -> Result<(Tally, Duration, Duration), Reject> {
    let counter = Arc::new(AtomicU64::new(0));
    let (start, cpu) = (Instant::now(), machine::cpu_time());
    let until = start + plan.duration;
    let mut clients = Vec::new();
    for _ in 0..plan.clients {
        let one = way.client()?;
        clients.push(task::spawn(client(one, plan.clone(), counter.clone(), until)));
    }
    let mut total = Tally::default();
    for handle in clients {
        if let Ok(tally) = handle.await {
            total.latencies.extend(tally.latencies);
            total.operations += tally.operations;
            total.errors += tally.errors;
        }
    }
    Ok((total, start.elapsed(), machine::cpu_time().saturating_sub(cpu)))
}

/// Waits until the indexes have caught up, so that every recall sees what it will see for good.
async fn settled(service: &Service) -> Result<(), Reject> {
    loop {
        let stats = service.stats().await?;
        if !stats.index_rebuilding && stats.index_position >= stats.position {
            return Ok(());
        }
        runtime::clock::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a closed store again and asks it once; the time until the answer, in milliseconds.
async fn restart(disk: &DiskRef, config: &Config, plan: &Plan) -> Result<(Node, f64), StartError> {
    let start = Instant::now();
    let node = Node::start(disk.clone(), config).await?;
    let caller = caller(node.service()).map_err(StartError::Store)?;
    let input = RecallInput { query: data::question(plan.seed, 1), ..RecallInput::default() };
    node.service().recall(&caller, &input).await.map_err(StartError::Store)?;
    Ok((node, start.elapsed().as_secs_f64() * 1000.0))
}

/// Measures; `progress` hears how many memories are stored while the store is being filled.
///
/// # Errors
/// [`StartError`] when the store cannot be opened or filled.
pub async fn run(
    disk: DiskRef,
    config: &Config,
    plan: Plan,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, StartError> {
    let mut config = Config { data_dir: plan.folder.clone(), ..config.clone() };
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut node = Node::start(disk.clone(), &config).await?;
    fill(node.service(), &plan, progress).await.map_err(StartError::Store)?;
    settled(node.service()).await.map_err(StartError::Store)?;
    let mut extra = BTreeMap::new();
    if plan.work == Work::Start {
        let closing = Instant::now();
        node.stop().await;
        extra.insert("close_ms", closing.elapsed().as_secs_f64() * 1000.0);
        let (again, ms) = restart(&disk, &config, &plan).await?;
        node = again;
        extra.insert("start_to_first_recall_ms", ms);
    }
    let shutdown = Shutdown::new();
    let doors = match plan.through {
        Through::Process => None,
        _ => Some(open_doors(&disk, &config, &node, &shutdown).await?),
    };
    let address = doors.as_ref().and_then(|doors| doors.addresses().first().cloned());
    let before = fsync(&disk, &plan.folder);
    let way = Way::to(plan.through, node.service(), address.as_deref());
    let way = way.map_err(StartError::Store)?;
    let (tally, elapsed, cpu) = load(&way, &plan).await.map_err(StartError::Store)?;
    let fsync_micros = [before, fsync(&disk, &plan.folder)].concat();
    let private_bytes = machine::private_bytes();
    shutdown.trigger();
    if let Some(doors) = doors {
        doors.closed().await;
    }
    node.stop().await;
    let seconds = elapsed.as_secs_f64();
    Ok(Report {
        bench: plan.work.name(),
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("HIVEMEM_COMMIT").unwrap_or("unknown"),
        optimised: !cfg!(debug_assertions),
        memories: plan.memories,
        clients: plan.clients,
        through: plan.through.name(),
        seed: plan.seed,
        seconds,
        operations: tally.operations,
        errors: tally.errors,
        per_second: tally.operations as f64 / seconds,
        latency_micros: Percentiles::of(tally.latencies),
        cpu_micros_per_operation: cpu.as_secs_f64() * 1e6 / tally.operations.max(1) as f64,
        private_bytes,
        fsync_micros: Percentiles::of(fsync_micros),
        extra,
    })
}

async fn open_doors(
    disk: &DiskRef,
    config: &Config,
    node: &Node,
    shutdown: &Shutdown,
) -> Result<Doors, StartError> {
    let (service, ready) = (node.service().clone(), ReadyProbe::always());
    let opened = doors::open(disk.clone(), config, service, ready, shutdown.clone()).await;
    opened.map_err(|error| StartError::Store(Reject::new(Reason::Stopping, error.to_string())))
}

/// A sample of the disk; empty when the folder cannot be written to.
fn fsync(disk: &DiskRef, folder: &Path) -> Vec<u64> {
    machine::fsync_micros(&**disk, folder).unwrap_or_default()
}
