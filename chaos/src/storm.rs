//! One run: a cluster, clients, faults one after another, healing, the last looks.
//!
//! Invariants: what is drawn is drawn from the seed (what happens in the end is up to the machine); a fault whose hold is
//! not known ends the run, because such a run proves nothing; between the last fault and the agreement of the peers nobody
//! changes anything.
//!
//! Not here: what faults are (`nemesis`), what is measured and judged (`figures`, `report`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use runtime::{
    clock::{self, Instant},
    task::{self, JoinHandle, Shutdown},
};
use sim::{
    judge::{
        History,
        history::{Bounds, Expiry, Federation, Header, Order, VERSION, What},
    },
    workload::{
        draw::Draw,
        peers::{self, look},
        root::{self, Recorder},
    },
};

use crate::{
    disk::{self, Disk, FileSystem, RealDisk},
    hive::{Hive, Plan},
    nemesis::{Injection, Nemesis, Side, World},
    network::{self, Network},
};

/// Calm before a fault, milliseconds, from and to.
const CALM_MS: (u64, u64) = (1500, 3500);
/// How long a fault lasts, milliseconds, from and to.
const STRUCK_MS: (u64, u64) = (500, 4000);
/// How long clients go on after the last fault.
const AFTERWARDS: Duration = Duration::from_secs(6);
/// What the run promises about time; generous, because the machine may be busy. Microseconds.
pub const BOUNDS: Bounds =
    Bounds { leader_us: 4_000_000, operation_us: 20_000_000, settle_us: 40_000_000 };
/// How much faster a session may seem to end than its time to live: one machine, one clock.
const DRIFT_PPM: u32 = 50_000;
/// Longest time until all peers show the same.
const CONVERGE: Duration = Duration::from_secs(150);
/// Longest time until the last looks are of one moment.
const QUIET: Duration = Duration::from_secs(60);
/// Time between two looks at that.
const LOOK: Duration = Duration::from_millis(500);
/// Memories that there are once clients have stored enough; from then on they delete as many as they store.
const KEEP_MAX: usize = 400;
/// Time for an answer to a last look, milliseconds.
const ANSWER_MS: u64 = 30_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// As `hivemem up` calls it.
    pub shape: String,
    /// Decides what clients do and when faults come.
    pub seed: u64,
    /// Rounds of faults at most.
    pub rounds: u64,
    /// No round begins later than this.
    pub lasts: Option<Duration>,
    /// Concurrent clients of the voters and of the peers; drawn when not given.
    pub clients: Option<u64>,
    /// Faults: each is had once before any is had again.
    pub nemeses: Vec<Nemesis>,
    /// Whether nodes have a network and disks that can fail; needs root.
    pub deep: bool,
    /// Settings of every node beyond those that it needs.
    pub settings: Vec<String>,
    /// A daemon of another version, for upgrades.
    pub next: Option<PathBuf>,
}

/// One round, as it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// What was drawn.
    pub nemesis: Nemesis,
    /// Who was struck.
    pub nodes: Vec<String>,
    /// What became of it.
    pub injection: Injection,
    /// Number of the fault in the histories; 0 when there is none.
    pub fault: u64,
}

/// What was seen of the voters, or of the peers.
#[derive(Debug)]
pub struct Seen {
    /// `root` or `peers`.
    pub name: &'static str,
    /// What clients were to do, in words.
    pub load: String,
    /// What happened.
    pub history: History,
}

/// A run, as it went.
#[derive(Debug)]
pub struct Run {
    /// The rounds.
    pub rounds: Vec<Round>,
    /// What was seen.
    pub seen: Vec<Seen>,
    /// What the cluster took to come up, milliseconds.
    pub up_ms: u64,
}

/// Clients of one half of a cluster.
enum Half {
    Root(root::Ground, root::Load),
    Peers(peers::Ground, peers::Load, Federation),
}

/// Such clients at work.
struct Loose {
    half: Half,
    recorder: Recorder,
    stop: Shutdown,
    clients: Vec<JoinHandle<()>>,
}

