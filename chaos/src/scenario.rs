//! One run: a founded root, clients, rounds of faults, healing, the last looks.
//!
//! Invariants: what is drawn is drawn from the seed (what happens in the end is up to the machine);
//! a fault whose hold is not known ends the run, because such a run proves nothing.
//!
//! Not here: what is measured and judged (`figures`, `report`).

use std::{path::Path, time::Duration};

use runtime::{
    clock::{self, Instant},
    task::{self, Shutdown},
};
use sim::{
    judge::{
        History,
        history::{Bounds, Expiry, Header, Order, VERSION, What},
    },
    workload::{
        draw::Draw,
        root::{Load, Recorder, finish, live, prepare},
    },
};

use crate::{
    cluster::Cluster,
    nemesis::{Injection, Nemesis, heal, strike},
    options::RunOptions,
};

/// Calm before a fault, milliseconds, from and to.
const CALM_MS: (u64, u64) = (1500, 3500);
/// How long a voter stays struck, milliseconds, from and to.
const STRUCK_MS: (u64, u64) = (500, 3000);
/// How long clients go on after the last fault.
const AFTERWARDS: Duration = Duration::from_secs(6);
/// What the run promises about time; generous, because the machine may be busy. Microseconds.
const BOUNDS: Bounds =
    Bounds { leader_us: 4_000_000, operation_us: 20_000_000, settle_us: 40_000_000 };
/// How much faster a session may seem to end than its time to live: one machine, one clock.
const DRIFT_PPM: u32 = 50_000;

/// One round, as it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// What was drawn.
    pub nemesis: Nemesis,
    /// What became of it.
    pub injection: Injection,
    /// Number of the fault in the history; 0 when there is none.
    pub fault: u64,
}

/// A run, as it went.
#[derive(Debug)]
pub struct Run {
    /// What clients were to do.
    pub load: Load,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// What was seen.
    pub history: History,
}

/// Runs it in a folder.
///
/// # Errors
/// In words: the cluster does not start or come back, the ground cannot be prepared, or a fault may
/// or may not be in force.
pub async fn run(options: &RunOptions, binary: &Path, folder: &Path) -> Result<Run, String> {
    let mut draw = Draw::new(options.seed);
    let load = Load::draw(&mut draw);
    let load = match options.clients {
        Some(clients) => load.with_clients(clients),
        None => load,
    };
    let mut cluster = Cluster::found(binary, folder, options.voters, &options.settings)
        .await
        .map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let recorder =
        Recorder::new(move || u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    for name in cluster.names() {
        recorder.node(&name, true);
    }
    let ground = prepare(load.clone(), cluster.target(), recorder.clone())
        .await
        .map_err(|error| error.to_string())?;
    let stop = Shutdown::new();
    let clients: Vec<_> = (1..=load.clients)
        .map(|number| task::spawn_named("client", live(ground.clone(), number, stop.clone())))
        .collect();
    let rounds = storm(options, &mut cluster, &recorder, &mut draw).await;
    recorder.record(What::Healed);
    if rounds.is_ok() {
        clock::sleep(AFTERWARDS).await;
    }
    stop.trigger();
    for client in clients {
        client.await.map_err(|error| format!("a client: {error}"))?;
    }
    let rounds = rounds?;
    finish(&ground).await;
    let header = Header {
        history_version: VERSION,
        run: format!("root-kill, seed {}, {} rounds", options.seed, options.rounds),
        order: Order::Recorded,
        expiry: Expiry::ByLease { drift_ppm: DRIFT_PPM },
        bounds: BOUNDS,
        clock_fast_ppm: None,
        voters: cluster.names(),
        federation: None,
    };
    let history = recorder.history(header).map_err(|malformed| malformed.to_string())?;
    Ok(Run { load, rounds, history })
}

/// The rounds.
async fn storm(
    options: &RunOptions,
    cluster: &mut Cluster,
    recorder: &Recorder,
    draw: &mut Draw,
) -> Result<Vec<Round>, String> {
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        clock::sleep(Duration::from_millis(draw.between(CALM_MS))).await;
        let nemesis = options.nemeses[draw.place(options.nemeses.len())];
        let struck = strike(nemesis, cluster, recorder, draw).await;
        clock::sleep(Duration::from_millis(draw.between(STRUCK_MS))).await;
        heal(&struck, cluster, recorder).await.map_err(|error| error.to_string())?;
        let (injection, fault) = (struck.injection, struck.fault);
        eprintln!("round {number}: {} {injection}", nemesis.name());
        if injection == Injection::Indeterminate {
            return Err(format!("round {number}: {} may or may not be in force", nemesis.name()));
        }
        rounds.push(Round { nemesis, injection, fault });
    }
    Ok(rounds)
}
