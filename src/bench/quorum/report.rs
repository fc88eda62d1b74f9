//! What was measured: JSON, one object, or tables.

use std::fmt;

use serde::Serialize;

use super::{Cost, Sums};
use crate::bench::report::Percentiles;

/// Everything that was measured, with what it depends on.
#[derive(Clone, Debug, Serialize)]
pub struct QuorumReport {
    /// `quorum`.
    pub bench: &'static str,
    /// Version of the build.
    pub version: &'static str,
    /// Commit of the build, when known.
    pub commit: &'static str,
    /// Whether the build is optimised.
    pub optimised: bool,
    /// Nodes.
    pub nodes: u32,
    /// How many of them had to have a memory.
    pub quorum: u32,
    /// By which door clients came: `http` or `grpc`.
    pub through: &'static str,
    /// Seed of the memories.
    pub seed: u64,
    /// Latency of a 4 KiB write with fdatasync on the nodes' disk, after the runs, microseconds.
    pub fsync_micros: Percentiles,
    /// Stores, by number of clients.
    pub stores: Vec<StoreRun>,
    /// An empty peer that gets operations.
    pub from_log: Repair,
    /// An empty peer that gets records, because no log has their operations.
    pub from_state: Repair,
    /// A peer that lacks a few.
    pub differences: Repair,
}

/// Concurrent stores, each acknowledged once the quorum had it.
#[derive(Clone, Debug, Serialize)]
pub struct StoreRun {
    /// Concurrent clients, spread over the nodes.
    pub clients: u32,
    /// Seconds measured.
    pub seconds: f64,
    /// Stores that were acknowledged.
    pub operations: u64,
    /// Of those, per second.
    pub per_second: f64,
    /// Time to the answer, microseconds.
    pub latency_micros: Percentiles,
    /// Stores that were not acknowledged, the warm-up included.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// Processor time of the three nodes together for each store, microseconds.
    pub nodes_cpu_micros_per_operation: f64,
    /// Processor time of the clients for each store, microseconds.
    pub clients_cpu_micros_per_operation: f64,
    /// Private memory of the three nodes together at the end, bytes.
    pub nodes_private_bytes: u64,
    /// Messages between nodes for each store, counted at both ends.
    pub messages_per_operation: f64,
    /// Bytes of their bodies for each store, counted at one end.
    pub message_bytes_per_operation: f64,
    /// What signatures took of it.
    pub signatures: Share,
}

/// What signatures took of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// Signatures of messages and feeds that were made, for each store.
    pub made_per_operation: f64,
    /// Signatures of messages and feeds that were checked, for each store.
    pub checked_per_operation: f64,
    /// Processor time that they took for each store, microseconds: how many there were, times what one takes here.
    pub cpu_micros_per_operation: f64,
    /// Of all processor time of the nodes, percent.
    pub cpu_percent: f64,
    /// The same of the signatures of audit rows, which are made with or without peers.
    pub audit_cpu_percent: f64,
}

impl Share {
    pub(super) fn of(sums: &Sums, cost: &Cost, operations: u64) -> Self {
        let each = |sum: f64| sum / operations.max(1) as f64;
        let percent = |micros: f64| match sums.cpu.as_secs_f64() {
            cpu if cpu > 0.0 => micros / (cpu * 1e6) * 100.0,
            _ => 0.0,
        };
        Self {
            made_per_operation: each(sums.signed as f64),
            checked_per_operation: each(sums.checked as f64),
            cpu_micros_per_operation: each(cost.peers_micros),
            cpu_percent: percent(cost.peers_micros),
            audit_cpu_percent: percent(cost.audit_micros),
        }
    }
}

/// A peer that got what it lacked.
#[derive(Clone, Debug, Serialize)]
pub struct Repair {
    /// Memories that the others had.
    pub memories: u64,
    /// How many of them it lacked.
    pub lacked: u64,
    /// From the start of the process until it had all.
    pub seconds: f64,
    /// Memories per second, the start included.
    pub per_second: f64,
    /// Questions and answers about operations that it lacked.
    pub since_messages: u64,
    /// Bytes of their bodies.
    pub since_bytes: u64,
    /// Questions and answers about what is held.
    pub state_messages: u64,
    /// Bytes of their bodies.
    pub state_bytes: u64,
    /// Bytes that others sent of their own accord.
    pub pushed_bytes: u64,
    /// Processor time of its process, seconds.
    pub cpu_seconds: f64,
    /// Processor time of the others meanwhile, seconds.
    pub others_cpu_seconds: f64,
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

impl fmt::Display for QuorumReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, quorum, through, fsync_micros: fsync, .. } = self;
        writeln!(
            f,
            "stores through {through}, on {quorum} of {nodes} nodes, TLS and signatures, each commit synced \
             (4 KiB take {:.2} ms p50)\n",
            ms(fsync.p50)
        )?;
        writeln!(
            f,
            "clients   per s  p50 ms  p95 ms  p99 ms  max ms  errors  nodes µs  clients µs  messages  \
             signatures  their share  audit's"
        )?;
        for run in &self.stores {
            let StoreRun { clients, per_second, latency_micros: at, errors, signatures, .. } = run;
            writeln!(
                f,
                "{clients:7} {per_second:7.0} {:7.2} {:7.2} {:7.2} {:7.1} {errors:7} {:9.0} {:11.0} {:9.2} \
                 {:11.2} {:10.1} % {:6.1} %",
                ms(at.p50),
                ms(at.p95),
                ms(at.p99),
                ms(at.max),
                run.nodes_cpu_micros_per_operation,
                run.clients_cpu_micros_per_operation,
                run.messages_per_operation,
                signatures.made_per_operation + signatures.checked_per_operation,
                signatures.cpu_percent,
                signatures.audit_cpu_percent,
            )?;
            if let Some(error) = &run.first_error {
                writeln!(f, "        the first error: {error}")?;
            }
        }
        writeln!(
            f,
            "\na peer that lacks      memories  lacked  seconds   per s  messages      bytes"
        )?;
        let repairs = [
            ("all, from the log", &self.from_log),
            ("all, from state", &self.from_state),
            ("a few, from state", &self.differences),
        ];
        for (what, repair) in repairs {
            let Repair { memories, lacked, seconds, per_second, .. } = repair;
            writeln!(
                f,
                "{what:20} {memories:10} {lacked:7} {seconds:8.2} {per_second:7.0} {:9} {:10}",
                repair.since_messages + repair.state_messages,
                repair.since_bytes + repair.state_bytes + repair.pushed_bytes,
            )?;
        }
        let Repair { state_messages, state_bytes, .. } = &self.differences;
        writeln!(f, "of which to compare a few: {state_messages} messages, {state_bytes} bytes")
    }
}