/// Runs it with a daemon, in a folder that is to be made.
///
/// # Errors
/// In words: the cluster does not start or come back, the ground cannot be prepared, or a fault may
/// or may not be in force.
pub async fn run(storm: &Storm, binary: &Path, folder: &Path) -> Result<Run, String> {
    let mut draw = Draw::new(storm.seed);
    let mut world = found(storm, binary, folder, &mut draw).await?;
    let up_ms = world.hive.took_ms;
    let begun = Instant::now();
    let mut loose = Vec::new();
    for votes in [false, true] {
        if world.hive.names(votes).is_empty() {
            continue;
        }
        let now_us = move || u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let recorder = Recorder::new(now_us);
        world.hive.names(votes).iter().for_each(|name| recorder.node(name, true));
        world.sides.push(Side { votes, recorder: recorder.clone() });
        let half = half(storm, &mut world, votes, recorder.clone(), &mut draw).await?;
        loose.push((half, recorder));
    }
    let loose: Vec<Loose> = loose.into_iter().map(|(half, to)| half.begin(to)).collect();
    let rounds = rounds(storm, &mut world, &mut draw).await;
    world.sides.iter().for_each(|side| side.recorder.record(What::Healed));
    let mut seen = Vec::new();
    for Loose { half, recorder, stop, clients } in loose {
        // Peers must agree while nobody changes anything; the root is asked on.
        if rounds.is_ok() && matches!(half, Half::Root(..)) {
            clock::sleep(AFTERWARDS).await;
        }
        stop.trigger();
        ended(clients).await?;
        if rounds.is_ok() {
            seen.push(half.finish(storm, &world.hive, &recorder).await?);
        }
    }
    let rounds = rounds?;
    Ok(Run { rounds, seen, up_ms })
}

async fn ended(clients: Vec<JoinHandle<()>>) -> Result<(), String> {
    for client in clients {
        client.await.map_err(|error| format!("a client: {error}"))?;
    }
    Ok(())
}

/// The cluster, with a network and disks that can fail where that is wanted.
async fn found(
    storm: &Storm,
    binary: &Path,
    folder: &Path,
    draw: &mut Draw,
) -> Result<World, String> {
    let nodes = storm.shape.as_str();
    let network = match storm.deep {
        true => Some(Network::of(nodes_of(nodes), draw.bits())?),
        false => None,
    };
    let hive = Hive::found(Plan {
        binary: binary.to_owned(),
        folder: folder.to_owned(),
        shape: storm.shape.clone(),
        network: network.as_ref().map_or("loopback".to_owned(), Network::choice),
        settings: storm.settings.clone(),
    })
    .await?;
    let quorum = hive.names(false).len() as u64 / 2 + 1;
    let mut world = World {
        network,
        draw: Draw::new(draw.bits()),
        losses: quorum.saturating_sub(1),
        next: storm.next.clone(),
        ..World::of(hive)
    };
    if storm.deep {
        deepen(&mut world, draw).await?;
    }
    Ok(world)
}

/// Most nodes that a shape can have: more namespaces than nodes do no harm.
fn nodes_of(shape: &str) -> usize {
    let digits: String = shape.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(9)
}

/// Of the voters and of the peers, the last gets a disk that can fail, the one before it a file system whose power can
/// be cut; the first of all gets a clock that can be set.
async fn deepen(world: &mut World, draw: &mut Draw) -> Result<(), String> {
    for votes in [true, false] {
        let mut names = world.hive.names(votes);
        if let Some(node) = names.pop() {
            let seed = draw.bits();
            let disk = moved(world, &node, |data| Disk::mount(data, seed)).await?;
            world.disks.insert(node, disk);
        }
        if let Some(node) = names.pop()
            && disk::image_obstacle().is_none()
        {
            let kind = FileSystem::here(votes);
            let image = moved(world, &node, |data| RealDisk::mount(kind, data)).await?;
            world.images.insert(node, image);
        }
    }
    let first = world.hive.names(false).first().or(world.hive.names(true).first()).cloned();
    if let Some(node) = first.filter(|_| world.obstacle(Nemesis::ClockBack).is_none()) {
        let file = world.hive.data(&node).with_extension("clock");
        world.clocks.insert(node.clone(), file);
        crate::nemesis::wear_clock(world, &node).await?;
    }
    Ok(())
}

