//! A run of peers: boot, strike, heal, agree, go on for a little, look at everything, judge.
//!
//! Invariants: `RUN-4`; `RUN-6` between the last fault and the first agreement nobody changes anything, so
//! that there is something to agree on; `RUN-7` afterwards clients go on, long enough to show that the peers
//! live.
//!
//! Not here: faults (`strike`), the world (`world::peers`), what clients do (`workload::peers`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use http::Method;
use madsim::{
    Config,
    runtime::{Handle, NodeHandle, Runtime},
};
use runtime::{
    clock::{self, Instant, sim::ClockSim},
    fatal,
    task::{self, Shutdown},
};

use super::{
    fleet::{Choice, LIMIT, client_machines, observer, repetitions, storm},
    soak,
};
use crate::{
    judge::{
        self,
        history::{Bounds, Expiry, Federation, Header, Order, VERSION, What},
    },
    options::PeersOptions,
    report::{FleetReport, disk_faults},
    schedule::{self, Strike},
    strike::World,
    workload::{
        peers::{self as workload, CLOSED, Ground, look},
        root::{Recorder, scan_rows_of},
    },
    world::{
        fleet::{self, Host},
        peers::{
            PeersWorld, name_of, scripts,
            traces::{count_copies, files_with},
        },
        root::steps::Steps,
    },
};

/// Longest time until all peers show the same.
const CONVERGE: Duration = Duration::from_secs(120);
/// Time after the last fault by which peers answer each other again, whatever they thought of each other.
const RECOVER: Duration = Duration::from_secs(20);
/// Time between two looks at whether all peers show the same.
const LOOK: Duration = Duration::from_millis(250);
/// Longest time until the last looks are of one moment.
const QUIET: Duration = Duration::from_secs(60);
/// Longest time for everything that is kept for others to be gone.
const SETTLE: Duration = Duration::from_secs(30);
/// Longest time for logs and tombstones to be forgotten, counted from the last look: every peer must have heard twice
/// from every other.
const FORGET: Duration = Duration::from_secs(150);
/// Longest times, in milliseconds, with which a run may wait for that: between two rounds of catching up, and of keeping
/// operations.
const QUICK_MS: (u64, u64) = (4000, 5000);
/// What is to be forgotten: names in histories, and those of the metrics.
const FORGOTTEN: [(&str, &str); 2] =
    [("log", "hivemem_log_operations"), ("tombstones", "hivemem_tombstones")];
/// Time for an answer to a last look.
const ANSWER_MS: u64 = 30_000;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn federation(options: &PeersOptions) -> Federation {
    let narrow = options.narrow.then(|| (name_of(options.peers), options.sees(options.peers)));
    let strangers = options.refuses_strangers.then(|| workload::STRANGER.to_owned());
    Federation {
        scopes: narrow.into_iter().collect(),
        refused_agents: strangers.into_iter().collect(),
        quorum: options.needed(),
        converge_us: micros(CONVERGE),
    }
}

fn header(options: &PeersOptions) -> Header {
    let bounds = Bounds {
        leader_us: micros(RECOVER),
        operation_us: 10_000_000,
        settle_us: micros(Duration::from_secs(1)),
    };
    Header {
        history_version: VERSION,
        run: format!("{} seed {}", options.scenario.name(), options.seed),
        order: Order::Recorded,
        expiry: Expiry::Recorded,
        bounds,
        clock_fast_ppm: None,
        voters: Vec::new(),
        federation: Some(federation(options)),
    }
}

/// Runs a seed and says what happened.
///
/// With `trace`, what the nodes log goes to standard error.
pub fn run(options: PeersOptions, choice: &Choice, trace: bool) -> FleetReport {
    storage::sqlite::vfs::seed_sqlite_prng(options.seed as u32);
    let world = Runtime::with_seed_and_config(options.seed, Config::default());
    world.add_simulator::<ClockSim>();
    let options = match choice.hours.filter(|_| options.soak_hours > 0) {
        Some(hours) => options.lasting(hours),
        None => options,
    };
    let strikes = choice.apply(schedule::draw(options.frame()));
    let clients = choice.clients.unwrap_or(options.load.clients);
    let options = PeersOptions { load: options.load.clone().with_clients(clients), ..options };
    world.block_on(async {
        // Not before: the first hash map of a thread decides the seed of all, and outside the simulation
        // that seed is the system's.
        drop(Steps::install(trace));
        let operator =
            Handle::current().create_node().name("operator").ip([10, 0, 2, 1].into()).build();
        operator.spawn(play(options, strikes)).await.expect("the operator never fails")
    })
}

