//! `hivemem bench quorum`: three daemons of this binary on loopback that share their memories with everything on.
//!
//! Each shows a certificate of its own, believes the others by fingerprint and by a key between peers, signs what it
//! says, and fsyncs every commit; a store is acknowledged once two of the three have it. They are ordinary
//! processes with ordinary settings: nothing is switched off, and nothing is in them for the measurement.
//!
//! | file | what |
//! |---|---|
//! | `fleet` | the processes, their folders, certificates and lists |
//! | `figures` | what the nodes and the system say of them |
//! | `load` | clients that store, as fast as they are answered |
//! | `signatures` | what signatures cost on this machine |
//! | `repair` | a peer that lacks everything, or ten memories of many |
//! | `report` | the result |
//!
//! Invariant: whatever ends the measurement, the processes end before it does: they are killed when the fleet is
//! dropped.
//!
//! Not here: faults (`chaos`), and a network that is slower than loopback.

mod figures;
mod fleet;
mod load;
mod repair;
mod report;
mod signatures;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use runtime::blocking;

pub use self::report::QuorumReport;
use self::{
    figures::Sums,
    fleet::Fleet,
    load::{Load, Tally},
    report::{Share, StoreRun},
    signatures::Cost,
};
use super::{Through, machine, report::Percentiles};

/// Parameters of a measurement.
#[derive(Clone, Debug)]
pub struct QuorumPlan {
    /// Concurrent clients of each run, which ask the three nodes in turn.
    pub clients: Vec<u32>,
    /// By which door they come; calls in the process there are none.
    pub through: Through,
    /// How long each run is measured; it has run for a quarter of that before.
    pub duration: Duration,
    /// Memories that an empty peer has to catch up with.
    pub memories: u64,
    /// Memories that a peer lacks which was put back to a backup.
    pub differences: u64,
    /// Seed of the memories.
    pub seed: u64,
    /// Where the nodes' folders are made.
    pub folder: PathBuf,
}

/// Measures; `progress` hears what comes next.
///
/// # Errors
/// A node does not start, or does not do what it was measured for within the time that is given it.
pub async fn quorum(plan: &QuorumPlan, progress: &(dyn Fn(&str) + Sync)) -> Result<QuorumReport> {
    let mut fleet = Fleet::new(&plan.folder).await?;
    progress("starting three nodes");
    fleet.start_all(&[]).await?;
    let (mut stores, mut first) = (Vec::new(), 0);
    for clients in &plan.clients {
        progress(&format!("{clients} clients store"));
        let load = Load { clients: *clients, first, plan };
        let run = store(&fleet, &load).await?;
        // Nobody stores the same memory twice.
        first += load::NUMBERS_MAX;
        stores.push(run);
    }
    let fsync_micros = fsync(plan).await;
    let from_log = repair::from_log(&mut fleet, plan, progress).await?;
    let from_state = repair::from_state(&mut fleet, progress).await?;
    let differences = repair::differences(&mut fleet, plan, progress).await?;
    fleet.stop_all().await;
    Ok(QuorumReport {
        bench: "quorum",
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("HIVEMEM_COMMIT").unwrap_or("unknown"),
        optimised: !cfg!(debug_assertions),
        nodes: fleet::NODES as u32,
        quorum: fleet::QUORUM,
        through: plan.through.name(),
        seed: plan.seed,
        fsync_micros,
        stores,
        from_log,
        from_state,
        differences,
    })
}

/// A sample of the disk; empty when the folder cannot be written to.
async fn fsync(plan: &QuorumPlan) -> Percentiles {
    let folder = plan.folder.clone();
    let sample = move || {
        machine::fsync_micros(&*runtime::disk::OsDisk::shared(), &folder).unwrap_or_default()
    };
    Percentiles::of(blocking::run(sample).await)
}

async fn store(fleet: &Fleet, load: &Load<'_>) -> Result<StoreRun> {
    let Tally { latencies, errors, first_error, elapsed, own_cpu, before, after } =
        load::run(fleet, load).await?;
    let operations = latencies.len() as u64;
    let sums = after.since(&before);
    let cost = Cost::of(&sums).await;
    let each = |sum: f64| sum / operations.max(1) as f64;
    let nodes_cpu = sums.cpu.as_secs_f64();
    Ok(StoreRun {
        clients: load.clients,
        seconds: elapsed.as_secs_f64(),
        operations,
        per_second: operations as f64 / elapsed.as_secs_f64(),
        latency_micros: Percentiles::of(latencies),
        errors,
        first_error,
        nodes_cpu_micros_per_operation: each(nodes_cpu * 1e6),
        clients_cpu_micros_per_operation: each(own_cpu.as_secs_f64() * 1e6),
        nodes_private_bytes: after.private_bytes,
        messages_per_operation: each((sums.sent.messages + sums.received.messages) as f64),
        message_bytes_per_operation: each(sums.sent.bytes as f64),
        signatures: Share::of(&sums, &cost, operations),
    })
}