/// Moves what a node has to something that is mounted in its place.
async fn moved<T>(
    world: &World,
    node: &str,
    mount: impl FnOnce(&Path) -> std::io::Result<T>,
) -> Result<T, String> {
    let (data, nodes) = (world.hive.data(node), [node.to_owned()]);
    let failed = |error: std::io::Error| format!("{}: {error}", data.display());
    world.hive.command("stop", &nodes).await?;
    let kept = data.with_extension("was");
    std::fs::rename(&data, &kept).and_then(|()| std::fs::create_dir(&data)).map_err(failed)?;
    let mounted = mount(&data).map_err(failed)?;
    crate::nemesis::copy_all(&kept, &data).map_err(failed)?;
    std::fs::remove_dir_all(&kept).map_err(failed)?;
    world.hive.command("start", &nodes).await?;
    Ok(mounted)
}

async fn half(
    storm: &Storm,
    world: &mut World,
    votes: bool,
    recorder: Recorder,
    draw: &mut Draw,
) -> Result<Half, String> {
    let target = world.hive.target(votes);
    if votes {
        let load = root::Load::draw(draw);
        let load = storm.clients.map_or(load.clone(), |clients| load.with_clients(clients));
        let ground = root::prepare(load.clone(), target, recorder).await;
        return Ok(Half::Root(ground.map_err(|error| error.to_string())?, load));
    }
    // A storm is longer than the runs that loads are drawn for.
    let drawn = peers::Load::draw(draw);
    let load = peers::Load { stores_max: u64::MAX, keep_max: KEEP_MAX, ..drawn };
    let load = storm.clients.map_or(load.clone(), |clients| load.with_clients(clients));
    let quorum = if storm.shape == "hive" { 2 } else { target.nodes.len() as u64 / 2 + 1 };
    let federation = Federation {
        scopes: BTreeMap::new(),
        refused_agents: Default::default(),
        quorum,
        converge_us: u64::try_from(CONVERGE.as_micros()).unwrap_or(u64::MAX),
    };
    let ground = peers::Ground::new(load.clone(), target.nodes, recorder);
    world.losses = quorum.saturating_sub(1);
    world.ground = Some(ground.clone());
    Ok(Half::Peers(ground, load, federation))
}

impl Half {
    /// Lets its clients loose.
    fn begin(self, recorder: Recorder) -> Loose {
        let stop = Shutdown::new();
        let clients = match &self {
            Self::Root(ground, load) => (1..=load.clients)
                .map(|n| task::spawn_named("client", root::live(ground.clone(), n, stop.clone())))
                .collect(),
            Self::Peers(ground, load, _) => (1..=load.clients)
                .map(|n| task::spawn_named("client", peers::live(ground.clone(), n, stop.clone())))
                .collect(),
        };
        Loose { half: self, recorder, stop, clients }
    }

    /// The last looks, and the history.
    async fn finish(self, storm: &Storm, hive: &Hive, recorder: &Recorder) -> Result<Seen, String> {
        let (name, load, federation) = match self {
            Self::Root(ground, load) => {
                root::finish(&ground).await;
                ("root", load.to_string(), None)
            }
            Self::Peers(ground, load, federation) => {
                agree(&ground, &load, &federation).await?;
                look::record_all(recorder, &federation, ground.nodes(), QUIET).await;
                record_chains(&ground, recorder).await;
                recorder.record(What::End);
                ("peers", format!("{load:?}"), Some(federation))
            }
        };
        let header = Header {
            history_version: VERSION,
            run: format!("storm on {}, {name}, seed {}", storm.shape, storm.seed),
            order: Order::Recorded,
            expiry: Expiry::ByLease { drift_ppm: DRIFT_PPM },
            bounds: BOUNDS,
            clock_fast_ppm: None,
            voters: if federation.is_none() { hive.names(true) } else { Vec::new() },
            federation,
        };
        let history = recorder.history(header).map_err(|malformed| malformed.to_string())?;
        Ok(Seen { name, load, history })
    }
}

