//! Clients that store one memory after the other, as fast as they are answered.
//!
//! Invariant: what happens while the run warms up counts nowhere: neither its stores nor its processor time.
//!
//! Not here: filling the stores (`repair`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use runtime::{
    clock::{self, Instant},
    task,
};

use super::{
    QuorumPlan,
    figures::Sums,
    fleet::{Fleet, NODES},
};
use crate::bench::{data, machine, through::Client};

/// Numbers of memories that one run may use.
pub(super) const NUMBERS_MAX: u64 = 1 << 32;
/// Share of a run that does not count.
const WARM: u32 = 4;
/// Pause after a refusal.
const PAUSE: Duration = Duration::from_millis(10);

/// One run.
pub(super) struct Load<'p> {
    /// Concurrent clients.
    pub(super) clients: u32,
    /// Number of the first memory.
    pub(super) first: u64,
    /// Everything else.
    pub(super) plan: &'p QuorumPlan,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Tally {
    /// Microseconds of each store that was acknowledged.
    pub(super) latencies: Vec<u64>,
    /// Stores that were not.
    pub(super) errors: u64,
    /// What the first of them said.
    pub(super) first_error: Option<String>,
    /// How long it was measured.
    pub(super) elapsed: Duration,
    /// Processor time of the clients.
    pub(super) own_cpu: Duration,
    /// The nodes when the measurement began, and when it ended.
    pub(super) before: Sums,
    pub(super) after: Sums,
}

/// What one client did.
#[derive(Default)]
struct Done {
    latencies: Vec<u64>,
    errors: u64,
    first_error: Option<String>,
}

struct Times {
    begin: Instant,
    end: Instant,
}

async fn client(client: Client, seed: u64, numbers: Arc<AtomicU64>, times: Arc<Times>) -> Done {
    let mut done = Done::default();
    loop {
        let start = Instant::now();
        if start >= times.end {
            return done;
        }
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let stored = client.store(data::memory(seed, number)).await;
        match stored {
            Ok(()) if start >= times.begin => {
                done.latencies.push(start.elapsed().as_micros() as u64);
            }
            Ok(()) => {}
            Err(refusal) => {
                done.errors += 1;
                done.first_error.get_or_insert(refusal.to_string());
                clock::sleep(PAUSE).await;
            }
        }
    }
}

/// Lets the clients work for a while.
pub(super) async fn run(fleet: &Fleet, load: &Load<'_>) -> Result<Tally> {
    let plan = load.plan;
    let ways = (0..NODES).map(|at| fleet.way(at, plan.through)).collect::<Result<Vec<_>>>()?;
    let numbers = Arc::new(AtomicU64::new(load.first));
    let begin = Instant::now() + plan.duration / WARM;
    let times = Arc::new(Times { begin, end: begin + plan.duration });
    let mut running = Vec::new();
    for number in 0..load.clients as usize {
        let one = ways[number % ways.len()].client()?;
        running.push(task::spawn(client(one, plan.seed, numbers.clone(), times.clone())));
    }
    clock::sleep(begin.saturating_duration_since(Instant::now())).await;
    let (before, cpu) = (fleet.sums().await?, machine::cpu_time());
    let started = Instant::now();
    let mut tally = Tally { before, ..Tally::default() };
    for one in running {
        let done = one.await.context("a client was lost")?;
        tally.latencies.extend(done.latencies);
        tally.errors += done.errors;
        tally.first_error = tally.first_error.or(done.first_error);
    }
    tally.own_cpu = machine::cpu_time().saturating_sub(cpu);
    tally.elapsed = started.elapsed();
    tally.after = fleet.sums().await?;
    Ok(tally)
}
