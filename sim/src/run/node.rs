//! A run of one node: faults, heal, scan, verdict.
//!
//! Invariant: exactly one run per process, because libraries keep process-wide counters.
//!
//! Not here: many runs (`main`'s launcher).

use std::{sync::Arc, time::Duration};

use madsim::{
    Config,
    runtime::{Handle, Runtime},
};
use runtime::{
    clock::{self, sim::ClockSim},
    disk::faulty::{Fault, Loss, When},
    random, task,
};

use crate::{
    judge::{
        Violation, durability,
        stores::{Scan, Stores},
    },
    options::{Options, Scenario},
    report::{self, Report},
    workload::{self, Client},
    world::Machine,
};

/// Kinds of power loss, from the gentlest to the worst.
const LOSSES: [Loss; 4] = [Loss::All, Loss::Prefix, Loss::Subset, Loss::Torn];
/// Address of the clients' machine.
const CLIENTS_IP: [u8; 4] = [10, 0, 0, 2];
/// Time for the node to recover and answer after the last fault.
const HEAL: Duration = Duration::from_secs(30);

/// Runs a seed and says what happened.
///
/// With `trace`, what the node logs goes to standard error.
pub fn run(options: Options, trace: bool) -> Report {
    storage::sqlite::vfs::seed_sqlite_prng(options.seed as u32);
    let world = Runtime::with_seed_and_config(options.seed, Config::default());
    world.add_simulator::<ClockSim>();
    world.block_on(async {
        if trace {
            log_to_stderr();
        }
        // The world's own node has no address; clients need one.
        let clients = Handle::current().create_node().name("clients").ip(CLIENTS_IP.into()).build();
        clients.spawn(play(options)).await.expect("the clients' machine never fails")
    })
}

/// Inside the simulation: the first hash map of a thread decides the seed of all, and outside that seed is
/// the system's.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::new("info,hivemem=debug,storage=debug");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

async fn play(options: Options) -> Report {
    let options = Arc::new(options);
    let machine = Machine::boot(&options);
    let supervisor = task::spawn(machine.clone().supervise());
    let clients: Vec<_> =
        (0..options.clients).map(|n| task::spawn(workload::live(options.clone(), n))).collect();
    let mut faults = strike(&machine, &options).await;
    let mut history = Stores::default();
    let finished = clock::timeout(options.limit, async {
        for client in clients {
            if let Ok(part) = client.await {
                history.operations.extend(part.operations);
                history.missed_recalls.extend(part.missed_recalls);
            }
        }
    });
    let finished = finished.await.is_ok();
    machine.disk().clear_faults();
    machine.skew(|clocks, node| clocks.heal(node));
    let verdict = if finished {
        judge(&machine, &history).await
    } else {
        Err(format!("clients did not finish within {:?}", options.limit))
    };
    supervisor.abort();
    faults.extend(report::disk_faults(machine.disk()));
    let simulated_seconds = ClockSim::current().true_elapsed().as_secs_f64();
    machine.retire();
    let disk_fingerprint = machine.disk().fingerprint();
    let options = (*options).clone();
    Report { options, history, verdict, faults, simulated_seconds, disk_fingerprint }
}

/// The final power loss, restart and scan that every run ends with.
async fn judge(machine: &Arc<Machine>, history: &Stores) -> Result<Vec<Violation>, String> {
    machine.crash();
    machine.disk().power_loss(Loss::All);
    machine.restart();
    clock::sleep(Duration::from_millis(200)).await;
    let client = Client::default();
    let scan: Scan =
        clock::timeout(HEAL, client.scan()).await.ok().flatten().ok_or_else(|| {
            format!("the node did not answer within {HEAL:?} after the last restart")
        })?;
    let checked = machine.verify().await.ok_or("the node could not be opened for its own check")?;
    Ok(durability::judge(history, &Scan { memories: scan.memories, ..checked }))
}

type Faults = std::collections::BTreeMap<String, u64>;

async fn strike(machine: &Arc<Machine>, options: &Options) -> Faults {
    let mut faults = Faults::new();
    for _ in 0..options.crashes {
        clock::sleep(pause(options)).await;
        let name = match options.scenario {
            Scenario::Smoke => cut(machine, Loss::Torn, 25),
            Scenario::PowerLoss => {
                if random::below(3) == 0 {
                    machine.crash();
                    machine.restart();
                    "crash"
                } else {
                    let loss = LOSSES[random::below(4) as usize];
                    cut(machine, loss, 1 + random::below(options.effects_until_cut))
                }
            }
            Scenario::BadDisk => disk_fault(machine),
            Scenario::BadClock => clock_fault(machine),
        };
        *faults.entry(name.to_owned()).or_insert(0) += 1;
    }
    faults
}

/// Time until the next fault: anywhere in the clients' lives.
fn pause(options: &Options) -> Duration {
    let life_ms = options.stores * (options.think.as_millis() as u64 / 2 + 10);
    Duration::from_millis(20 + random::below(life_ms / options.crashes.max(1)))
}

fn cut(machine: &Arc<Machine>, loss: Loss, effects: u64) -> &'static str {
    machine.cut_power_after(loss, effects);
    match loss {
        Loss::None => "cut_none",
        Loss::All => "cut_all",
        Loss::Prefix => "cut_prefix",
        Loss::Subset => "cut_subset",
        Loss::Torn => "cut_torn",
    }
}

fn disk_fault(machine: &Arc<Machine>) -> &'static str {
    let disk = machine.disk();
    let nth = When::Nth(1 + random::below(60));
    match random::below(6) {
        0 => {
            disk.inject(Fault::SyncEio, nth, "");
            "sync_eio_armed"
        }
        1 => {
            disk.inject(Fault::WriteEio, nth, "");
            "write_eio_armed"
        }
        2 => {
            disk.inject(Fault::ReadEio, nth, "");
            "read_eio_armed"
        }
        3 => {
            disk.inject(Fault::Enospc, nth, "");
            "enospc_armed"
        }
        4 => {
            disk.inject(Fault::SyncSlow(Duration::from_millis(random::below(800))), nth, "");
            "sync_slow_armed"
        }
        _ => cut(machine, LOSSES[random::below(4) as usize], 1 + random::below(60)),
    }
}

fn clock_fault(machine: &Arc<Machine>) -> &'static str {
    let minute_ns = 60_000_000_000i64;
    match random::below(5) {
        0 => {
            machine.skew(|clocks, node| clocks.step_wall_ns(node, -60 * minute_ns));
            "clock_back"
        }
        1 => {
            machine.skew(|clocks, node| clocks.step_wall_ns(node, 60 * minute_ns));
            "clock_forward"
        }
        2 => {
            machine.skew(|clocks, node| clocks.set_rate_ppm(node, 400_000));
            "clock_fast"
        }
        3 => {
            machine.skew(|clocks, node| clocks.set_rate_ppm(node, -300_000));
            "clock_slow"
        }
        _ => {
            machine.crash();
            machine.restart();
            "crash"
        }
    }
}