async fn play(options: PeersOptions, strikes: Vec<Strike>) -> FleetReport {
    let recorder = observer();
    let machines = client_machines(options.load.clients);
    let ids = machines.iter().map(NodeHandle::id).collect();
    let world = PeersWorld::boot(options.clone(), recorder.clone(), ids).await;
    let supervisor = task::spawn(world.fleet.clone().supervise(options.pace(fleet::LOOK)));
    let deliverer = task::spawn(world.clone().deliver());
    let counter = task::spawn(count_copies(world.clone()));
    let watcher = (options.soak_hours > 0).then(|| task::spawn(soak::watch(world.clone())));
    let problem = live(&world, &machines, &strikes).await.err();
    counter.abort();
    if let Some(watcher) = watcher {
        watcher.abort();
    }
    supervisor.abort();
    deliverer.abort();
    // Where the run came to its end, this is recorded already.
    recorder.record(What::End);
    let simulated_seconds = ClockSim::current().true_elapsed().as_secs_f64();
    let faults = faults(&world, &recorder);
    world.fleet.end();
    let fingerprints = world.fleet.all().iter().map(|host| host.disk.fingerprint()).collect();
    let (history, malformed) = match recorder.history(header(&options)) {
        Ok(history) => (Some(history), None),
        Err(error) => (None, Some(format!("the recording is no history: {error}"))),
    };
    let findings = history.as_ref().map(judge::verdict::findings).unwrap_or_default();
    let soak = history.as_ref().filter(|_| options.soak_hours > 0).map(soak::summary);
    FleetReport {
        soak,
        seed: options.seed,
        scenario: options.scenario.name(),
        shape: vec![("peers", options.peers), ("clients", options.load.clients)],
        options: format!("{options:#?}"),
        strikes,
        history,
        findings,
        problem: problem.or(malformed),
        faults,
        simulated_seconds,
        fingerprints,
    }
}

fn faults(world: &PeersWorld, recorder: &Recorder) -> BTreeMap<String, u64> {
    let mut faults = world.fleet.counts();
    faults.extend(recorder.look(repetitions));
    for host in world.fleet.all() {
        for (name, count) in disk_faults(&host.disk) {
            *faults.entry(format!("disk_{name}")).or_default() += count;
        }
    }
    faults
}

/// Lets clients loose, each on its machine.
fn begin(
    ground: &Ground,
    machines: &[NodeHandle],
    stop: &Shutdown,
    from: u64,
) -> Vec<madsim::task::JoinHandle<Option<()>>> {
    let numbered = (from..).zip(machines);
    numbered
        .map(|(number, machine)| {
            let life = workload::live(ground.clone(), number, stop.clone());
            machine.spawn(async { fatal::sim::contain(life).await.into() })
        })
        .collect()
}

async fn ended<T>(clients: Vec<madsim::task::JoinHandle<T>>) -> Result<(), String> {
    let ended = clock::timeout(LIMIT, async {
        for client in clients {
            client.await.map_err(|error| format!("a client failed: {error}"))?;
        }
        Ok::<(), String>(())
    });
    ended.await.map_err(|_| format!("clients did not end within {LIMIT:?}"))?
}

/// From the first start to the last look.
async fn live(
    world: &Arc<PeersWorld>,
    machines: &[NodeHandle],
    strikes: &[Strike],
) -> Result<(), String> {
    let (options, recorder) = (&world.options, &world.fleet.recorder);
    let ground = Ground::new(options.load.clone(), world.target().nodes, recorder.clone());
    // There is one ground in a run.
    let _ = world.ground.set(ground.clone());
    let federation = federation(options);
    agreed(world, &federation).await.ok_or("the peers do not start")?;
    let stop = Shutdown::new();
    let clients = match options.script {
        // Nobody else disturbs what is played.
        Some(_) => Vec::new(),
        None => begin(&ground, machines, &stop, 0),
    };
    if let Some(script) = options.script {
        let (world, played) = (world.clone(), clock::Instant::now());
        let playing = task::spawn(async move { scripts::play(&world, script).await });
        playing.await.map_err(|error| format!("the script failed: {error}"))?;
        tracing::info!(took = ?played.elapsed(), "the script is over");
    }
    let hours = Instant::now() + Duration::from_secs(options.soak_hours * 3600);
    storm(&World::Peers(world.clone()), strikes).await?;
    // A soak goes on when no fault is left to come.
    clock::sleep(hours.saturating_duration_since(Instant::now())).await;
    recorder.record(What::Healed);
    stop.trigger();
    ended(clients).await?;
    if agreed(world, &federation).await.is_some() {
        recorder.record(What::Converged);
        let stop = Shutdown::new();
        let clients = begin(&ground, machines, &stop, machines.len() as u64);
        clock::sleep(options.rest_for).await;
        stop.trigger();
        ended(clients).await?;
        agreed(world, &federation).await;
    }
    if options.soak_hours > 0 {
        soak::settle(world).await;
    }
    let looked = clock::timeout(LIMIT, last_look(world, &ground)).await;
    looked.map_err(|_| format!("the last look took longer than {LIMIT:?}"))
}

