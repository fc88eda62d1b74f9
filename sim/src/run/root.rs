//! A run of a root: boot, found, strike, heal, settle, judge.
//!
//! Invariants: `RUN-4` the schedule is decided before the run begins; `RUN-5` the clients go on after the
//! last fault, long enough to show that the root lives.
//!
//! Not here: faults (`strike`), the world (`world::root`), what clients do (`workload::root`).

use std::{sync::Arc, time::Duration};

use madsim::{
    Config,
    runtime::{Handle, NodeHandle, Runtime},
};
use runtime::{
    clock::{self, sim::ClockSim},
    fatal,
    task::{self, Shutdown},
};

use super::fleet::{Choice, LIMIT, client_machines, observer, repetitions, storm};
use crate::{
    judge::{
        self,
        history::{Bounds, Expiry, Header, Order, VERSION, What},
    },
    options::RootOptions,
    report::{FleetReport, disk_faults},
    schedule::{self, Strike},
    strike::World,
    workload::root as workload,
    world::{
        fleet::LOOK,
        root::{
            RootWorld,
            steps::{Steps, name_of},
        },
    },
};

/// Time in which sessions expire and queues empty before the last samples: the longest TTL, and some.
const SETTLE: Duration = Duration::from_secs(15);

fn bounds() -> Bounds {
    Bounds {
        leader_us: 2_000_000,
        operation_us: 10_000_000,
        settle_us: u64::try_from(SETTLE.as_micros()).unwrap_or(u64::MAX),
    }
}

fn header(options: &RootOptions) -> Header {
    Header {
        history_version: VERSION,
        run: format!("{} seed {}", options.scenario.name(), options.seed),
        order: Order::Recorded,
        expiry: Expiry::Recorded,
        bounds: bounds(),
        clock_fast_ppm: options.clock_fast_ppm(),
        voters: (1..=options.voters).map(name_of).collect(),
        federation: None,
    }
}

/// Runs a seed and says what happened.
///
/// With `trace`, what the nodes log goes to standard error.
pub fn run(options: RootOptions, choice: &Choice, trace: bool) -> FleetReport {
    storage::sqlite::vfs::seed_sqlite_prng(options.seed as u32);
    let world = Runtime::with_seed_and_config(options.seed, Config::default());
    world.add_simulator::<ClockSim>();
    let strikes = choice.apply(schedule::draw(options.frame()));
    let clients = choice.clients.unwrap_or(options.load.clients);
    let options = RootOptions { load: options.load.clone().with_clients(clients), ..options };
    world.block_on(async {
        // Not before: the first hash map of a thread decides the seed of all, and outside the simulation
        // that seed is the system's.
        let steps = Steps::install(trace);
        // The world's own node has no address; who asks needs one.
        let operator =
            Handle::current().create_node().name("operator").ip([10, 0, 2, 1].into()).build();
        operator.spawn(play(options, strikes, steps)).await.expect("the operator never fails")
    })
}

async fn play(options: RootOptions, strikes: Vec<Strike>, steps: Steps) -> FleetReport {
    let recorder = observer();
    steps.tell(recorder.clone());
    let machines = client_machines(options.load.clients);
    let ids = machines.iter().map(NodeHandle::id).collect();
    let world = RootWorld::boot(options.clone(), recorder.clone(), steps, ids);
    let supervisor = task::spawn(world.fleet.clone().supervise(LOOK));
    let problem = live(&world, &machines, &strikes).await.err();
    supervisor.abort();
    // Where the run came to its end, this is recorded already.
    recorder.record(What::End);
    let simulated_seconds = ClockSim::current().true_elapsed().as_secs_f64();
    let mut faults = world.fleet.counts();
    faults.extend(recorder.look(repetitions));
    for voter in world.fleet.all() {
        for (name, count) in disk_faults(&voter.disk) {
            *faults.entry(format!("disk_{name}")).or_default() += count;
        }
    }
    world.fleet.end();
    let fingerprints = world.fleet.all().iter().map(|voter| voter.disk.fingerprint()).collect();
    let (history, malformed) = match recorder.history(header(&options)) {
        Ok(history) => (Some(history), None),
        Err(error) => (None, Some(format!("the recording is no history: {error}"))),
    };
    let findings = history.as_ref().map(judge::verdict::findings).unwrap_or_default();
    let problem = problem.or(malformed);
    FleetReport {
        soak: None,
        seed: options.seed,
        scenario: options.scenario.name(),
        shape: vec![("voters", options.voters), ("clients", options.load.clients)],
        options: format!("{options:#?}"),
        strikes,
        history,
        findings,
        problem,
        faults,
        simulated_seconds,
        fingerprints,
    }
}

/// From the first start to the last look.
async fn live(
    world: &Arc<RootWorld>,
    machines: &[NodeHandle],
    strikes: &[Strike],
) -> Result<(), String> {
    world.found().await.map_err(|problem| format!("founding: {problem}"))?;
    let target =
        workload::Target { nodes: world.fleet.hosts().iter().map(|v| v.place()).collect() };
    let prepared =
        workload::prepare(world.options.load.clone(), target, world.fleet.recorder.clone()).await;
    let ground = prepared.map_err(|error| error.to_string())?;
    // There is one ground in a run.
    let _ = world.ground.set(ground.clone());
    let stop = Shutdown::new();
    let clients: Vec<_> = (0..)
        .zip(machines)
        .map(|(number, machine)| {
            let life = workload::live(ground.clone(), number, stop.clone());
            machine.spawn(fatal::sim::contain(life))
        })
        .collect();
    storm(&World::Root(world.clone()), strikes).await?;
    world.fleet.recorder.record(What::Healed);
    clock::sleep(world.options.rest_for).await;
    stop.trigger();
    let ended = clock::timeout(LIMIT, async {
        for client in clients {
            client.await.map_err(|error| format!("a client failed: {error}"))?;
        }
        Ok::<(), String>(())
    });
    ended.await.map_err(|_| format!("clients did not end within {LIMIT:?}"))??;
    clock::sleep(SETTLE).await;
    let finished = clock::timeout(LIMIT, workload::finish(&ground)).await;
    finished.map_err(|_| format!("the last look took longer than {LIMIT:?}"))
}