/// Records the audit chain of every peer.
pub(crate) async fn record_chains(ground: &peers::Ground, recorder: &Recorder) {
    for node in ground.nodes() {
        let epoch = ground.epoch(&node.name);
        if let Some(scan) = root::scan_rows_of(node, epoch, ANSWER_MS).await {
            recorder.record(What::Chain(scan));
        }
    }
}

/// Waits until all peers show the same; then clients go on for a while, and they must agree again.
async fn agree(
    ground: &peers::Ground,
    load: &peers::Load,
    federation: &Federation,
) -> Result<(), String> {
    if !agreed(ground, federation).await {
        return Ok(());
    }
    ground.recorder().record(What::Converged);
    let stop = Shutdown::new();
    let clients = (load.clients + 1..=2 * load.clients)
        .map(|n| task::spawn_named("client", peers::live(ground.clone(), n, stop.clone())));
    let clients: Vec<JoinHandle<()>> = clients.collect();
    clock::sleep(AFTERWARDS).await;
    stop.trigger();
    ended(clients).await?;
    agreed(ground, federation).await;
    Ok(())
}

async fn agreed(ground: &peers::Ground, federation: &Federation) -> bool {
    let deadline = Instant::now() + CONVERGE;
    while Instant::now() < deadline {
        if look::agree(federation, ground.nodes()).await {
            return true;
        }
        clock::sleep(LOOK).await;
    }
    false
}

/// Faults, each once before any comes again.
async fn rounds(storm: &Storm, world: &mut World, draw: &mut Draw) -> Result<Vec<Round>, String> {
    let begun = Instant::now();
    let (mut rounds, mut bag) = (Vec::new(), Vec::new());
    for number in 1..=storm.rounds {
        if storm.lasts.is_some_and(|lasts| begun.elapsed() >= lasts) {
            break;
        }
        if bag.is_empty() {
            bag.clone_from(&storm.nemeses);
        }
        let Some(nemesis) = bag.get(draw.place(bag.len())).copied() else { break };
        bag.retain(|other| *other != nemesis);
        let round = round(number, nemesis, world, draw).await?;
        rounds.push(round);
    }
    Ok(rounds)
}

async fn round(
    number: u64,
    nemesis: Nemesis,
    world: &mut World,
    draw: &mut Draw,
) -> Result<Round, String> {
    let (calm, lasts) = (draw.between(CALM_MS), draw.between(STRUCK_MS));
    if let Some(reason) = world.obstacle(nemesis) {
        eprintln!("round {number}: {} skipped: {reason}", nemesis.name());
        let injection = Injection::Skipped { reason };
        return Ok(Round { nemesis, nodes: Vec::new(), injection, fault: 0 });
    }
    clock::sleep(Duration::from_millis(calm)).await;
    let told = |problem: String| format!("round {number}, {}: {problem}", nemesis.name());
    let struck = world.strike(nemesis).await.map_err(told)?;
    clock::sleep(Duration::from_millis(lasts)).await;
    let (nodes, injection) = (struck.nodes.clone(), struck.injection.clone());
    let fault = struck.faults.first().copied().unwrap_or(0);
    let healed = world.heal(struck).await;
    eprintln!("round {number}: {} {injection} {}", nemesis.name(), nodes.join(","));
    healed.map_err(told)?;
    if let Injection::Indeterminate { detail } = &injection {
        return Err(told(format!("it may or may not be in force: {detail}")));
    }
    Ok(Round { nemesis, nodes, injection, fault })
}

/// What keeps a storm from being a deep one here.
pub fn obstacle() -> Option<String> {
    network::obstacle().or_else(disk::obstacle)
}

/// Where the files of a run go when nobody says.
pub fn folder(storm: &Storm) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/chaos");
    root.join(format!("{}-{}", storm.shape, storm.seed))
}