/// Waits until all peers show the same, for as long as that may take.
async fn agreed(world: &PeersWorld, federation: &Federation) -> Option<()> {
    let deadline = Instant::now() + CONVERGE;
    while Instant::now() < deadline {
        if look::agree(federation, &world.target().nodes).await {
            return Some(());
        }
        clock::sleep(LOOK).await;
    }
    None
}

/// What every peer has, shows and says of itself in the end.
async fn last_look(world: &PeersWorld, ground: &Ground) {
    let recorder = &world.fleet.recorder;
    let (federation, nodes) = (federation(&world.options), world.target().nodes);
    look::record_all(recorder, &federation, &nodes, QUIET).await;
    for host in world.fleet.hosts() {
        let node = host.place();
        let scan = scan_rows_of(&node, ground.epoch(&node.name), ANSWER_MS).await;
        if let Some(mut scan) = scan {
            scan.holds &= is_sound(world, &host).await;
            recorder.record(What::Chain(scan));
        }
        settle(world, &host).await;
        if ground.is_narrow(&host.name) {
            for path in files_with(&host.disk, Path::new(""), CLOSED.1) {
                let (node, place) = (host.name.clone(), path.display().to_string());
                let namespace = CLOSED.0.to_owned();
                recorder.record(What::Trace { node, namespace, place });
            }
        }
    }
    settle_logs(world).await;
    recorder.record(What::End);
}

/// Samples logs and tombstones of all peers until they are empty, or the time for that is over. What a peer refuses is
/// kept until an operator gives it up, so the logs of those runs have no floor.
async fn settle_logs(world: &PeersWorld) {
    let options = &world.options;
    let (catch_up_ms, keep_ms) = QUICK_MS;
    let quick = options.catch_up_ms <= catch_up_ms && options.keep_ms <= keep_ms;
    if !quick || options.refuses_strangers {
        return;
    }
    let deadline = Instant::now() + FORGET;
    for host in world.fleet.hosts() {
        loop {
            let figures = world.fleet.figures(&host).await.unwrap_or_default();
            let sizes = FORGOTTEN.map(|(table, name)| (table, figures.get(name).copied()));
            for (table, size) in sizes {
                if let Some(size) = size {
                    record(world, &host, table, size, 0);
                }
            }
            let empty = sizes.iter().all(|(_, size)| *size == Some(0));
            if empty || Instant::now() >= deadline {
                break;
            }
            clock::sleep(LOOK).await;
        }
    }
}

/// Whether a peer's own check finds nothing.
async fn is_sound(world: &PeersWorld, host: &Host) -> bool {
    let path = "/api/v1/admin/doctor";
    match world.fleet.ask_at(host, Method::POST, path, None).await {
        Ok(found) => {
            let none = found["findings"].as_array().is_some_and(Vec::is_empty);
            if !none {
                tracing::warn!(host = host.name, %found, "its own check finds something");
            }
            none
        }
        // Who does not answer is not accused.
        Err(_) => true,
    }
}

/// Samples what a peer keeps for others until nothing is left, or the time for that is over.
async fn settle(world: &PeersWorld, host: &Host) {
    let deadline = Instant::now() + SETTLE;
    let mut known = BTreeSet::new();
    loop {
        let sampled = sample(world, host).await;
        if let Some((_, tables)) = &sampled {
            // Who was taken off the list has nothing kept for it any more.
            for table in known.difference(tables) {
                record(world, host, table, 0, 0);
            }
            known.clone_from(tables);
        }
        let over = Instant::now() >= deadline;
        if over || sampled.is_some_and(|(sum, _)| sum == 0) {
            return;
        }
        clock::sleep(LOOK).await;
    }
}

pub(super) fn record(world: &PeersWorld, host: &Host, table: &str, size: u64, floor: u64) {
    let (node, table, limit) = (host.name.clone(), table.to_owned(), None);
    let steady_us = soak::steady_us(&world.options, &table);
    world.fleet.recorder.record(What::Sample { node, table, size, limit, floor, steady_us });
}

/// Records the sizes of what a peer keeps for others; the sum of what must not be left, and of what there are
/// sizes. `None` where it does not answer.
pub(super) async fn sample(world: &PeersWorld, host: &Host) -> Option<(u64, BTreeSet<String>)> {
    let status = world.fleet.ask_at(host, Method::GET, "/api/v1/peers", None).await.ok()?;
    let (mut sum, mut all) = (0u64, BTreeSet::new());
    for peer in status["items"].as_array().into_iter().flatten() {
        // What is refused stays until an operator gives it up.
        let refused = world.options.refuses_strangers;
        let tables =
            [("lag", 0), ("in_flight", 0), ("dead_letters", if refused { 1000 } else { 0 })];
        for (kind, floor) in tables {
            let table = format!("{kind}:{}", peer["name"].as_str().unwrap_or_default());
            let size = peer[kind].as_u64().unwrap_or(u64::MAX);
            sum = size.saturating_sub(floor).saturating_add(sum);
            record(world, host, &table, size, floor);
            all.insert(table);
        }
    }
    Some((sum, all))
}
